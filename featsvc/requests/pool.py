"""The bounded pool on which content is decoded, hashed and searched.

One hop: a request runs whole on one thread, with the GIL released in its heavy parts. What waits
is bounded too: past `max_queue` waiting jobs a new one is refused at once, which a caller can act
on, instead of growing a queue whose end nobody lives to see.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from featsvc.errors import Overloaded

T = TypeVar("T")


class WorkPool:
    """Runs jobs on `threads` threads (0: one a core) and lets `max_queue` more of them wait."""

    def __init__(self, threads: int, max_queue: int) -> None:
        self.threads = threads or os.cpu_count() or 1
        self._capacity = self.threads + max_queue
        self._pending = 0
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(self.threads, thread_name_prefix="featsvc-work")

    @property
    def pending(self) -> int:
        """Jobs that run or wait."""
        return self._pending

    async def run(self, job: Callable[[], T]) -> tuple[T, int]:
        """The job's result, and how long it waited for a thread in microseconds.

        A job whose caller is gone (cancelled, deadline passed) before a thread is free never
        runs. Raises Overloaded where the queue is full, and whatever the job raises.
        """
        with self._lock:
            if self._pending >= self._capacity:
                raise Overloaded(
                    f"{self._pending} requests are running or waiting, which is all this worker "
                    "takes; retry after the advised delay or add workers"
                )
            self._pending += 1
        submitted = time.perf_counter_ns()

        def timed() -> tuple[T, int]:
            waited_us = (time.perf_counter_ns() - submitted) // 1000
            return job(), waited_us

        future = self._executor.submit(timed)
        future.add_done_callback(self._release)
        return await asyncio.wrap_future(future)

    def _release(self, _: Future[Any]) -> None:
        with self._lock:
            self._pending -= 1

    def close(self) -> None:
        """Drop what waits, finish what runs."""
        self._executor.shutdown(wait=True, cancel_futures=True)
