"""Fixtures of both databases: a test with `store` runs on SQLite and on a real PostgreSQL."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from featsvc.banks.store import BankStore
from tests.banks.databases import DATABASES, PostgresServer, postgres_server
from tests.banks.moves import DIRECTIONS, Ends


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """Return the URL of an empty database of PostgreSQL."""
    return postgres.create_database()


@pytest.fixture(params=DATABASES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'banks.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database()


@pytest.fixture
def store(store_url: str) -> Iterator[BankStore]:
    store = BankStore(store_url)
    yield store
    store.close()


@pytest.fixture
def bank(store: BankStore) -> BankStore:
    """Return the store with an empty bank `b`."""
    store.create_bank("b")
    return store


@pytest.fixture(params=DIRECTIONS, ids="-to-".join)
def ends(request: pytest.FixtureRequest, tmp_path: Path) -> Ends:
    """Every direction of a copy."""
    numbers = count()

    def creator(database: str) -> Callable[[], str]:
        if database == "sqlite":
            return lambda: f"sqlite:///{tmp_path / f'{next(numbers)}.db'}"
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.create_database

    return Ends(*map(creator, request.param))
