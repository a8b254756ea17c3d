"""The micro-batcher: every row has its own result, and waiting rows run as one batch."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from featsvc.embedding.batching import BatchingOptions, MicroBatcher, ModelQueue
from featsvc.errors import DataCorrupt, FeatsvcError, Overloaded, Unavailable
from tests.patience import PATIENCE_S, until

Row = NDArray[np.float32]


def row(value: float) -> Row:
    return np.array([value], np.float32)


class BlockedModel:
    """A model that blocks until `released` is set, and records every batch."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.entered = threading.Event()
        self.released = threading.Event()

    def run(self, batch: Row) -> list[float | FeatsvcError]:
        self.batches.append([float(x) for x in batch[:, 0]])
        self.entered.set()
        assert self.released.wait(PATIENCE_S)
        return [float(2 * x) for x in batch[:, 0]]


@pytest.fixture
def batcher() -> MicroBatcher:
    return MicroBatcher(BatchingOptions(threads=1, max_batch=4, max_wait_ms=0))


def blocked(batcher: MicroBatcher, model: BlockedModel) -> tuple[ModelQueue[float], Future[float]]:
    """The queue of the model, after its first row has blocked the only thread."""
    queue: ModelQueue[float] = batcher.add(model.run, row_s=0.001)
    first = batcher.submit(queue, row(0))
    assert model.entered.wait(PATIENCE_S)
    return queue, first


def test_each_caller_gets_its_own_answer() -> None:
    batcher = MicroBatcher(BatchingOptions(threads=2, max_batch=8))
    sizes: list[int] = []

    def run(batch: Row) -> list[float]:
        sizes.append(len(batch))
        return [float(x) for x in 3 * batch[:, 0]]

    queue: ModelQueue[float] = batcher.add(run, row_s=1e-4)

    def call(i: int) -> float:
        return batcher.submit(queue, row(i)).result(PATIENCE_S)

    with ThreadPoolExecutor(16) as callers:
        assert list(callers.map(call, range(2000))) == [3 * i for i in range(2000)]
    batcher.close()
    assert sum(sizes) == 2000
    assert len(sizes) < 2000


def test_rows_that_wait_for_a_busy_thread_run_together(batcher: MicroBatcher) -> None:
    model = BlockedModel()
    queue, first = blocked(batcher, model)
    later = [batcher.submit(queue, row(i)) for i in range(1, 7)]
    model.released.set()
    assert [f.result(PATIENCE_S) for f in (first, *later)] == [2 * i for i in range(7)]
    assert model.batches == [[0], [1, 2, 3, 4], [5, 6]]
    batcher.close()


def test_a_free_thread_waits_for_further_rows_only_under_load() -> None:
    """Rows that arrive far apart run at once, although `max_wait_ms` is twice the patience."""
    wait_s = 2 * PATIENCE_S
    batcher = MicroBatcher(
        BatchingOptions(
            threads=1, max_batch=4, max_wait_ms=1000 * wait_s, max_latency_ms=16_000 * wait_s
        )
    )
    sizes: list[int] = []

    def run(batch: Row) -> list[float]:
        sizes.append(len(batch))
        return [0.0] * len(batch)

    queue: ModelQueue[float] = batcher.add(run, row_s=wait_s)
    queue.gap_s = 2 * wait_s
    batcher.submit(queue, row(0)).result(PATIENCE_S)
    queue.gap_s = wait_s / 4
    futures = [batcher.submit(queue, row(i)) for i in range(4)]
    for future in futures:
        future.result(PATIENCE_S)
    assert sizes == [1, 4]
    batcher.close()


def test_an_error_of_one_row_fails_only_that_row(batcher: MicroBatcher) -> None:
    def run(batch: Row) -> list[float | FeatsvcError]:
        return [DataCorrupt("odd") if x % 2 else float(x) for x in batch[:, 0]]

    queue: ModelQueue[float] = batcher.add(run, row_s=1e-4)
    futures = [batcher.submit(queue, row(i)) for i in range(4)]
    assert [futures[0].result(PATIENCE_S), futures[2].result(PATIENCE_S)] == [0, 2]
    for bad in (futures[1], futures[3]):
        with pytest.raises(DataCorrupt, match="odd"):
            bad.result(PATIENCE_S)
    batcher.close()


@pytest.mark.parametrize("fault", ["raises", "drops a row"])
def test_a_failed_batch_fails_its_rows_and_the_thread_goes_on(
    batcher: MicroBatcher, fault: str
) -> None:
    def run(batch: Row) -> list[float]:
        if batch[0, 0] < 0:
            if fault == "raises":
                raise RuntimeError("broken")
            return []
        return [1.0] * len(batch)

    queue: ModelQueue[float] = batcher.add(run, row_s=1e-4)
    with pytest.raises((RuntimeError, ValueError)):
        batcher.submit(queue, row(-1)).result(PATIENCE_S)
    assert batcher.submit(queue, row(1)).result(PATIENCE_S) == 1.0
    batcher.close()


def test_a_row_that_would_be_late_is_refused_at_once() -> None:
    batcher = MicroBatcher(
        BatchingOptions(threads=1, max_batch=1, max_wait_ms=0, max_latency_ms=90)
    )
    model = BlockedModel()
    queue: ModelQueue[float] = batcher.add(model.run, row_s=0.020)
    accepted = [batcher.submit(queue, row(0))]
    assert model.entered.wait(PATIENCE_S)
    # 20 ms each: one runs, three wait, and the fifth would end at 100 ms.
    accepted += [batcher.submit(queue, row(i)) for i in range(3)]
    with pytest.raises(Overloaded, match="max_latency_ms") as caught:
        batcher.submit(queue, row(4))
    assert caught.value.retry_after_ms >= 10
    model.released.set()
    for future in accepted:
        future.result(PATIENCE_S)
    batcher.close()


def test_a_wrong_first_estimate_is_corrected() -> None:
    batcher = MicroBatcher(BatchingOptions(threads=1, max_latency_ms=50))
    queue: ModelQueue[float] = batcher.add(lambda batch: [0.0] * len(batch), row_s=10.0)
    for _ in range(60):
        batcher.submit(queue, row(0)).result(PATIENCE_S)
    assert queue.row_s < 0.05
    batcher.close()


def test_a_cancelled_row_never_runs(batcher: MicroBatcher) -> None:
    model = BlockedModel()
    queue, first = blocked(batcher, model)
    gone, stays = batcher.submit(queue, row(1)), batcher.submit(queue, row(2))
    assert gone.cancel()
    model.released.set()
    assert (first.result(PATIENCE_S), stays.result(PATIENCE_S)) == (0, 4)
    assert model.batches == [[0], [2]]
    batcher.close()


def test_two_models_share_the_threads_and_neither_starves() -> None:
    batcher = MicroBatcher(BatchingOptions(threads=1, max_batch=2, max_wait_ms=0))

    def model(answer: float) -> ModelQueue[float]:
        return batcher.add(lambda batch: [answer] * len(batch), row_s=1e-4)

    queues = [model(0), model(1)]
    futures = [(i % 2, batcher.submit(queues[i % 2], row(i))) for i in range(200)]
    assert all(future.result(PATIENCE_S) == k for k, future in futures)
    batcher.close()


def test_closing_finishes_running_rows_and_cancels_waiting_ones(batcher: MicroBatcher) -> None:
    model = BlockedModel()
    queue, first = blocked(batcher, model)
    waiting = batcher.submit(queue, row(1))
    closing = threading.Thread(target=batcher.close)
    closing.start()
    until(waiting.cancelled)
    model.released.set()
    closing.join(PATIENCE_S)
    assert first.result(0) == 0
    with pytest.raises(Unavailable):
        batcher.submit(queue, row(2))
