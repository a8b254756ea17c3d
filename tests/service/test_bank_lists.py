"""Streams of lists: how many run at once, and that each gives its place back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from featsvc_client.v1 import banks_pb2

from featsvc.banks.store import BankStore
from featsvc.errors import Overloaded
from featsvc.matching.follower import Follower
from featsvc.service.bank_lists import MAX_STREAMS, ListStreams
from featsvc.service.store_calls import StoreCalls

LINE = b"0f" * 32 + b"\n"


def test_a_worker_runs_a_limited_number_of_lists(tmp_path: Path) -> None:
    store = BankStore(f"sqlite:///{tmp_path / 'banks.db'}")
    follower = Follower(store, poll_interval_ms=20)
    follower.start()
    for number in range(MAX_STREAMS + 1):
        store.create_bank(f"b{number}")

    async def main() -> None:
        streams = ListStreams(store, follower, StoreCalls(1, "call"))
        release = asyncio.Event()

        async def requests(number: int) -> AsyncIterator[banks_pb2.ImportEntriesRequest]:
            options = banks_pb2.ImportOptions(parent=f"banks/b{number}", format="pdq-text")
            yield banks_pb2.ImportEntriesRequest(options=options)
            await release.wait()
            yield banks_pb2.ImportEntriesRequest(chunk=LINE)

        async def run(number: int) -> banks_pb2.ImportEntriesResponse:
            answers = streams.import_entries(requests(number))
            async with contextlib.aclosing(answers):
                return [answer async for answer in answers][-1]

        running = [asyncio.create_task(run(number)) for number in range(MAX_STREAMS)]
        await asyncio.sleep(0)
        one_too_many = asyncio.create_task(run(MAX_STREAMS))
        await asyncio.sleep(0)
        release.set()
        with pytest.raises(Overloaded, match=f"{MAX_STREAMS} imports and exports"):
            await one_too_many
        await asyncio.gather(*running)
        assert (await run(MAX_STREAMS)).revision

    try:
        asyncio.run(main())
    finally:
        follower.stop()
        store.close()
