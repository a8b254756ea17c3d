"""Calls share round trips, and fail in time if the server does not answer."""

import asyncio
from pathlib import Path

import pytest
import redis

from featsvc.accounts import Definitions, EntityRef, Event, FeatureStore
from featsvc.errors import Unavailable
from tests.accounts.stores import NOW_MS, open_store, run
from tests.patience import PATIENCE_S

ACCOUNT = EntityRef("account", "a1")


def test_concurrent_reads_share_round_trips(
    url: str, shipped: Definitions, server: redis.Redis
) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ping()
        before = server.info("stats")["total_reads_processed"]
        await asyncio.gather(*(store.get([EntityRef("account", f"a{n}")]) for n in range(64)))
        after = server.info("stats")["total_reads_processed"]
        assert after - before <= 4  # including our INFO

    run(url, shipped, body)


def test_calls_fail_fast_without_a_server(tmp_path: Path, shipped: Definitions) -> None:
    async def body(store: FeatureStore) -> None:
        with pytest.raises(Unavailable):
            await store.get([ACCOUNT])
        with pytest.raises(Unavailable):
            await store.ingest([Event("e1", "upload", NOW_MS, {"account": "a1"})])

    run(f"unix://{tmp_path / 'nowhere'}", shipped, body)


def test_calls_time_out_on_a_server_that_hangs(
    tmp_path: Path, shipped: Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featsvc.accounts.pipelining._LONGEST_PAUSE_S", 4 * PATIENCE_S)

    async def main() -> None:
        closed = asyncio.Event()
        connections = []

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(writer)
            await reader.read()
            writer.close()
            await writer.wait_closed()
            closed.set()

        server = await asyncio.start_unix_server(silent, tmp_path / "s")
        async with (
            open_store(f"unix://{tmp_path / 's'}", shipped, timeout_ms=300) as store,
            asyncio.timeout(PATIENCE_S),
        ):
            for _ in range(2):
                with pytest.raises(Unavailable, match="no answer within 300 ms"):
                    await store.get([ACCOUNT])
            await closed.wait()
            assert len(connections) == 1  # the circuit is open: no second attempt
        server.close()

    asyncio.run(main())
