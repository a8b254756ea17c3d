"""A whole store into another database, beside its rows written there without a copy.

    make bench ARGS="-k moving"

The copy reads a store of one bank, writes it without indexes, makes these, reads all back and
compares it. "bare" writes the finished rows of the two large tables into the tables and indexes of
an empty store, as durably, in one transaction: `executemany` on SQLite, `COPY` on PostgreSQL. It
reads nothing, and compares nothing.
"""

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import psycopg
import pytest

from bench.compare import Compare
from bench.size import pick
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.moving.store_copy import copy_store
from featsvc.banks.store import BankStore
from tests.banks.databases import DATABASES, PostgresServer, postgres_server
from tests.banks.moves import DIRECTIONS

ROWS = pick(300_000, smoke=1_000, large=1_000_000)
TABLES = ("entries", "entry_signals")
LINES = 4_000


class Databases:
    """Creates databases; `stores` has one store of each kind, with the same bank."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        self._folder = folder
        self._server = server
        self._numbers = count()
        first, other = map(self.create, DATABASES)
        with closing(BankStore(first)) as store:
            store.create_bank("b")
            store.import_entries("b", ListFile(lines(), name="list.csv"))
        assert copy_store(first, other).differences == []
        self.stores = dict(zip(DATABASES, (first, other), strict=True))

    def create(self, kind: str) -> str:
        """Return the URL of an empty database."""
        if kind == "postgresql":
            return self._server.create_database()
        return f"sqlite:///{self._folder / str(next(self._numbers))}.db"

    def drop(self, url: str) -> None:
        if url.startswith("postgresql"):
            self._server.drop_database(url)
        else:
            file_of(url).unlink()


def lines() -> Iterator[bytes]:
    rng = random.Random(23)
    yield b"algorithm,signal,external_id,labels\n"
    for start in range(0, ROWS, LINES):
        numbers = range(start, min(start + LINES, ROWS))
        row = b"pdq,%s,item-%d,a;b\n"
        yield b"".join(row % (rng.randbytes(32).hex().encode(), i) for i in numbers)


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def driver_url(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    with postgres_server() as server:
        yield Databases(tmp_path_factory.mktemp("moving"), server)


def bare(databases: Databases, kind: str) -> Callable[[], float]:
    """Return a function that writes the rows into a new store, and returns seconds."""
    if kind == "sqlite":
        with closing(sqlite3.connect(file_of(databases.stores[kind]))) as source:
            rows = {table: source.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}

        def write(url: str) -> float:
            with closing(sqlite3.connect(file_of(url), isolation_level=None)) as connection:
                for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-131072"):
                    connection.execute(f"PRAGMA {pragma}")
                started = time.perf_counter()
                connection.execute("BEGIN IMMEDIATE")
                for table, held in rows.items():
                    marks = ", ".join("?" * len(held[0]))
                    connection.executemany(f"INSERT INTO {table} VALUES ({marks})", held)
                connection.execute("COMMIT")
                return time.perf_counter() - started

    else:
        with psycopg.connect(driver_url(databases.stores[kind])) as server:
            data = {table: copied_out(server, table) for table in TABLES}

        def write(url: str) -> float:
            with psycopg.connect(driver_url(url)) as connection:
                started = time.perf_counter()
                for table, held in data.items():
                    with connection.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
                        copy.write(held)
                connection.commit()
                return time.perf_counter() - started

    def into_a_new_store() -> float:
        url = databases.create(kind)
        with closing(BankStore(url)) as store:
            store.create_bank("b")
        spent_s = write(url)
        databases.drop(url)
        return spent_s

    return into_a_new_store


def copied_out(connection: psycopg.Connection, table: str) -> bytes:
    with connection.cursor().copy(f"COPY {table} TO STDOUT".encode()) as copy:
        return b"".join(map(bytes, copy))


@pytest.mark.parametrize("direction", DIRECTIONS, ids="-to-".join)
def bench_moving_a_store(
    compare: Compare, databases: Databases, direction: tuple[str, str]
) -> None:
    """Copy a store, verified, in each direction."""
    source, target = direction

    def copy() -> float:
        url = databases.create(target)
        started = time.perf_counter()
        assert copy_store(databases.stores[source], url).differences == []
        spent_s = time.perf_counter() - started
        databases.drop(url)
        return spent_s

    case = compare(
        f"copy a store of {ROWS:,} entries, {source} to {target}",
        copy,
        {f"bare, {target}": bare(databases, target)},
        operations=ROWS,
        rounds=3,
        own_clock=True,
    )
    case.notes["entries per second"] = round(1 / case.median_s(case.ours))
