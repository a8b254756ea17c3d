"""Freed memory goes back to the system: at once after much growth, else when nothing runs."""

import asyncio
import multiprocessing

import numpy as np

from featsvc.requests import WorkPool
from featsvc.requests.memory import Trimmer, map_large_blocks
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


def test_large_blocks_go_back_when_they_are_freed() -> None:
    # A new process: a heap that has shrunk by less than it had free would take the blocks.
    process = multiprocessing.get_context("spawn").Process(target=free_large_blocks)
    process.start()
    process.join()
    assert process.exitcode == 0


def free_large_blocks() -> None:
    map_large_blocks()
    watch = Trimmer(0)
    blocks = [np.ones(8 * 2**20, np.uint8) for _ in range(20)]
    # A small block after each would keep a heap from shrinking.
    held = [bytes(BLOCK_BYTES) for _ in blocks]
    full = watch.resident_bytes()
    del blocks
    assert watch.resident_bytes() < full - 150 * 2**20
    assert held


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
