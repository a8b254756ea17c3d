"""Import of lists over gRPC, beside the same rows written into the same tables without an import.

    make bench ARGS="-k banks"
    BENCH_SIZE=large make peers bench ARGS="-k banks"         1,000,000 rows

The time of an import ends with the acknowledged commit. "bare" writes the finished rows of that
import into the tables and indexes of an empty store, as durably, in one transaction: `executemany`
on SQLite, `COPY` on PostgreSQL. It reads no file, checks nothing, makes no identities and no
history. threatexchange reads the same hashes into its index, which is not on disk.
"""

import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2

from bench.compare import Compare, Side, peer
from bench.size import pick
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.records import EntrySignal
from featsvc.banks.store import BankStore
from tests.banks.databases import PostgresServer, postgres_server
from tests.integration.running import running

ROWS = pick(200_000, smoke=1_000, large=1_000_000)
SEARCHED_ROWS = pick(300_000, smoke=1_000)
BANK_ROWS = pick((1_000, 300_000), smoke=(100, 1_000))
FORMATS = ("pdq-text", "csv", "jsonl")
CHUNK_BYTES = 2**18
TABLES = ("entries", "entry_signals")

threatexchange = peer("threatexchange.signal_type.pdq.pdq_index2")


class Kind(NamedTuple):
    """An import, and whether another bank holds the same hashes."""

    format: str
    held: bool

    @property
    def title(self) -> str:
        return f"{self.format}, held by another bank" if self.held else self.format


KINDS = (
    Kind("csv", False),
    Kind("csv", True),
    Kind("pdq-text", False),
    Kind("pdq-text", True),
    Kind("jsonl", False),
)


def write_lists(folder: Path, rows: int) -> dict[str, Path]:
    """Write the same hashes in each format."""
    rng = random.Random(21)
    paths = {name: folder / name for name in FORMATS}
    files = {name: path.open("w") for name, path in paths.items()}
    files["csv"].write("algorithm,signal,external_id,labels\n")
    for i in range(rows):
        digits = rng.randbytes(32).hex()
        files["pdq-text"].write(f"{digits}\n")
        files["csv"].write(f"pdq,{digits},item-{i},a;b\n")
        signals = f'[{{"algorithm":"pdq","signal":"{digits}"}}]'
        files["jsonl"].write(f'{{"external_id":"item-{i}","signals":{signals},"labels":["a"]}}\n')
    for file in files.values():
        file.close()
    return paths


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_lists(tmp_path_factory.mktemp("lists"), ROWS)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


def import_answers(
    client: Client, bank: str, path: Path
) -> Iterator[banks_pb2.ImportEntriesResponse]:
    """Import a list; yields the acknowledgement of the commit, and once the list is searched."""

    def requests() -> Iterator[banks_pb2.ImportEntriesRequest]:
        options = banks_pb2.ImportOptions(
            parent=f"banks/{bank}",
            file_name=path.name,
            file_bytes=path.stat().st_size,
            # Random hashes prove nothing, so the format of bare ones must be named.
            format=path.name,
        )
        yield banks_pb2.ImportEntriesRequest(options=options)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield banks_pb2.ImportEntriesRequest(chunk=chunk)

    return (answer for answer in client.banks.ImportEntries(requests()) if answer.revision)


class Imports:
    """Times imports into new services; keeps their peak of memory."""

    def __init__(self, folder: Path, create_url: Callable[[], str] | None = None) -> None:
        self._folder = folder
        self._create_url = create_url
        self._numbers = count()
        self.peak_mib = 0
        self.url = ""

    def time(self, path: Path, *, held: bool = False) -> float:
        """Import into an empty bank of a new service; returns seconds."""
        # An earlier service would build the snapshot of the last list meanwhile.
        folder = self._folder / str(next(self._numbers))
        self.url = self._create_url() if self._create_url else f"sqlite:///{folder / 'banks.db'}"
        environ = {"FEATSVC_BANKS_URL": self.url}
        with running(folder, environ=environ) as service, service.client() as client:
            for bank in ("other", "b"):
                client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id=bank))
            if held:
                assert len(list(import_answers(client, "other", path))) == 2
            started = time.perf_counter()
            answer = next(import_answers(client, "b", path))
            took_s = time.perf_counter() - started
            assert answer.summary.new_entries == ROWS
            assert answer.summary.in_other_banks == held * ROWS
            self.peak_mib = max(self.peak_mib, peak_mib(service.process.pid))
        return took_s


def peak_mib(pid: int) -> int:
    """The most memory that a process has had at a time."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


class BareSQLite:
    """Writes the rows of a bank of a finished store into another store's tables."""

    def __init__(self, folder: Path, imports: Imports, path: Path, *, held: bool) -> None:
        imports.time(path, held=held)
        self._whole = Path(imports.url.removeprefix("sqlite:///"))
        self._empty = folder / "empty.db"
        store = BankStore(f"sqlite:///{self._empty}")
        for bank in ("other", "b"):
            store.create_bank(bank)
        store.close()
        with closing(sqlite3.connect(self._whole)) as source:
            self._rows = {table: self._of(source, table, "b") for table in TABLES}
            if held:
                with closing(sqlite3.connect(self._empty)) as target:
                    for table in TABLES:
                        _insert(target, table, self._of(source, table, "other"))
                    target.commit()

    @staticmethod
    def _of(source: sqlite3.Connection, table: str, bank: str) -> list[tuple[object, ...]]:
        of_bank = (
            "version IN (SELECT version FROM entries JOIN banks ON bank_key = key "
            "WHERE banks.id = ?)"
        )
        return source.execute(f"SELECT * FROM {table} WHERE {of_bank}", [bank]).fetchall()

    def time(self) -> float:
        """Write all rows into a copy of the empty store; returns seconds."""
        path = self._empty.with_name("bare.db")
        shutil.copy(self._empty, path)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-131072"):
                connection.execute(f"PRAGMA {pragma}")
            started = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            for table, rows in self._rows.items():
                _insert(connection, table, rows)
            connection.execute("COMMIT")
            return time.perf_counter() - started


def _insert(connection: sqlite3.Connection, table: str, rows: list[tuple[object, ...]]) -> None:
    marks = ", ".join("?" * len(rows[0]))
    connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)


class BarePostgreSQL:
    """Copies the rows of a finished store into another store's tables."""

    def __init__(self, server: PostgresServer, imports: Imports, path: Path) -> None:
        imports.time(path)
        self._server = server
        with psycopg.connect(driver_url(imports.url)) as connection:
            self._data = {table: self._read(connection, table) for table in TABLES}

    @staticmethod
    def _read(connection: psycopg.Connection, table: str) -> bytes:
        with connection.cursor().copy(f"COPY {table} TO STDOUT".encode()) as copy:
            return b"".join(map(bytes, copy))

    def time(self) -> float:
        """Copy all rows into a new store; returns seconds."""
        url = self._server.create_database()
        store = BankStore(url)
        for bank in ("other", "b"):
            store.create_bank(bank)
        store.close()
        with psycopg.connect(driver_url(url)) as connection:
            started = time.perf_counter()
            for table, data in self._data.items():
                with connection.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
                    copy.write(data)
            connection.commit()
            return time.perf_counter() - started


def driver_url(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


@pytest.mark.parametrize("kind", pick(KINDS, smoke=KINDS[1:2]), ids=lambda kind: kind.title)
def bench_banks_import(
    compare: Compare, tmp_path: Path, lists: dict[str, Path], kind: Kind
) -> None:
    """Import new entries into an empty bank on SQLite."""
    path, imports = lists[kind.format], Imports(tmp_path)
    bare = BareSQLite(tmp_path, imports, path, held=kind.held)
    peers: dict[str, Side | None] = {"bare": bare.time}
    if kind == Kind("pdq-text", False):
        peers["threatexchange, in memory"] = threatexchange and (
            lambda: load_into_index(lists["pdq-text"])
        )
    measure(compare, kind.title, imports, lambda: imports.time(path, held=kind.held), peers)


def bench_banks_import_postgresql(
    compare: Compare, tmp_path: Path, lists: dict[str, Path], server: PostgresServer
) -> None:
    """Import new entries into an empty bank on PostgreSQL, which shares the cores."""
    path, imports = lists["csv"], Imports(tmp_path, server.create_database)
    bare = BarePostgreSQL(server, imports, path)
    measure(compare, "csv, PostgreSQL", imports, lambda: imports.time(path), {"bare": bare.time})


def measure(
    compare: Compare, title: str, imports: Imports, ours: Side, peers: dict[str, Side | None]
) -> None:
    case = compare(
        f"import one of {ROWS:,} rows, {title}",
        ours,
        peers,
        operations=ROWS,
        rounds=3,
        own_clock=True,
    )
    case.notes["rows per second"] = round(1 / case.median_s(case.ours))
    case.notes["peak memory of the service"] = f"{imports.peak_mib} MiB"


def bench_banks_searched(compare: Compare, tmp_path: Path) -> None:
    """From the acknowledged commit of a list until the service searches it."""
    path = write_lists(tmp_path, SEARCHED_ROWS)["csv"]
    numbers = count()

    def wait_s() -> float:
        with running(tmp_path / str(next(numbers))) as service, service.client() as client:
            client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id="b"))
            answers = import_answers(client, "b", path)
            next(answers)
            started = time.perf_counter()
            assert next(answers).served
            return time.perf_counter() - started

    compare(f"search a list of {SEARCHED_ROWS:,}", wait_s, rounds=3, own_clock=True)


def bench_banks_add_one(compare: Compare, tmp_path: Path) -> None:
    """Add one entry to a large bank, beside a small one."""
    stores = [bank_of(tmp_path / str(rows), rows) for rows in BANK_ROWS]
    numbers = count()

    def add_to(store: BankStore) -> Side:
        def add() -> None:
            signal = EntrySignal("pdq", next(numbers).to_bytes(32))
            store.add_entries("b", [ImportRow(0, (signal,))])

        return add

    small, large = map(add_to, stores)
    names = [f"to {rows:,}" for rows in BANK_ROWS]
    compare("add one entry", large, {names[0]: small}, name=names[1])
    for store in stores:
        store.close()


def bank_of(folder: Path, rows: int) -> BankStore:
    """A store with a bank of so many entries."""
    folder.mkdir()
    store = BankStore(f"sqlite:///{folder / 'banks.db'}")
    store.create_bank("b")
    content = write_lists(folder, rows)["csv"].read_bytes()
    store.import_entries("b", ListFile([content], name="list.csv"))
    return store


def load_into_index(text: Path) -> float:
    """python-threatexchange: parse the text, add every hash to its PDQ index. Returns seconds."""
    started = time.perf_counter()
    with text.open() as file:
        threatexchange.PDQIndex2(entries=((line.strip(), None) for line in file))
    return time.perf_counter() - started
