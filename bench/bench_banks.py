"""Import of a list over gRPC into SQLite, compared with python-threatexchange.

    make peers bench ARGS="-k banks"
    BENCH_SIZE=large make peers bench ARGS="-k banks"         1,000,000 rows

The time ends with the acknowledged commit; a long list is served some seconds later. "bare SQLite"
reads the same CSV into one table with the two indexes that a bank needs, equally durable, with
`executemany`: no checks, no fields, no history, no preview. threatexchange reads the same hashes
into its index, which is not on disk.
"""

import random
import sqlite3
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psutil
import pytest
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2

from bench.compare import Compare, Side, peer
from bench.size import pick
from tests.integration.running import running

ROWS = pick(200_000, smoke=1_000, large=1_000_000)
FORMATS = ("pdq-text", "csv", "jsonl")
CHUNK_BYTES = 2**18

threatexchange = peer("threatexchange.signal_type.pdq.pdq_index2")


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    rng = random.Random(21)
    folder = tmp_path_factory.mktemp("lists")
    paths = {name: folder / name for name in FORMATS}
    files = {name: path.open("w") for name, path in paths.items()}
    files["csv"].write("algorithm,signal,external_id,labels\n")
    for i in range(ROWS):
        digits = rng.randbytes(32).hex()
        files["pdq-text"].write(f"{digits}\n")
        files["csv"].write(f"pdq,{digits},item-{i},a;b\n")
        signals = f'[{{"algorithm":"pdq","signal":"{digits}"}}]'
        files["jsonl"].write(f'{{"external_id":"item-{i}","signals":{signals},"labels":["a"]}}\n')
    for file in files.values():
        file.close()
    return paths


def import_list(client: Client, bank: str, path: Path) -> banks_pb2.ImportEntriesResponse:
    """Import the list; returns when the commit is acknowledged."""

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

    for answer in client.banks.ImportEntries(requests()):
        if answer.HasField("summary"):
            assert isinstance(answer, banks_pb2.ImportEntriesResponse)
            return answer
    raise AssertionError("the import ended without a result")


@pytest.mark.parametrize("name", pick(FORMATS, smoke=("csv",)))
def bench_banks_import(compare: Compare, tmp_path: Path, lists: dict[str, Path], name: str) -> None:
    """Import new entries into an empty bank until the service acknowledges the commit."""
    numbers = count()
    rss: list[int] = []

    def import_s() -> float:
        # A new service: an earlier one would build the snapshot of the last list meanwhile.
        with running(tmp_path / str(next(numbers))) as service, service.client() as client:
            client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id="b"))
            started = time.perf_counter()
            last = import_list(client, "b", lists[name])
            took_s = time.perf_counter() - started
            assert last.summary.new_entries == ROWS
            rss.append(psutil.Process(service.process.pid).memory_info().rss)
        return took_s

    theirs: Side | None = threatexchange and (lambda: load_into_index(lists["pdq-text"]))
    peers: dict[str, dict[str, Side | None]] = {
        "csv": {
            "bare SQLite": lambda: load_into_sqlite(tmp_path / str(next(numbers)), lists["csv"])
        },
        "pdq-text": {"threatexchange, in memory": theirs},
    }
    case = compare(
        f"import one of {ROWS:,} rows, {name}",
        import_s,
        peers.get(name),
        operations=ROWS,
        rounds=3,
        own_clock=True,
    )
    case.notes["rows per second"] = round(1 / case.median_s(case.ours))
    case.notes["memory of the service"] = f"{max(rss) // 2**20} MiB"


def load_into_sqlite(path: Path, csv: Path) -> float:
    """The lower bound: split, decode, `executemany`, two indexes, commit. Returns seconds."""
    started = time.perf_counter()
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in (
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        "PRAGMA cache_size=-131072",
        "CREATE TABLE rows (id INTEGER PRIMARY KEY, external_id TEXT, labels TEXT, value BLOB)",
        "CREATE UNIQUE INDEX by_external_id ON rows (external_id)",
        "CREATE INDEX by_value ON rows (value)",
        "BEGIN IMMEDIATE",
    ):
        connection.execute(statement)
    with csv.open() as file:
        next(file)
        rows = (line.rstrip("\n").split(",") for line in file)
        connection.executemany(
            "INSERT INTO rows (external_id, labels, value) VALUES (?, ?, ?)",
            ((name, labels, bytes.fromhex(digits)) for _, digits, name, labels in rows),
        )
    connection.execute("COMMIT")
    connection.close()
    return time.perf_counter() - started


def load_into_index(text: Path) -> float:
    """python-threatexchange: parse the text, add every hash to its PDQ index. Returns seconds."""
    started = time.perf_counter()
    with text.open() as file:
        threatexchange.PDQIndex2(entries=((line.strip(), None) for line in file))
    return time.perf_counter() - started
