"""Import of a list over gRPC into SQLite, compared with python-threatexchange.

    make bench ARGS="-k banks"
    FEATSVC_BENCH_ROWS=1000000 make bench ARGS="-k banks"

`rows_per_s` and the peak memory of the server are in the extra info of each row. The time ends with
the acknowledged commit; a long list is served some seconds later. The same run has two references.
`bare_sqlite` reads the same CSV into one table with the two indexes that a bank needs, equally
durable, with `executemany`: no checks, no fields, no history, no preview. `peer_index` reads the
same hashes into the index of python-threatexchange, which is not on disk.
"""

import importlib
import os
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2
from pytest_benchmark.fixture import BenchmarkFixture

from tests.integration.running import Running, running

ROWS = int(os.environ.get("FEATSVC_BENCH_ROWS", "200000"))
FORMATS = ("pdq-text", "csv", "jsonl")
CHUNK_BYTES = 2**18


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """A new service: an earlier one would build the snapshot of the last list meanwhile."""
    with running(tmp_path / "data") as service:
        yield service


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
            parent=f"banks/{bank}", file_name=path.name, file_bytes=path.stat().st_size
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


@pytest.mark.parametrize("name", FORMATS)
def bench_banks_import(
    benchmark: BenchmarkFixture, server: Running, lists: dict[str, Path], name: str
) -> None:
    """Import new entries into an empty bank until the service acknowledges the commit."""
    benchmark.group = f"import {ROWS:,} rows"
    with server.client() as client:
        client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id="b"))
        pedantic: Any = benchmark.pedantic
        last = pedantic(import_list, (client, "b", lists[name]), rounds=1)
        assert last.summary.new_entries == ROWS
    stats: Any = benchmark.stats
    benchmark.extra_info["rows_per_s"] = round(ROWS / stats.stats.median)
    memory = psutil.Process(server.process.pid).memory_info()
    benchmark.extra_info["server_rss_mib"] = memory.rss // 2**20


def bench_banks_bare_sqlite(
    benchmark: BenchmarkFixture, tmp_path: Path, lists: dict[str, Path]
) -> None:
    """The lower bound: split, decode, `executemany`, two indexes, commit."""
    benchmark.group = f"import {ROWS:,} rows"

    def load() -> None:
        connection = sqlite3.connect(tmp_path / "bare.db", isolation_level=None)
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
        with lists["csv"].open() as file:
            next(file)
            rows = (line.rstrip("\n").split(",") for line in file)
            connection.executemany(
                "INSERT INTO rows (external_id, labels, value) VALUES (?, ?, ?)",
                ((name, labels, bytes.fromhex(digits)) for _, digits, name, labels in rows),
            )
        connection.execute("COMMIT")
        connection.close()

    pedantic: Any = benchmark.pedantic
    pedantic(load, rounds=1)
    stats: Any = benchmark.stats
    benchmark.extra_info["rows_per_s"] = round(ROWS / stats.stats.median)


def bench_banks_peer_index(benchmark: BenchmarkFixture, lists: dict[str, Path]) -> None:
    """python-threatexchange: parse the text, add every hash to its PDQ index."""
    benchmark.group = f"import {ROWS:,} rows"
    try:
        peer = importlib.import_module("threatexchange.signal_type.pdq.pdq_index2")
    except ImportError:
        pytest.skip("threatexchange is not installed; see `make bench`")

    def build() -> object:
        with lists["pdq-text"].open() as file:
            return peer.PDQIndex2(entries=((line.strip(), None) for line in file))

    pedantic: Any = benchmark.pedantic
    pedantic(build, rounds=1)
    stats: Any = benchmark.stats
    benchmark.extra_info["rows_per_s"] = round(ROWS / stats.stats.median)
