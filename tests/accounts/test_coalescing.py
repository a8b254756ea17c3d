"""Coalescing of concurrent reads into one."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from featsvc.accounts import EntityRef, FeatureTable, Selection
from featsvc.accounts.coalescing import ReadCoalescer
from featsvc.errors import Overloaded

ONE = Selection(names=("n",))


class Reader:
    """Returns the number in each entity's id, and records the size of each read."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.fails = False

    async def read(
        self, entities: Sequence[EntityRef], selection: Selection, as_of_ms: int | None
    ) -> FeatureTable:
        self.sizes.append(len(entities))
        await asyncio.sleep(0.01)
        if self.fails:
            raise Overloaded("away", retry_after_ms=7)
        values = np.array([[float(ref.id) for ref in entities]])
        return FeatureTable(
            ("n",), values, np.ones((1, len(entities)), np.uint8), np.zeros(len(entities), int), 0
        )


def ref(number: int) -> EntityRef:
    return EntityRef("account", str(number))


def test_reads_that_come_during_another_become_one() -> None:
    async def main() -> None:
        reader = Reader()
        coalescer = ReadCoalescer(reader.read)
        requests = [[ref(3 * n + k) for k in range(1 + n % 3)] for n in range(20)]
        tables = await asyncio.gather(*(coalescer.get(refs, ONE, None) for refs in requests))
        for refs, table in zip(requests, tables, strict=True):
            assert table.values.tolist() == [[float(r.id) for r in refs]]
        assert reader.sizes == [len(requests[0]), sum(map(len, requests[1:]))]

    asyncio.run(main())


def test_different_reads_are_not_joined() -> None:
    async def main() -> None:
        reader = Reader()
        coalescer = ReadCoalescer(reader.read)
        everything = Selection()
        await asyncio.gather(
            coalescer.get([ref(1)], ONE, None),
            coalescer.get([ref(1)], ONE, 5),
            coalescer.get([ref(1)], everything, None),
            coalescer.get([EntityRef("ip", "1")], everything, None),
            coalescer.get([ref(n) for n in range(100)], ONE, None),
        )
        assert sorted(reader.sizes) == [1, 1, 1, 1, 100]

    asyncio.run(main())


def test_every_caller_gets_its_own_exception() -> None:
    async def main() -> None:
        reader = Reader()
        reader.fails = True
        coalescer = ReadCoalescer(reader.read)
        calls = (coalescer.get([ref(n)], ONE, None) for n in range(4))
        failures = await asyncio.gather(*calls, return_exceptions=True)
        assert [(str(e), getattr(e, "retry_after_ms", 0)) for e in failures] == [("away", 7)] * 4
        assert len({id(failure) for failure in failures}) == 4

    asyncio.run(main())


@pytest.mark.parametrize("cancelled", [0, 1])
def test_cancelling_one_caller_does_not_affect_the_others(cancelled: int) -> None:
    async def main() -> None:
        reader = Reader()
        coalescer = ReadCoalescer(reader.read)
        tasks = [asyncio.create_task(coalescer.get([ref(n)], ONE, None)) for n in range(3)]
        await asyncio.sleep(0.005)
        tasks[cancelled].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for number, result in enumerate(results):
            if number == cancelled:
                assert isinstance(result, asyncio.CancelledError)
            else:
                assert isinstance(result, FeatureTable)
                assert result.values.tolist() == [[float(number)]]

    asyncio.run(main())
