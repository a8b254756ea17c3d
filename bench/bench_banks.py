"""A list into a bank, end to end over gRPC on SQLite, beside python-threatexchange's own way.

    make bench ARGS="-k banks"
    FEATSVC_BENCH_ROWS=1000000 make bench ARGS="-k banks"

`rows_per_s` and the server's largest memory are in each row's extra info. The peer reads the same
hashes into the index that it matches with; it keeps no entries, no history and nothing on disk.
"""

import importlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from featsvc.client import Client
from featsvc.v1 import banks_pb2
from tests.integration.running import Running, running

ROWS = int(os.environ.get("FEATSVC_BENCH_ROWS", "200000"))
FORMATS = ("pdq-text", "csv", "jsonl")
CHUNK_BYTES = 2**18


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """A service of its own: the snapshot of an earlier list would be built beside the import."""
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
    def requests() -> Iterator[banks_pb2.ImportEntriesRequest]:
        options = banks_pb2.ImportOptions(parent=f"banks/{bank}", file_name=path.name)
        yield banks_pb2.ImportEntriesRequest(options=options)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield banks_pb2.ImportEntriesRequest(chunk=chunk)

    *_, last = client.banks.ImportEntries(requests())
    assert isinstance(last, banks_pb2.ImportEntriesResponse)
    return last


@pytest.mark.parametrize("name", FORMATS)
def bench_banks_import(
    benchmark: BenchmarkFixture, server: Running, lists: dict[str, Path], name: str
) -> None:
    """A list of new entries into an empty bank, until the service has acknowledged it."""
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


def bench_banks_peer_index(benchmark: BenchmarkFixture, lists: dict[str, Path]) -> None:
    """python-threatexchange: parse the text, add every hash to its PDQ index."""
    benchmark.group = f"import {ROWS:,} rows"
    try:
        peer = importlib.import_module("threatexchange.signal_type.pdq.index2")
    except ImportError:
        pytest.skip("threatexchange is not installed; see `make bench`")

    def build() -> object:
        entries = ((line.strip(), None) for line in lists["pdq-text"].open())
        return peer.PDQIndex2(entries=entries)

    pedantic: Any = benchmark.pedantic
    pedantic(build, rounds=1)
    stats: Any = benchmark.stats
    benchmark.extra_info["rows_per_s"] = round(ROWS / stats.stats.median)
