"""Does hashing release the GIL? The longest wait of a ticker thread beside four hashing threads.

The result is `longest_wait_ms` in the extra info of each entry; `-s` prints it.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.bench_hashing import SIZES, jpeg
from featsvc.hashing.content import hash_content
from featsvc.media import DecodeOptions, Limits

THREADS, ROUNDS = 4, 24


class Ticker:
    """Sleeps 1 ms at a time; `longest_wait_ms` is its longest delay."""

    def __init__(self) -> None:
        self.longest_wait_ms = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        before = time.perf_counter()
        while not self._stop.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            self.longest_wait_ms = max(self.longest_wait_ms, (now - before) * 1000 - 1)
            before = now

    def __enter__(self) -> "Ticker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def hash_ours(content: bytes) -> object:
    return hash_content(content, ("pdq",), DecodeOptions(), Limits())


def hash_theirs() -> Callable[[bytes], object]:
    signal = pytest.importorskip("threatexchange.signal_type.pdq.signal").PdqSignal
    function: Callable[[bytes], object] = signal.hash_from_bytes
    return function


@pytest.mark.benchmark(group="ticker beside four hashing threads, 1.6MP")
@pytest.mark.parametrize("peer", ["ours", "pdqhash"])
def test_ticker(benchmark: BenchmarkFixture, peer: str) -> None:
    function = hash_ours if peer == "ours" else hash_theirs()
    content = jpeg(SIZES[1])

    def run() -> float:
        with ThreadPoolExecutor(THREADS) as pool, Ticker() as ticker:
            for _ in pool.map(function, [content] * ROUNDS):
                pass
        return ticker.longest_wait_ms

    function(content)
    worst = max(run() for _ in range(3))
    benchmark(run)
    benchmark.extra_info["longest_wait_ms"] = round(worst, 2)
    print(f"\n{peer}: the ticker waited {worst:.1f} ms at most")
