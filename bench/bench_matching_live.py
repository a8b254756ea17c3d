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

from bench.compare import Compare
from bench.size import pick
from featsvc.banks.store import BankStore
from featsvc.matching.follower import Follower
from featsvc.matching.indexer import Indexer
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from tests.banks.lists import list_file

ENTRIES = pick(1_000_000, smoke=2_000)
CHANGES = pick(200, smoke=2)
MATCHES = pick(1000, smoke=10)
WORKERS = pick(4, smoke=2)

PDQ = get_algorithm("pdq")
_WORKER = """
import sys, numpy as np
from pathlib import Path
from featsvc.matching.segments import newest_segment, published
segment = newest_segment(published(Path(sys.argv[1])))
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
    store.import_entries("b", file)
    Indexer(store, folder / "segments").build()
    follower = Follower(store, segments=folder / "segments")
    follower.start()
    yield store, follower, folder
    follower.stop()
    store.close()


def bench_live_visible(compare: Compare, served: tuple[BankStore, Follower, Path]) -> None:
    """One addition: from the acknowledged commit until a poll has loaded it."""
    store, follower, _ = served
    numbers = count(1)

    def wait_s() -> float:
        # At a random moment between two polls.
        time.sleep(random.uniform(0, 0.1))
        content = b"%064x,\n" % next(numbers)
        revision = store.import_entries("b", list_file(content)).revision
        committed = time.perf_counter()
        while follower.snapshot.revision < revision:
            time.sleep(0.0005)
        return time.perf_counter() - committed

    case = compare(
        f"acknowledged commit to visible, {ENTRIES:,} entries",
        wait_s,
        rounds=CHANGES,
        own_clock=True,
    )
    case.notes["p99"] = f"{np.percentile(case.seconds[case.ours], 99) * 1000:.0f} ms"


def bench_live_rebuild(compare: Compare, served: tuple[BankStore, Follower, Path]) -> None:
    """`match`, 500 times a second, while the indexer rebuilds everything, and alone."""
    _, follower, folder = served
    rng = np.random.default_rng(2)
    seen: dict[str, list[float]] = {"beside a rebuild": [], "alone": []}

    def match_s(times: list[float]) -> float:
        took = []
        for _ in range(MATCHES):
            time.sleep(0.002)
            signal = Signal(PDQ, rng.bytes(32))
            started = time.perf_counter()
            follower.snapshot.match([signal])
            took.append(time.perf_counter() - started)
        times += took
        return float(np.median(took))

    def beside_s() -> float:
        arguments = ("--compact-entries", "0", "--segments", str(folder / "rebuilt"))
        indexer = subprocess.Popen(
            [sys.executable, "-m", "featsvc.matching.indexer", *arguments],
            env=os.environ | {"FEATSVC_BANKS_URL": f"sqlite:///{folder / 'banks.db'}"},
        )
        try:
            time.sleep(pick(3.0, smoke=0.0))
            return match_s(seen["beside a rebuild"])
        finally:
            indexer.kill()
            indexer.wait()

    case = compare(
        f"match beside a rebuild of {ENTRIES:,} entries",
        beside_s,
        {"match alone": lambda: match_s(seen["alone"])},
        rounds=5,
        own_clock=True,
    )
    for how, times in seen.items():
        case.notes[f"p99 {how}"] = f"{np.percentile(times, 99) * 1e6:.0f} µs"


def bench_live_shared_pages(compare: Compare, served: tuple[BankStore, Follower, Path]) -> None:
    """Several workers that have searched one segment: the sum of their PSS and of their RSS."""
    _, _, folder = served
    workers: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        command = [sys.executable, "-c", _WORKER, str(folder / "segments")]
        for _ in range(WORKERS):
            workers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"

    try:
        case = compare(f"start {WORKERS} workers on {ENTRIES:,} entries", start, rounds=1)
        pss, rss = (sum(_mapped_mb(w.pid, kind) for w in workers) for kind in ("Pss", "Rss"))
        assert 0 < pss < rss / 2
        case.notes["PSS of segment pages"] = f"{pss:.0f} MB"
        case.notes["RSS of segment pages"] = f"{rss:.0f} MB"
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
