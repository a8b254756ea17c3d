"""Micro-batching: run rows that arrive together as one batch, on a bounded number of threads.

Each concurrent caller submits one row. A row run alone costs a call and a pass over the model's
weights; a batch costs them once. A batch closes when it is full, or when its oldest row has waited
long enough:

- **Wait.** Where rows arrive further apart than `max_wait_ms`, a row runs at once. Under load a
  free thread waits about as long as the batch takes to fill, but no longer than `max_wait_ms`, a
  quarter of the latency bound, or the time a row takes to run: a batch saves no more than that.
- **Size.** Rows that arrived while all threads were busy are divided among the free ones, up to
  `max_batch` and to what runs within a quarter of the latency bound.
- **Bound.** A row is accepted only if it is expected to finish within `max_latency_ms`; otherwise
  the caller gets Overloaded at once and can act on it. The expectation is the smoothed time of a
  row plus four times its smoothed deviation, as in TCP's timeout (Jacobson, "Congestion avoidance
  and control", 1988, appendix A): a mean is exceeded half the time.

All models share the threads, and the batch due first runs first, so a second model needs no
further cores.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import FeatsvcError, Overloaded, Unavailable

T = TypeVar("T")
Row = NDArray[np.float32]

MAX_WAITING_ROWS = 1024
"""Rows of one model that may wait, to bound memory."""
_SMOOTHING = 1 / 8
_MAX_SLOWDOWN = 4
_MIN_ROW_S = 1e-6


@dataclass(frozen=True, slots=True)
class BatchingOptions:
    """Threads that run batches, and the limits that the module describes."""

    threads: int
    max_batch: int = 16
    max_wait_ms: float = 2.0
    max_latency_ms: float = 1000.0


@dataclass(slots=True)
class _WaitingRow(Generic[T]):
    values: Row
    answer: Future[T]
    since: float


@dataclass(slots=True, eq=False)
class ModelQueue(Generic[T]):
    """The queue of one model; created by `MicroBatcher.add`.

    `run` takes a batch (N, ...) and returns N results; an error among them fails its row only.
    """

    run: Callable[[Row], Sequence[T | FeatsvcError]]
    max_batch: int
    row_s: float
    """Smoothed run time of a row."""
    deviation_s: float = 0.0
    """Smoothed deviation from `row_s`."""
    gap_s: float = math.inf
    """Smoothed time between arrivals."""
    last_arrival: float = -math.inf
    waiting: deque[_WaitingRow[T]] = field(default_factory=deque)

    @property
    def slow_row_s(self) -> float:
        """Run time that few rows exceed."""
        return self.row_s + 4 * self.deviation_s

    def learn(self, row_s: float) -> None:
        """Update the estimates with the run time of a row of the last batch."""
        # Capped: one batch delayed for seconds by the machine says little about the next ones.
        row_s = min(row_s, _MAX_SLOWDOWN * self.row_s)
        self.deviation_s = _smooth(self.deviation_s, abs(row_s - self.row_s))
        self.row_s = max(_smooth(self.row_s, row_s), _MIN_ROW_S)


class MicroBatcher:
    """Runs batches of several models on its own threads until it is closed."""

    def __init__(self, options: BatchingOptions) -> None:
        self._options = options
        self._max_wait_s = min(options.max_wait_ms, options.max_latency_ms / 4) / 1000
        self._queues: list[ModelQueue[object]] = []
        self._changed = threading.Condition()
        self._running_s = 0.0
        self._free = options.threads
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"featsvc-embed-{i}", daemon=True)
            for i in range(options.threads)
        ]
        for thread in self._threads:
            thread.start()

    def add(
        self,
        run: Callable[[Row], Sequence[T | FeatsvcError]],
        *,
        row_s: float,
        max_batch: int | None = None,
    ) -> ModelQueue[T]:
        """Create the queue of a model; `row_s` is an estimate, `max_batch` the model's limit."""
        size = min(max_batch or self._options.max_batch, self._options.max_batch)
        queue = ModelQueue(run, size, max(row_s, _MIN_ROW_S))
        with self._changed:
            self._queues.append(queue)  # type: ignore[arg-type]  # gets only its own results
        return queue

    def submit(self, queue: ModelQueue[T], row: Row) -> Future[T]:
        """Queue one row. Raises Overloaded where it would be late, Unavailable once closed.

        The future holds the result of `run` for the row, or its error.
        """
        answer: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise Unavailable("the server is stopping and runs no more models")
            self._admit(queue)
            now = time.monotonic()
            # Capped, so that a few rows outweigh an hour without any.
            gap = min(now - queue.last_arrival, 10 * self._max_wait_s)
            queue.gap_s = gap if queue.gap_s == math.inf else _smooth(queue.gap_s, gap)
            queue.last_arrival = now
            queue.waiting.append(_WaitingRow(row, answer, now))
            self._changed.notify()
        return answer

    def close(self) -> None:
        """Cancel waiting rows and finish running batches."""
        with self._changed:
            self._closed = True
            for queue in self._queues:
                for row in queue.waiting:
                    row.answer.cancel()
                queue.waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _admit(self, queue: ModelQueue[T]) -> None:
        """Raise Overloaded where a new row of `queue` is expected to exceed the latency bound."""
        queued_s = sum(len(other.waiting) * other.slow_row_s for other in self._queues)
        batch_s = self._size(queue) * queue.slow_row_s
        expected_ms = 1000 * ((queued_s + self._running_s) / len(self._threads) + batch_s)
        late_ms = expected_ms + 1000 * self._max_wait_s - self._options.max_latency_ms
        # With nothing queued the row is accepted: only runs correct a wrong estimate.
        if len(queue.waiting) >= MAX_WAITING_ROWS or (late_ms > 0 and queued_s > 0):
            raise Overloaded(
                f"{len(queue.waiting)} pictures wait for this model; one more would take about "
                f"{expected_ms:.0f} ms, more than embed.max_latency_ms "
                f"({self._options.max_latency_ms:.0f}); retry after the advised delay or add "
                "workers",
                # At least the time of a batch: other callers soon take the room of one row.
                retry_after_ms=math.ceil(max(late_ms, 1000 * batch_s)),
            )

    def _size(self, queue: ModelQueue[T]) -> int:
        """Return the most rows of a batch, by the model and a quarter of the latency bound."""
        within_bound = int(self._options.max_latency_ms / 4000 / queue.row_s)
        return max(1, min(queue.max_batch, within_bound))

    def _due(self, queue: ModelQueue[object]) -> float:
        """Return the time at which the waiting batch of `queue` closes."""
        oldest = queue.waiting[0].since
        missing = self._size(queue) - len(queue.waiting)
        if missing <= 0 or queue.gap_s >= self._max_wait_s:
            return oldest
        return oldest + min(self._max_wait_s, queue.row_s, missing * queue.gap_s)

    def _next(self) -> tuple[ModelQueue[object], list[_WaitingRow[object]]] | None:
        """Wait for a batch and take it; None once closed. The caller holds the lock."""
        while not self._closed:
            ready = [queue for queue in self._queues if queue.waiting]
            if not ready:
                self._changed.wait()
                continue
            queue = min(ready, key=self._due)
            remaining_s = self._due(queue) - time.monotonic()
            if remaining_s > 0:
                self._changed.wait(remaining_s)
                continue
            share = math.ceil(len(queue.waiting) / max(1, self._free))
            count = min(share, self._size(queue))
            return queue, [queue.waiting.popleft() for _ in range(count)]
        return None

    def _work(self) -> None:
        while True:
            with self._changed:
                taken = self._next()
                if taken is None:
                    return
                queue, batch = taken
                batch = [row for row in batch if row.answer.set_running_or_notify_cancel()]
                if not batch:
                    continue
                self._free -= 1
                expected_s = len(batch) * queue.slow_row_s
                self._running_s += expected_s
                if queue.waiting:
                    self._changed.notify()
            took_s = _run(queue, batch)
            with self._changed:
                self._free += 1
                self._running_s -= expected_s
                queue.learn(took_s / len(batch))


def _run(queue: ModelQueue[object], batch: list[_WaitingRow[object]]) -> float:
    """Run a batch, set the results of its rows, and return the seconds it took."""
    started = time.monotonic()
    try:
        results = queue.run(np.stack([row.values for row in batch]))
        answers = list(zip(batch, results, strict=True))
    except Exception as exc:  # any error goes to the callers; the thread goes on
        for row in batch:
            row.answer.set_exception(exc)
    else:
        for row, result in answers:
            if isinstance(result, FeatsvcError):
                row.answer.set_exception(result)
            else:
                row.answer.set_result(result)
    return time.monotonic() - started


def _smooth(old: float, new: float) -> float:
    return old + _SMOOTHING * (new - old)
