"""The index while it changes: delay of a change, cost of a rebuild, memory shared by workers.

make bench ARGS="-k live"
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from featsvc.banks.store import BankStore
from featsvc.matching.follower import Follower
from featsvc.matching.indexer import Indexer
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from tests.banks.lists import list_file

ENTRIES = 1_000_000

PDQ = get_algorithm("pdq")
_WORKER = """
import sys, numpy as np
from pathlib import Path
from featsvc.matching.segments import newest_segment
segment = newest_segment(Path(sys.argv[1]))
engine = segment.part.indexes["pdq"].engine
rng = np.random.default_rng(0)
for _ in range(2000):
    engine.search(rng.integers(0, 256, (1, 32), dtype=np.uint8), 31)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BankStore, Follower, Path]]:
    """1 M entries in a store and a segment, followed with the default poll interval."""
    folder = tmp_path_factory.mktemp("live")
    store = BankStore(f"sqlite:///{folder / 'banks.db'}")
    store.create_bank("b")
    rng = random.Random(1)
    chunks = (
        b"".join(b"%064x\n" % rng.getrandbits(256) for _ in range(1000))
        for _ in range(ENTRIES // 1000)
    )
    file = list_file(b"")
    file._chunks = chunks
    file.format = "pdq-text"
    started = time.perf_counter()
    store.import_entries("b", file)
    print(f"\nimport: {ENTRIES / (time.perf_counter() - started):,.0f} rows/s")
    started = time.perf_counter()
    Indexer(store, folder / "segments").build()
    print(f"segment from the store: {time.perf_counter() - started:.1f} s")
    follower = Follower(store, segments=folder / "segments")
    follower.start()
    yield store, follower, folder
    follower.stop()
    store.close()


def bench_live_visible(
    benchmark: BenchmarkFixture, served: tuple[BankStore, Follower, Path]
) -> None:
    """One addition: from the acknowledged commit until a poll has loaded it."""
    benchmark.group = "acknowledged commit to visible, 1,000,000 entries"
    store, follower, _ = served
    numbers = count(1)
    waits: list[float] = []

    def add() -> tuple[tuple[int], dict[str, int]]:
        # At a random moment between two polls.
        time.sleep(random.uniform(0, 0.1))
        content = b"%064x\n" % next(numbers)
        return (store.import_entries("b", list_file(content)).revision,), {}

    def wait(revision: int) -> None:
        started = time.perf_counter()
        while follower.snapshot.revision < revision:
            time.sleep(0.0005)
        waits.append(time.perf_counter() - started)

    benchmark.pedantic(wait, setup=add, rounds=200)
    p99_ms = float(np.percentile(waits, 99)) * 1000
    benchmark.extra_info["p99_ms"] = round(p99_ms, 1)
    print(f"\ncommit to visible: p99 {p99_ms:.0f} ms")


@pytest.mark.parametrize("beside", ["nothing", "a rebuild"])
def bench_live_rebuild(
    benchmark: BenchmarkFixture, served: tuple[BankStore, Follower, Path], beside: str
) -> None:
    """`match` at 1 M entries, alone and while the indexer rebuilds all of them."""
    benchmark.group = "match during a rebuild, 1,000,000 entries"
    _, follower, folder = served
    indexer = None
    if beside == "a rebuild":
        arguments = ("--compact-entries", "0", "--segments", str(folder / "rebuilt"))
        indexer = subprocess.Popen(
            [sys.executable, "-m", "featsvc.matching.indexer", *arguments],
            env=os.environ | {"FEATSVC_BANKS_URL": f"sqlite:///{folder / 'banks.db'}"},
        )
        time.sleep(3)
    rng = np.random.default_rng(2)
    times: list[float] = []

    def once() -> None:
        signal = Signal(PDQ, rng.bytes(32))
        started = time.perf_counter()
        follower.snapshot.match([signal])
        times.append(time.perf_counter() - started)

    try:
        # 500 a second.
        benchmark.pedantic(once, setup=lambda: time.sleep(0.002), rounds=3000)
    finally:
        if indexer is not None:
            indexer.kill()
            indexer.wait()
    p99_us = float(np.percentile(times, 99)) * 1e6
    benchmark.extra_info["p99_us"] = round(p99_us)
    print(f"\nmatch beside {beside}: p99 {p99_us:.0f} us")


def bench_live_shared_pages(
    benchmark: BenchmarkFixture, served: tuple[BankStore, Follower, Path]
) -> None:
    """Four workers on one segment: the sum of their PSS and of their RSS."""
    benchmark.group = "four workers on one segment"
    _, _, folder = served
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(folder / "segments")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
        pss, rss = benchmark.pedantic(
            lambda: [sum(_mapped_mb(w.pid, kind) for w in workers) for kind in ("Pss", "Rss")]
        )
        benchmark.extra_info.update(pss_mb=pss, rss_mb=rss)
        print(f"\nsegment pages of four workers: PSS {pss:.0f} MB, RSS {rss:.0f} MB")
        assert pss < rss / 2
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def _mapped_mb(pid: int, kind: str) -> float:
    """The sum over mappings of segment files."""
    total, ours = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head, _, rest = line.partition(":")
        if "-" in line.split(" ", 1)[0]:
            ours = "/segment-" in line
        elif ours and head == kind:
            total += int(rest.split()[0])
    return total / 1024
