"""The micro-batcher: every row answered once, with its own answer, in batches that fill."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from featsvc.embedding.batching import BatchingOptions, MicroBatcher, ModelQueue
from featsvc.errors import DataCorrupt, FeatsvcError, Overloaded, Unavailable

Row = NDArray[np.float32]


def row(value: float) -> Row:
    return np.array([value], np.float32)


class Gate:
    """A model that holds its first batch until it is told to go on, and notes every batch."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def run(self, batch: Row) -> list[float | FeatsvcError]:
        self.batches.append([float(x) for x in batch[:, 0]])
        self.entered.set()
        assert self.go_on.wait(30)
        return [float(2 * x) for x in batch[:, 0]]


@pytest.fixture
def batcher() -> MicroBatcher:
    return MicroBatcher(BatchingOptions(threads=1, max_batch=4, max_wait_ms=0))


def held(batcher: MicroBatcher, gate: Gate) -> tuple[ModelQueue[float], Future[float]]:
    """A lane whose only thread is held."""
    lane: ModelQueue[float] = batcher.add(gate.run, row_s=0.001)
    first = batcher.submit(lane, row(0))
    assert gate.entered.wait(30)
    return lane, first


def test_each_caller_gets_its_own_answer() -> None:
    batcher = MicroBatcher(BatchingOptions(threads=2, max_batch=8))
    lane: ModelQueue[float] = batcher.add(
        lambda batch: [float(x) for x in 3 * batch[:, 0]], row_s=1e-4
    )

    def call(i: int) -> float:
        return batcher.submit(lane, row(i)).result(30)

    with ThreadPoolExecutor(16) as callers:
        assert list(callers.map(call, range(2000))) == [3 * i for i in range(2000)]
    batcher.close()
    assert lane.rows == 2000
    assert lane.batches < 2000


def test_what_waits_for_a_busy_thread_runs_together_up_to_the_limit(batcher: MicroBatcher) -> None:
    gate = Gate()
    lane, first = held(batcher, gate)
    later = [batcher.submit(lane, row(i)) for i in range(1, 7)]
    gate.go_on.set()
    assert [f.result(30) for f in (first, *later)] == [2 * i for i in range(7)]
    assert gate.batches == [[0], [1, 2, 3, 4], [5, 6]]
    batcher.close()


def test_a_free_thread_waits_for_company_only_under_load() -> None:
    """Rows far apart run at once, though the wait allows a second."""
    batcher = MicroBatcher(
        BatchingOptions(threads=1, max_batch=4, max_wait_ms=1000, max_latency_ms=20_000)
    )
    sizes: list[int] = []

    def run(batch: Row) -> list[float]:
        sizes.append(len(batch))
        return [0.0] * len(batch)

    lane: ModelQueue[float] = batcher.add(run, row_s=1e-4)
    lane.gap_s = 5.0
    started = time.monotonic()
    batcher.submit(lane, row(0)).result(30)
    assert time.monotonic() - started < 0.9
    lane.gap_s = 0.01
    futures = [batcher.submit(lane, row(i)) for i in range(4)]
    for future in futures:
        future.result(30)
    assert sizes == [1, 4]
    batcher.close()


def test_an_error_of_one_row_is_its_own(batcher: MicroBatcher) -> None:
    def run(batch: Row) -> list[float | FeatsvcError]:
        return [DataCorrupt("odd") if x % 2 else float(x) for x in batch[:, 0]]

    lane: ModelQueue[float] = batcher.add(run, row_s=1e-4)
    futures = [batcher.submit(lane, row(i)) for i in range(4)]
    assert [futures[0].result(30), futures[2].result(30)] == [0, 2]
    for bad in (futures[1], futures[3]):
        with pytest.raises(DataCorrupt, match="odd"):
            bad.result(30)
    batcher.close()


@pytest.mark.parametrize("fault", ["raises", "forgets a row"])
def test_a_batch_that_fails_fails_for_its_callers_and_the_thread_lives(
    batcher: MicroBatcher, fault: str
) -> None:
    def run(batch: Row) -> list[float]:
        if batch[0, 0] < 0:
            if fault == "raises":
                raise RuntimeError("broken")
            return []
        return [1.0] * len(batch)

    lane: ModelQueue[float] = batcher.add(run, row_s=1e-4)
    with pytest.raises((RuntimeError, ValueError)):
        batcher.submit(lane, row(-1)).result(30)
    assert batcher.submit(lane, row(1)).result(30) == 1.0
    batcher.close()


def test_a_row_that_would_be_late_is_refused_at_once() -> None:
    batcher = MicroBatcher(
        BatchingOptions(threads=1, max_batch=1, max_wait_ms=0, max_latency_ms=90)
    )
    gate = Gate()
    lane: ModelQueue[float] = batcher.add(gate.run, row_s=0.020)
    accepted = [batcher.submit(lane, row(0))]
    assert gate.entered.wait(30)
    # 20 ms each: one runs, three wait, and the fifth would end at 100 ms.
    accepted += [batcher.submit(lane, row(i)) for i in range(3)]
    with pytest.raises(Overloaded, match="max_latency_ms") as caught:
        batcher.submit(lane, row(4))
    assert caught.value.retry_after_ms >= 10
    gate.go_on.set()
    for future in accepted:
        future.result(30)
    batcher.close()


def test_a_wrong_first_guess_does_not_shut_the_door_for_ever() -> None:
    batcher = MicroBatcher(BatchingOptions(threads=1, max_latency_ms=50))
    lane: ModelQueue[float] = batcher.add(lambda batch: [0.0] * len(batch), row_s=10.0)
    for _ in range(60):
        batcher.submit(lane, row(0)).result(30)
    assert lane.row_s < 0.05
    batcher.close()


def test_a_cancelled_row_never_runs(batcher: MicroBatcher) -> None:
    gate = Gate()
    lane, first = held(batcher, gate)
    gone, stays = batcher.submit(lane, row(1)), batcher.submit(lane, row(2))
    assert gone.cancel()
    gate.go_on.set()
    assert (first.result(30), stays.result(30)) == (0, 4)
    assert gate.batches == [[0], [2]]
    batcher.close()


def test_two_models_share_the_threads_and_neither_starves() -> None:
    batcher = MicroBatcher(BatchingOptions(threads=1, max_batch=2, max_wait_ms=0))

    def model(answer: float) -> ModelQueue[float]:
        return batcher.add(lambda batch: [answer] * len(batch), row_s=1e-4)

    lanes = [model(0), model(1)]
    futures = [(i % 2, batcher.submit(lanes[i % 2], row(i))) for i in range(200)]
    assert all(future.result(30) == k for k, future in futures)
    batcher.close()


def test_closing_finishes_what_runs_and_cancels_what_waits(batcher: MicroBatcher) -> None:
    gate = Gate()
    lane, first = held(batcher, gate)
    waiting = batcher.submit(lane, row(1))
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while not waiting.cancelled():
        time.sleep(0.001)
    gate.go_on.set()
    closing.join(30)
    assert first.result(0) == 0
    with pytest.raises(Unavailable):
        batcher.submit(lane, row(2))
