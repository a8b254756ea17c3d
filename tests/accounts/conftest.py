"""One real Valkey server per session, emptied before each test."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis

from featsvc.accounts.definitions import Definitions, load_definitions
from tests.accounts.stores import running_valkey


@pytest.fixture(scope="session")
def valkey_socket() -> Iterator[Path]:
    """Path of the unix socket of a server without persistence."""
    with TemporaryDirectory(prefix="featsvc-test-") as folder, running_valkey(Path(folder)):
        yield Path(folder, "s")


@pytest.fixture
def server(valkey_socket: Path) -> Iterator[redis.Redis]:
    """redis-py's client of the emptied server."""
    with redis.Redis(unix_socket_path=str(valkey_socket)) as client:
        client.flushall()
        yield client


@pytest.fixture
def url(valkey_socket: Path, server: redis.Redis) -> str:
    """URL of the emptied server."""
    return f"unix://{valkey_socket}"


@pytest.fixture(scope="session")
def shipped() -> Definitions:
    return load_definitions()
