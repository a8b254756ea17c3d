"""Events from a Redis Stream."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from featsvc.accounts import Definitions, EntityRef, FeatureStore, Selection
from featsvc.accounts.consumer import StreamConsumer
from featsvc.accounts.events import clock_ms

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
    done: Callable[[StreamConsumer], bool],
    check: Callable[[FeatureStore], Awaitable[None]],
    *,
    retry_after_ms: int = 10_000,
) -> None:
    async def main() -> None:
        store = FeatureStore(url, definitions, timeout_ms=10_000)
        consumer = StreamConsumer(url, store, retry_after_ms=retry_after_ms, max_tries=3)
        task = asyncio.create_task(consumer.run())
        async with asyncio.timeout(20):
            while not done(consumer):
                await asyncio.sleep(0.01)
        await check(store)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()

    asyncio.run(main())


async def uploads(store: FeatureStore) -> float:
    return float((await store.get([EntityRef("account", "a1")], UPLOADS)).values[0, 0])


def test_events_are_applied_and_bad_ones_buried(
    url: str, server: Any, shipped: Definitions
) -> None:
    for number in range(20):
        server.xadd(STREAM, line(number % 10))
    server.xadd(STREAM, {"event": "{not json"})
    server.xadd(STREAM, {"something": "else"})
    server.xadd(STREAM, line(99, time=1))

    async def check(store: FeatureStore) -> None:
        assert await uploads(store) == 10
        assert server.xpending(STREAM, "featsvc")["pending"] == 0
        dead = [fields for _, fields in server.xrange(f"{STREAM}:dead")]
        assert [fields[b"event"] for fields in dead][:2] == [b"{not json", b""]
        assert b"before 2000" in dead[2][b"reason"]

    consume(url, shipped, lambda c: (c.counts.applied, c.counts.dead) == (20, 3), check)


def test_what_a_dead_consumer_left_is_taken_over(
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
        (_, fields), *_ = server.xrange(f"{STREAM}:dead")
        assert fields[b"id"] == poison
        assert b"not applied after 3 deliveries" in fields[b"reason"]

    consume(
        url,
        shipped,
        lambda c: (c.counts.applied, c.counts.dead) == (4, 1),
        check,
        retry_after_ms=50,
    )


def test_what_cannot_be_applied_does_not_hold_up_the_rest(
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

    consume(
        url,
        shipped,
        lambda c: (c.counts.applied, c.counts.dead) == (3, 1),
        check,
        retry_after_ms=50,
    )


def test_a_stream_that_comes_later_is_found(url: str, server: Any, shipped: Definitions) -> None:
    def done(consumer: StreamConsumer) -> bool:
        if not server.exists(STREAM):
            return False
        if server.xlen(STREAM) == 0:
            server.xadd(STREAM, line(1))
        return consumer.counts.applied == 1

    async def check(store: FeatureStore) -> None:
        assert await uploads(store) == 1

    consume(url, shipped, done, check)
