"""Events from a Redis Stream."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from featsvc.accounts import (
    Definitions,
    EntityRef,
    Event,
    EventStatus,
    FeatureStore,
    Selection,
)
from featsvc.accounts.consumer import StreamConsumer
from featsvc.accounts.events import clock_ms
from tests.accounts.stores import open_store
from tests.patience import PATIENCE_MS, PATIENCE_S

STREAM = "featsvc:events"
UPLOADS = Selection(names=("uploads_1h",))


def line(number: int, **changes: object) -> dict[str, str]:
    event = {
        "event_id": f"e{number}",
        "type": "upload",
        "time": clock_ms(),
        "entities": {"account": "a1"},
    }
    return {"event": json.dumps({**event, **changes})}


def consume(
    url: str,
    definitions: Definitions,
    done: Callable[[], bool],
    check: Callable[[FeatureStore], Awaitable[None]],
    *,
    retry_after_ms: int = PATIENCE_MS,
) -> None:
    """Run a consumer until `done`, then `check` its store."""

    async def main() -> None:
        async with open_store(url, definitions) as store, asyncio.timeout(PATIENCE_S):
            consumer = StreamConsumer(url, store, retry_after_ms=retry_after_ms, max_tries=3)
            task = asyncio.create_task(consumer.run())
            while not done():
                await asyncio.sleep(0.01)
            await check(store)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def settled(server: Any, entries: int) -> bool:
    """Return whether the group has read and acknowledged this number of entries."""
    groups = server.xinfo_groups(STREAM) if server.exists(STREAM) else []
    return [(group["entries-read"], group["pending"]) for group in groups] == [(entries, 0)]


async def uploads(store: FeatureStore) -> float:
    return float((await store.get([EntityRef("account", "a1")], UPLOADS)).values[0, 0])


def test_bad_events_become_dead_letters(url: str, server: Any, shipped: Definitions) -> None:
    for number in range(20):
        server.xadd(STREAM, line(number % 10))
    server.xadd(STREAM, {"event": "{not json"})
    server.xadd(STREAM, {"something": "else"})
    server.xadd(STREAM, line(99, time=1))

    async def check(store: FeatureStore) -> None:
        assert await uploads(store) == 10
        dead = [fields for _, fields in server.xrange(f"{STREAM}:dead")]
        assert [fields[b"event"] for fields in dead][:2] == [b"{not json", b""]
        assert b"before 2000" in dead[2][b"reason"]

    consume(url, shipped, lambda: settled(server, 23), check)


@pytest.mark.slow
def test_entries_of_a_dead_consumer_are_claimed(
    url: str, server: Any, shipped: Definitions
) -> None:
    server.xgroup_create(STREAM, "featsvc", id="0", mkstream=True)
    for number in range(5):
        server.xadd(STREAM, line(number))
    server.xreadgroup("featsvc", "gone", {STREAM: ">"})
    poison, *_ = (id_ for id_, _ in server.xrange(STREAM))
    for _ in range(2):  # with the read above it is delivered `max_tries` times
        server.xclaim(STREAM, "featsvc", "gone", 0, [poison])

    async def check(store: FeatureStore) -> None:
        assert await uploads(store) == 4
        ((_, fields),) = server.xrange(f"{STREAM}:dead")
        assert fields[b"id"] == poison
        assert b"not applied after 3 deliveries" in fields[b"reason"]

    consume(url, shipped, lambda: settled(server, 5), check, retry_after_ms=50)


@pytest.mark.slow
def test_an_event_that_fails_does_not_block_the_others(
    url: str, server: Any, shipped: Definitions
) -> None:
    server.set("fs:{ts:account:taken}:v1", "something else's")
    server.xadd(STREAM, line(0, entities={"account": "taken"}))
    for number in range(1, 4):
        server.xadd(STREAM, line(number))

    async def check(store: FeatureStore) -> None:
        assert await uploads(store) == 3
        ((_, fields),) = server.xrange(f"{STREAM}:dead")
        assert b"taken" in fields[b"event"]
        assert b"not applied after 3 deliveries" in fields[b"reason"]

    consume(url, shipped, lambda: settled(server, 4), check, retry_after_ms=50)


def test_a_stream_created_later_is_found(url: str, server: Any, shipped: Definitions) -> None:
    def done() -> bool:
        if server.exists(STREAM) and server.xlen(STREAM) == 0:
            server.xadd(STREAM, line(1))
        return settled(server, 1)

    async def check(store: FeatureStore) -> None:
        assert await uploads(store) == 1

    consume(url, shipped, done, check)


DAY_MS = 86_400_000
MATCHES = Selection(names=("matches_lifetime",))


async def matches(store: FeatureStore) -> float:
    return float((await store.get([EntityRef("account", "a1")], MATCHES)).values[0, 0])


def test_a_group_that_lags_behind_the_horizon_loses_nothing(
    url: str, server: Any, shipped: Definitions
) -> None:
    """While live events of the same account come another way."""

    async def live() -> None:
        async with open_store(url, shipped) as store:
            event = Event("live", "match", clock_ms(), {"account": "a1"})
            (result,) = await store.ingest([event])
            assert result.status is EventStatus.APPLIED

    asyncio.run(live())
    for number in range(30):
        late = line(number % 15, type="match", time=clock_ms() - (20 - number % 15) * DAY_MS)
        server.xadd(STREAM, late)

    async def check(store: FeatureStore) -> None:
        assert await matches(store) == 16
        assert not server.exists(f"{STREAM}:dead")

    consume(url, shipped, lambda: settled(server, 30), check)


def test_an_entry_that_returns_after_the_horizon_is_not_guessed(
    url: str, server: Any, shipped: Definitions
) -> None:
    """One that is older than the horizon may have counted, and has left no id."""
    server.xgroup_create(STREAM, "featsvc", id="0", mkstream=True)
    for number, age_ms in enumerate((0, 3 * DAY_MS, DAY_MS // 2)):
        server.xadd(STREAM, line(number, type="match", time=clock_ms() - age_ms))
    server.xreadgroup("featsvc", "gone", {STREAM: ">"})
    _, old, young = (id_ for id_, _ in server.xrange(STREAM))
    server.xclaim(STREAM, "featsvc", "gone", 0, [old, young], idle=2 * DAY_MS)

    async def live() -> None:
        async with open_store(url, shipped) as store:
            await store.ingest([Event("live", "match", clock_ms(), {"account": "a1"})])

    asyncio.run(live())

    async def check(store: FeatureStore) -> None:
        assert await matches(store) == 3
        ((_, fields),) = server.xrange(f"{STREAM}:dead")
        assert fields[b"id"] == old
        assert b"older than the newest event by more than the horizon" in fields[b"reason"]

    consume(url, shipped, lambda: settled(server, 3), check, retry_after_ms=50)
