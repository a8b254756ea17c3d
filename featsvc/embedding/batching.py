"""Micro-batching: rows that arrive together run together, on a bounded number of threads.

Concurrent callers each bring one row. Running each by itself pays a call and a pass over the
model's weights per row; a batch pays them once. A batch closes when it is full, or when its oldest
row has waited as long as it pays to wait:

- **Wait.** Where rows come further apart than `max_wait_ms`, no company is to be expected and a
  row runs at once. Under load a free thread waits about as long as the batch needs to fill, never
  more than `max_wait_ms`, a quarter of the latency bound, or what a row takes to run: a longer
  wait could not be won back.
- **Size.** Rows that came while all threads ran are shared among the free ones, up to `max_batch`
  and to what runs within a quarter of the latency bound.
- **Bound.** A row is taken only where the rows before it are expected to leave it done within
  `max_latency_ms`; otherwise Overloaded at once, which a caller can act on. What is expected is the
  smoothed time of a row and four times its smoothed deviation, as TCP does for its timeout
  (Jacobson, "Congestion avoidance and control", 1988, appendix A): a mean is late half the time.

All models share the threads, the oldest due batch first, so a second model takes no further cores.
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
"""Rows of one model that may wait, whatever the latency bound would allow: they hold memory."""
_SMOOTHING = 1 / 8
_MOST_SLOWDOWN = 4
_LEAST_ROW_S = 1e-6


@dataclass(frozen=True, slots=True)
class BatchingOptions:
    """`threads` run batches; the other limits are those of the module's head."""

    threads: int
    max_batch: int = 16
    max_wait_ms: float = 2.0
    max_latency_ms: float = 1000.0


@dataclass(slots=True)
class _Waiting(Generic[T]):
    row: Row
    answer: Future[T]
    since: float


@dataclass(slots=True, eq=False)
class ModelQueue(Generic[T]):
    """The queue of one model; made by `MicroBatcher.add`.

    `run` takes a batch (N, ...) and gives N results; an error among them is that row's alone.
    """

    run: Callable[[Row], Sequence[T | FeatsvcError]]
    max_batch: int
    row_s: float
    """Time a row takes, smoothed."""
    deviation_s: float = 0.0
    """How far from that it is, smoothed."""
    gap_s: float = math.inf
    """Time between rows, smoothed."""
    last_arrival: float = -math.inf
    waiting: deque[_Waiting[T]] = field(default_factory=deque)
    rows: int = 0
    """Rows run so far, in `batches`."""
    batches: int = 0

    @property
    def slow_row_s(self) -> float:
        """Time that few rows exceed."""
        return self.row_s + 4 * self.deviation_s

    def learn(self, row_s: float) -> None:
        """Take in what a row of the last batch took."""
        # One batch that the machine held up for seconds says little of the next ones.
        row_s = min(row_s, _MOST_SLOWDOWN * self.row_s)
        self.deviation_s = _smooth(self.deviation_s, abs(row_s - self.row_s))
        self.row_s = max(_smooth(self.row_s, row_s), _LEAST_ROW_S)


class MicroBatcher:
    """Runs batches of several models on its own threads until closed."""

    def __init__(self, options: BatchingOptions) -> None:
        self._options = options
        self._max_wait_s = min(options.max_wait_ms, options.max_latency_ms / 4) / 1000
        self._lanes: list[ModelQueue[object]] = []
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
        """A lane for one model; `row_s` is a first guess, `max_batch` what the model can take."""
        most = min(max_batch or self._options.max_batch, self._options.max_batch)
        lane = ModelQueue(run, most, max(row_s, _LEAST_ROW_S))
        with self._changed:
            self._lanes.append(lane)  # type: ignore[arg-type]  # only ever handed its own results
        return lane

    def submit(self, lane: ModelQueue[T], row: Row) -> Future[T]:
        """Queue one row. Raises Overloaded where it would be late, Unavailable once closed.

        The future raises what `run` gave for the row or raised.
        """
        answer: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise Unavailable("stopping: this server runs no more models")
            self._admit(lane)
            now = time.monotonic()
            # Capped, so that a quiet hour is forgotten within a few rows.
            gap = min(now - lane.last_arrival, 10 * self._max_wait_s)
            lane.gap_s = gap if lane.gap_s == math.inf else _smooth(lane.gap_s, gap)
            lane.last_arrival = now
            lane.waiting.append(_Waiting(row, answer, now))
            self._changed.notify()
        return answer

    def close(self) -> None:
        """Cancel what waits, finish what runs."""
        with self._changed:
            self._closed = True
            for lane in self._lanes:
                for one in lane.waiting:
                    one.answer.cancel()
                lane.waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _admit(self, lane: ModelQueue[T]) -> None:
        """Raises Overloaded where a new row of `lane` is expected to break the bound."""
        queued_s = sum(len(one.waiting) * one.slow_row_s for one in self._lanes)
        batch_s = self._size(lane) * lane.slow_row_s
        expected_ms = 1000 * ((queued_s + self._running_s) / len(self._threads) + batch_s)
        late_ms = expected_ms + 1000 * self._max_wait_s - self._options.max_latency_ms
        # Nothing queued: somebody must run it, or a wrong guess of its time would stay for ever.
        if len(lane.waiting) >= MAX_WAITING_ROWS or (late_ms > 0 and queued_s > 0):
            raise Overloaded(
                f"{len(lane.waiting)} pictures wait for this model, and one more would be answered "
                f"after about {expected_ms:.0f} ms, past embed.max_latency_ms "
                f"({self._options.max_latency_ms:.0f}); retry after the advised delay or add "
                "workers",
                # Not before a batch is done: room for one row is soon taken again.
                retry_after_ms=math.ceil(max(late_ms, 1000 * batch_s)),
            )

    def _size(self, lane: ModelQueue[T]) -> int:
        """Most rows of a batch: what the model takes and a quarter of the bound holds."""
        within_bound = int(self._options.max_latency_ms / 4000 / lane.row_s)
        return max(1, min(lane.max_batch, within_bound))

    def _due(self, lane: ModelQueue[object]) -> float:
        """When the batch that waits in `lane` closes."""
        oldest = lane.waiting[0].since
        missing = self._size(lane) - len(lane.waiting)
        if missing <= 0 or lane.gap_s >= self._max_wait_s:
            return oldest
        return oldest + min(self._max_wait_s, lane.row_s, missing * lane.gap_s)

    def _next(self) -> tuple[ModelQueue[object], list[_Waiting[object]]] | None:
        """Wait for a batch and take it; None once closed. Holds the lock."""
        while not self._closed:
            lanes = [lane for lane in self._lanes if lane.waiting]
            if not lanes:
                self._changed.wait()
                continue
            lane = min(lanes, key=self._due)
            remaining_s = self._due(lane) - time.monotonic()
            if remaining_s > 0:
                self._changed.wait(remaining_s)
                continue
            share = math.ceil(len(lane.waiting) / max(1, self._free))
            count = min(share, self._size(lane))
            return lane, [lane.waiting.popleft() for _ in range(count)]
        return None

    def _work(self) -> None:
        while True:
            with self._changed:
                taken = self._next()
                if taken is None:
                    return
                lane, batch = taken
                batch = [one for one in batch if one.answer.set_running_or_notify_cancel()]
                if not batch:
                    continue
                self._free -= 1
                expected_s = len(batch) * lane.slow_row_s
                self._running_s += expected_s
                if lane.waiting:
                    self._changed.notify()
            took_s = _run(lane, batch)
            with self._changed:
                self._free += 1
                self._running_s -= expected_s
                lane.learn(took_s / len(batch))
                lane.rows += len(batch)
                lane.batches += 1


def _run(lane: ModelQueue[object], batch: list[_Waiting[object]]) -> float:
    """Run a batch and hand out its results; returns the seconds it took."""
    started = time.monotonic()
    try:
        results = lane.run(np.stack([one.row for one in batch]))
        answers = list(zip(batch, results, strict=True))
    except Exception as exc:  # whatever it is belongs to the callers, and the thread lives on
        for one in batch:
            one.answer.set_exception(exc)
    else:
        for one, result in answers:
            if isinstance(result, FeatsvcError):
                one.answer.set_exception(result)
            else:
                one.answer.set_result(result)
    return time.monotonic() - started


def _smooth(old: float, new: float) -> float:
    return old + _SMOOTHING * (new - old)
