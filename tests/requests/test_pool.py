"""The bounded thread pool."""

import asyncio
import contextlib
import gc
import threading
import weakref

import pytest

from featsvc.errors import MediaCorrupt, Overloaded
from featsvc.requests import WorkPool


def test_a_full_queue_refuses_at_once_and_recovers() -> None:
    async def scenario() -> None:
        pool = WorkPool(threads=1, max_queue=2)
        release = threading.Event()
        waiting = [asyncio.ensure_future(pool.run(release.wait)) for _ in range(3)]
        await asyncio.sleep(0)
        assert pool.pending == 3
        one_too_many = asyncio.ensure_future(pool.run(lambda: None))
        await asyncio.sleep(0)
        release.set()
        with pytest.raises(Overloaded) as caught:
            await one_too_many
        assert caught.value.retry_after_ms > 0
        assert [result for result, _ in await asyncio.gather(*waiting)] == [True] * 3
        result, waited_us = await pool.run(lambda: 7)
        assert result == 7
        assert waited_us >= 0
        pool.close()
        assert pool.pending == 0

    asyncio.run(scenario())


def test_a_job_whose_caller_is_cancelled_never_runs() -> None:
    async def scenario() -> None:
        pool = WorkPool(threads=1, max_queue=8)
        release = threading.Event()
        ran: list[int] = []
        first = asyncio.ensure_future(pool.run(release.wait))
        second = asyncio.ensure_future(pool.run(lambda: ran.append(1)))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        release.set()
        await first
        await pool.run(lambda: None)
        pool.close()
        assert ran == []
        assert pool.pending == 0

    asyncio.run(scenario())


def test_an_error_passes_through_and_frees_its_place() -> None:
    async def scenario() -> None:
        pool = WorkPool(threads=1, max_queue=1)
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                await pool.run(lambda: 1 // 0)
        pool.close()
        assert pool.pending == 0

    asyncio.run(scenario())


def test_an_error_keeps_nothing_of_its_job_alive() -> None:
    """Without the collector, which may run seconds later: a job holds the pixels of a picture."""

    class Pixels:
        pass

    gone: list[bool] = []

    async def scenario() -> None:
        pool = WorkPool(threads=1, max_queue=1)

        async def request() -> None:
            pixels = Pixels()
            watched.append(weakref.ref(pixels))

            def job() -> None:
                kept = pixels
                raise MediaCorrupt(str(type(kept)))

            with contextlib.suppress(MediaCorrupt):
                await pool.run(job)

        watched: list[weakref.ref[Pixels]] = []
        await request()
        await pool.run(lambda: None)  # the thread has dropped the job before
        gone.append(watched[0]() is None)
        pool.close()

    gc.disable()
    try:
        asyncio.run(scenario())
    finally:
        gc.enable()
    assert gone == [True]
