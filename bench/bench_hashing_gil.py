"""Hashing without the GIL: how long another thread waits beside four hashing threads.

make peers bench ARGS="-k hashing_gil"
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench.bench_hashing import LARGER, jpeg, threatexchange
from bench.compare import Compare
from bench.size import pick
from featsvc.hashing.content import hash_content
from featsvc.media import DecodeOptions, Limits

THREADS = 4
FILES = pick(24, smoke=4)


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


def longest_wait_s(function: Callable[[bytes], object]) -> float:
    """Seconds that the ticker waited at most while four threads hashed 24 files."""
    content = jpeg(LARGER[0])
    with ThreadPoolExecutor(THREADS) as pool, Ticker() as ticker:
        for _ in pool.map(function, [content] * FILES):
            pass
    return ticker.longest_wait_ms / 1000


def bench_ticker(compare: Compare) -> None:
    theirs = threatexchange and threatexchange.PdqSignal.hash_from_bytes
    case = compare(
        f"longest wait of another thread, {FILES} JPEGs of {LARGER[0][0]}x{LARGER[0][1]}",
        lambda: longest_wait_s(hash_ours),
        {"threatexchange": theirs and (lambda: longest_wait_s(theirs))},
        rounds=9,
        own_clock=True,
    )
    case.words = ("shorter", "longer")
    for side, waits_s in case.seconds.items():
        case.notes[f"worst wait, {side}"] = f"{max(waits_s) * 1000:.1f} ms"
