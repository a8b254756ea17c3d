"""The thread pool that decodes, hashes and searches.

A request runs entirely on one thread, with the GIL released in its heavy parts. The queue is
bounded: with `max_queue` jobs waiting, a new one is refused at once, so that the caller can act
before its deadline.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from featsvc.errors import Overloaded
from featsvc.requests.memory import Trimmer, map_large_blocks

T = TypeVar("T")

BUSY_SLACK_BYTES, IDLE_SLACK_BYTES = 64 * 2**20, 4 * 2**20
"""Growth of the process after which a job, or a second without jobs, gives back freed memory."""
IDLE_S = 1.0


class WorkPool:
    """Runs jobs on `threads` threads (0: one a core); at most `max_queue` more may wait."""

    def __init__(self, threads: int, max_queue: int) -> None:
        self.threads = threads or os.cpu_count() or 1
        self._capacity = self.threads + max_queue
        self._pending = 0
        self._lock = threading.Lock()
        map_large_blocks()
        # Each knows the process at its smallest: when idle that is less than between two jobs.
        self._busy_trimmer, self._idle_trimmer = (
            Trimmer(BUSY_SLACK_BYTES),
            Trimmer(IDLE_SLACK_BYTES),
        )
        self._idle: asyncio.TimerHandle | None = None
        self._executor = ThreadPoolExecutor(self.threads, thread_name_prefix="featsvc-work")

    @property
    def pending(self) -> int:
        """Number of jobs that run or wait."""
        return self._pending

    async def run(self, job: Callable[[], T]) -> tuple[T, int]:
        """Run the job; return its result and the microseconds it waited for a thread.

        A job never runs if its caller is cancelled before a thread is free. Raises Overloaded
        where the queue is full, and what the job raises.
        """
        with self._lock:
            if self._pending >= self._capacity:
                raise Overloaded(
                    f"{self._pending} requests run or wait, the most that this worker accepts; "
                    "retry after the advised delay or add workers"
                )
            self._pending += 1
        submitted = time.perf_counter_ns()

        def timed() -> tuple[T, int]:
            waited_us = (time.perf_counter_ns() - submitted) // 1000
            try:
                return job(), waited_us
            finally:
                self._busy_trimmer.trim()

        future = self._executor.submit(timed)
        future.add_done_callback(self._release)
        try:
            return await asyncio.wrap_future(future)
        finally:
            # The traceback of an error has this frame, and the future has the error: a circle that
            # would keep the content and its pixels until the collector runs.
            del future
            self._trim_when_idle()

    def _trim_when_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._trim_if_idle)

    def _trim_if_idle(self) -> None:
        if not self._pending:
            self._executor.submit(self._idle_trimmer.trim)

    def _release(self, _: Future[Any]) -> None:
        with self._lock:
            self._pending -= 1

    def close(self) -> None:
        """Cancel waiting jobs and finish running ones."""
        if self._idle is not None:
            self._idle.cancel()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._busy_trimmer.close()
        self._idle_trimmer.close()
