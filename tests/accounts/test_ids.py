"""Event ids: an id counts once within the horizon, and is forgotten after it."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import redis

from featsvc.accounts import (
    Backfill,
    Definitions,
    EntityRef,
    Event,
    EventStatus,
    FeatureStore,
    Selection,
)
from featsvc.accounts.layout import short_hash
from featsvc.errors import InvalidInput
from tests.accounts.stores import NOW_MS, define, open_store, run

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
ACCOUNT = EntityRef("account", "a")
ID_BYTES, IDS_PER_SHARD = 12, 48

TOML = """
namespace = "ids"
[entities]
account = "account"
ip = "ip"
[events.up]
keys = ["account", "ip"]
[features.ups]
on = "up"
agg = "count"
windows = ["24h", "lifetime"]
[features.recent]
entity = "ip"
on = "up"
agg = "count"
windows = ["1h", "90d"]
"""


@pytest.fixture
def definitions(tmp_path: Path) -> Definitions:
    return define(tmp_path, TOML)


def ups(ids: Sequence[int], time_ms: int = NOW_MS) -> list[Event]:
    return [Event(f"e{i}", "up", time_ms, {"account": "a"}) for i in ids]


async def lifetime(store: FeatureStore) -> float:
    table = await store.get([ACCOUNT], Selection(names=("ups_lifetime",)))
    return float(table.values[0, 0])


async def statuses(
    store: FeatureStore, events: list[Event], *, backfill: Backfill | None = None
) -> Counter[EventStatus]:
    return Counter(r.status for r in await store.ingest(events, backfill=backfill))


def shards(server: redis.Redis, key: str = "fs:{ids:account:a}:v1") -> list[bytes]:
    """The remembered ids, shard by shard."""
    fields: dict[bytes, bytes] = server.hgetall(key)  # type: ignore[assignment]
    names = [name for name in fields if name[:1] == b"i"]
    return [fields[name] for name in sorted(names, key=lambda name: int(name[1:]))]


def test_the_same_batch_counts_once_however_it_is_cut(url: str, definitions: Definitions) -> None:
    async def body(store: FeatureStore) -> None:
        events = ups(range(2000))
        await store.ingest(events)
        await store.ingest(ups([9999]))
        rng = random.Random(5)
        for size in (2000, 7, 333):
            rng.shuffle(events)
            for at in range(0, len(events), size):
                part = events[at : at + size]
                assert set(await statuses(store, part)) == {EventStatus.DUPLICATE}
        assert await lifetime(store) == 2001

    run(url, definitions, body)


def test_a_retry_with_another_time_is_a_duplicate(url: str, definitions: Definitions) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ingest(ups([1], NOW_MS - 5 * HOUR_MS))
        for time_ms in (NOW_MS, NOW_MS - 23 * HOUR_MS, NOW_MS - 80 * DAY_MS):
            assert await statuses(store, ups([1], time_ms)) == {EventStatus.DUPLICATE: 1}
        assert await lifetime(store) == 1

    run(url, definitions, body)


def test_an_older_event_is_beyond_the_horizon(url: str, definitions: Definitions) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ingest(ups([1]))
        edge = NOW_MS - DAY_MS
        assert await statuses(store, ups([2], edge + 1)) == {EventStatus.APPLIED: 1}
        (result,) = await store.ingest(ups([3], edge))
        assert result.status is EventStatus.BEYOND_HORIZON
        assert "send history as a back-fill" in result.reason
        # Of another entity it counts, and the result still says that it did not for this one.
        (result,) = await store.ingest(
            [Event("e4", "up", edge, {"account": "a", "ip": "192.0.2.1"})]
        )
        assert result.status is EventStatus.BEYOND_HORIZON
        assert "it counted for the others" in result.reason
        assert await lifetime(store) == 2

    run(url, definitions, body)


def test_ids_are_forgotten_after_the_horizon(
    url: str, server: redis.Redis, definitions: Definitions
) -> None:
    """Shards split as ids come, and merge again when they have gone."""

    async def body() -> None:
        now_ms = NOW_MS
        async with open_store(url, definitions, clock=lambda: now_ms) as store:
            await store.ingest(ups(range(5000)))
            many = shards(server)
            assert len(many) >= 5000 / IDS_PER_SHARD
            assert sum(map(len, many)) == 5000 * ID_BYTES
            assert {s[at : at + 8] for s in many for at in range(0, len(s), ID_BYTES)} == {
                short_hash(f"e{i}") for i in range(5000)
            }
            now_ms += 25 * HOUR_MS
            for i in range(5000, 5400):
                assert await statuses(store, ups([i], now_ms)) == {EventStatus.APPLIED: 1}
            assert sum(map(len, shards(server))) == 400 * ID_BYTES
            assert len(shards(server)) <= 2 * 400 / 12
            now_ms += 50 * HOUR_MS
            for i in range(6000, 6003):  # the shards of a burst go with the next few events
                await store.ingest(ups([i], now_ms))
            assert sum(map(len, shards(server))) == 3 * ID_BYTES
            # What was forgotten cannot be told any more, and does not count again.
            assert set(await statuses(store, ups(range(5000)))) == {EventStatus.BEYOND_HORIZON}
            assert await lifetime(store) == 5403

    asyncio.run(body())


def test_a_shorter_horizon_does_not_make_a_longer_one_forget(url: str, tmp_path: Path) -> None:
    """Two services with different horizons share a namespace."""
    long = define(tmp_path, TOML + '[dedup]\nhorizon = "7d"\n')
    short = define(tmp_path, TOML + '[dedup]\nhorizon = "1h"\n')

    async def body() -> None:
        async with (
            open_store(url, long, clock=lambda: NOW_MS) as patient,
            open_store(url, short, clock=lambda: NOW_MS) as hasty,
        ):
            await patient.ingest(ups([1], NOW_MS - 2 * DAY_MS))
            await hasty.ingest(ups([2]))  # forgets the first id
            for store in (patient, hasty):
                counted = await statuses(store, ups([1], NOW_MS - 2 * DAY_MS))
                assert EventStatus.APPLIED not in counted
            assert await lifetime(patient) == 2

    asyncio.run(body())


def test_a_longer_horizon_does_not_count_what_a_shorter_one_filled_in(
    url: str, definitions: Definitions, tmp_path: Path
) -> None:
    """The back-fill of a service with a short horizon remembers no id of a few hours ago."""
    short = define(tmp_path, TOML + '[dedup]\nhorizon = "2h"\n')

    async def body() -> None:
        async with (
            open_store(url, definitions, clock=lambda: NOW_MS) as patient,
            open_store(url, short, clock=lambda: NOW_MS) as hasty,
        ):
            await patient.ingest(ups([0]))
            late = ups([1], NOW_MS - 5 * HOUR_MS)
            await hasty.ingest(late, backfill=Backfill("file", [0]))
            assert await statuses(patient, late) == {EventStatus.BEYOND_HORIZON: 1}
            assert await lifetime(patient) == 2

    asyncio.run(body())


def test_a_backfill_counts_each_position_once(url: str, definitions: Definitions) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ingest(ups([0]))
        history = [e for i in range(60) for e in ups([100 + i], NOW_MS - (90 - i) * DAY_MS)]
        first = Backfill("file", range(30))
        assert await statuses(store, history[:30], backfill=first) == {EventStatus.APPLIED: 30}
        again = await statuses(store, history, backfill=Backfill("file", range(60)))
        assert again == {EventStatus.DUPLICATE: 30, EventStatus.APPLIED: 30}
        assert await lifetime(store) == 61
        # Another source is another history.
        other = await statuses(store, history[:1], backfill=Backfill("other", [7]))
        assert other == {EventStatus.APPLIED: 1}

    run(url, definitions, body)


def test_a_backfill_counts_no_event_again_that_is_known(url: str, definitions: Definitions) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ingest(ups([1, 2, 3], NOW_MS - HOUR_MS))
        counted = await statuses(
            store, ups([1, 2, 3, 4], NOW_MS - HOUR_MS), backfill=Backfill("file", [1, 2, 3, 4])
        )
        assert counted == {EventStatus.DUPLICATE: 3, EventStatus.APPLIED: 1}
        # A day later the ids are gone; the position is not.
        await store.ingest(ups([9]))
        again = await statuses(store, ups([1, 2, 3]), backfill=Backfill("file", [1, 2, 3]))
        assert again == {EventStatus.DUPLICATE: 3}

    run(url, definitions, body)


def test_an_entity_remembers_its_last_eight_sources(url: str, definitions: Definitions) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ingest(ups([0]))
        old = NOW_MS - 50 * DAY_MS
        for n in range(9):
            await store.ingest(ups([n + 1], old), backfill=Backfill(f"file {n}", [1]))
        forgotten = await statuses(store, ups([1], old), backfill=Backfill("file 0", [1]))
        known = await statuses(store, ups([9], old), backfill=Backfill("file 8", [1]))
        assert (forgotten, known) == ({EventStatus.APPLIED: 1}, {EventStatus.DUPLICATE: 1})

    run(url, definitions, body)


@pytest.mark.parametrize(
    ("backfill", "field"),
    [
        (Backfill("", [1]), "backfill.source"),
        (Backfill("s" * 129, [1]), "backfill.source"),
        (Backfill("s", [1, 2]), "backfill.positions"),
        (Backfill("s", [-1]), "backfill.positions"),
        (Backfill("s", [2**53 + 1]), "backfill.positions"),
    ],
)
def test_a_bad_backfill_is_refused(
    url: str, definitions: Definitions, backfill: Backfill, field: str
) -> None:
    async def body(store: FeatureStore) -> None:
        with pytest.raises(InvalidInput) as error:
            await store.ingest(ups([1]), backfill=backfill)
        assert error.value.field == field

    run(url, definitions, body)


def test_what_was_not_seen_counts_beyond_the_horizon(url: str, definitions: Definitions) -> None:
    """As of a stream that lags: the first delivery counts, each later one is a duplicate."""

    async def body(store: FeatureStore) -> None:
        await store.ingest(ups([0]))
        late = ups(range(1, 20), NOW_MS - 30 * DAY_MS)
        first = {r.status for r in await store.ingest(late, unseen=True)}
        second = {r.status for r in await store.ingest(late, unseen=True)}
        assert (first, second) == ({EventStatus.APPLIED}, {EventStatus.DUPLICATE})
        assert await lifetime(store) == 20

    run(url, definitions, body)


def test_an_id_of_a_lagging_stream_is_kept_while_live_events_come(
    url: str, definitions: Definitions
) -> None:
    async def body(store: FeatureStore) -> None:
        late = ups([1], NOW_MS - 30 * DAY_MS)
        await store.ingest(late, unseen=True)
        await store.ingest(ups([2]))  # the entity's newest event is 30 days later now
        (result,) = await store.ingest(late, unseen=True)
        assert result.status is EventStatus.DUPLICATE

    run(url, definitions, body)


def test_an_id_of_a_lagging_stream_is_kept_for_a_horizon_of_the_clock(
    url: str, tmp_path: Path
) -> None:
    """Also where live events are ahead of the clock."""
    brief = define(tmp_path, TOML + '[dedup]\nhorizon = "10m"\n')

    async def body() -> None:
        now_ms = NOW_MS
        async with open_store(url, brief, clock=lambda: now_ms) as store:
            late = ups([1], NOW_MS - DAY_MS)
            await store.ingest(late, unseen=True)
            now_ms += 599_000
            await store.ingest(ups([2, 3], now_ms + 60_000))
            (result,) = await store.ingest(late, unseen=True)
            assert result.status is EventStatus.DUPLICATE

    asyncio.run(body())


def test_an_expiry_is_never_shortened(
    url: str, server: redis.Redis, definitions: Definitions, tmp_path: Path
) -> None:
    """By definitions with shorter windows on the same namespace."""
    shorter = define(
        tmp_path,
        TOML.replace('["1h", "90d"]', '["1h"]').replace('["24h", "lifetime"]', '["24h"]'),
    )
    keys = ["fs:{ids:account:a}:v1", "fs:{ids:ip:192.0.2.1}:v1"]
    event = Event("e1", "up", NOW_MS, {"account": "a", "ip": "192.0.2.1"})

    async def body() -> None:
        async with (
            open_store(url, definitions, clock=lambda: NOW_MS) as long,
            open_store(url, shorter, clock=lambda: NOW_MS) as short,
        ):
            await long.ingest([event])
            before = [server.pttl(key) for key in keys]
            await short.ingest([Event("e2", "up", NOW_MS, event.entities)])
            assert before[0] == server.pttl(keys[0]) == -1
            assert server.pttl(keys[1]) > 90 * DAY_MS

    asyncio.run(body())


def test_a_damaged_entity_fails_alone(
    url: str, server: redis.Redis, definitions: Definitions
) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ingest([Event("e1", "up", NOW_MS, {"account": "ring"})])
        server.set("fs:{ids:account:type}:v1", "x")
        fields: list[bytes] = server.hkeys("fs:{ids:account:ring}:v1")  # type: ignore[assignment]
        ring = next(name for name in fields if name.endswith(b"h"))
        server.hset("fs:{ids:account:ring}:v1", ring, b"cut")
        results = await store.ingest(
            [Event("e2", "up", NOW_MS, {"account": a}) for a in ("type", "a", "ring", "b")]
        )
        assert [r.status for r in results] == [
            EventStatus.INCOMPLETE,
            EventStatus.APPLIED,
            EventStatus.INCOMPLETE,
            EventStatus.APPLIED,
        ]
        assert all("was not written by featsvc" in results[i].reason for i in (0, 2))

    run(url, definitions, body)


def test_damaged_ids_make_an_event_incomplete(
    url: str, server: redis.Redis, definitions: Definitions
) -> None:
    """Also one that is alone in its call: a stream would wait for a store that is there."""

    async def body(store: FeatureStore) -> None:
        await store.ingest(ups(range(200)))
        for name in ("i1", "i2", "i3"):
            server.hset("fs:{ids:account:a}:v1", name, b"cut")
        found = [(await store.ingest(ups([i])))[0] for i in range(200, 220)]
        damaged = [result for result in found if result.status is EventStatus.INCOMPLETE]
        assert damaged
        assert all("was not written by featsvc" in result.reason for result in damaged)

    run(url, definitions, body)
