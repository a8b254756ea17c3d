"""Freed memory goes back to the system: at once after much growth, else when nothing runs."""

import asyncio

from featsvc.requests import WorkPool
from featsvc.requests.memory import Trimmer
from tests.patience import until

BLOCK_BYTES = 100_000
"""Small blocks lie in the heap, where glibc keeps them if one after them is in use."""


def fill(blocks: int) -> list[bytes]:
    """Allocate so many blocks and free all but each hundredth, which hold the heap up."""
    return [bytes(BLOCK_BYTES) for _ in range(blocks)][::100]


def test_growth_beyond_the_slack_is_trimmed() -> None:
    patient, strict = Trimmer(2**40), Trimmer(2**20)
    held = fill(1_500)
    grown = strict.resident_bytes()
    patient.trim()
    assert strict.resident_bytes() > grown - 10 * 2**20
    strict.trim()
    assert strict.resident_bytes() < grown - 50 * 2**20
    assert held
    for trimmer in (patient, strict):
        trimmer.close()
        assert trimmer.resident_bytes() == 0


def test_an_idle_pool_gives_memory_back() -> None:
    async def scenario() -> None:
        # Less than is trimmed between two jobs.
        pool, watch = WorkPool(threads=1, max_queue=1), Trimmer(0)
        before = watch.resident_bytes()
        held, _ = await pool.run(lambda: fill(500))
        small = before + 15 * 2**20
        await asyncio.to_thread(
            until, lambda: watch.resident_bytes() < small, "no memory came back"
        )
        assert held
        pool.close()

    asyncio.run(scenario())
