"""Cases of stores that share something: a namespace, a server, a cluster, a clock that is off."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from featsvc.accounts import EntityRef, Event, FeatureStore, Selection
from featsvc.accounts.events import MAX_SKEW_MS
from featsvc.accounts.register import LEASE_MS
from featsvc.errors import ConfigInvalid
from tests.accounts.cases import (
    DAY_MS,
    HORIZON,
    HOUR_MS,
    Clock,
    check,
    distinct,
    event,
    feature,
    outside,
    show,
    statuses,
    toml,
)
from tests.accounts.clusters import Cluster, running_cluster
from tests.accounts.schema1 import OldService
from tests.accounts.stores import NOW_MS, define, open_store

KEY = b"fs:{case:account:a}:v1"


def test_a_window_that_is_added_is_warming(play: Any, clock: Clock) -> None:
    """It was PRESENT, and counted nothing of the past."""

    async def body(old: FeatureStore, new: FeatureStore, other: FeatureStore) -> None:
        await old.ingest([event(f"{n}", "up", NOW_MS - 3 * HOUR_MS - n * 1000) for n in range(5)])
        names = ["s_24h", "s_7d", "s_30d", "s_lifetime"]
        found = await show(new, *names)
        assert found["s_24h"] == (5, "PRESENT")
        assert {found[name][1] for name in names[2:]} == {"WARMING"}
        # 24h and 7d share a ring, which has had all events.
        assert found["s_7d"] == (5, "PRESENT")
        assert (await show(other, "z_24h"))["z_24h"][1] == "WARMING"
        clock.now_ms += 2 * HOUR_MS
        await new.ingest([event("later", "up", clock.now_ms, account="born later")])
        found = await show(new, *names, account="born later")
        assert found == dict.fromkeys(names, (1, "PRESENT"))

    counted = feature("s", "up", "count", ["24h"])
    play(
        body,
        toml(counted),
        toml(feature("s", "up", "count", ["24h", "7d", "30d", "lifetime", "1h"])),
        toml(counted, feature("z", "up", "sum", ["24h"], value="v")),
    )


def test_warming_ends_a_window_after_the_last_lease_without_it(play: Any, clock: Clock) -> None:
    async def body(old: FeatureStore, new: FeatureStore) -> None:
        await old.ingest([event("1", "up", NOW_MS - HOUR_MS, v=1.0)])
        assert (await show(new, "z_24h"))["z_24h"][1] == "WARMING"
        clock.now_ms += HOUR_MS
        await new.ingest([event("2", "up", clock.now_ms, v=2.0)])
        found = await show(new, "s_24h", "z_24h", "z_lifetime")
        assert found["s_24h"] == (2, "PRESENT")
        assert found["z_24h"] == (2, "WARMING")
        clock.now_ms += 23 * HOUR_MS + LEASE_MS + MAX_SKEW_MS - 1
        assert (await show(new, "z_24h"))["z_24h"] == (2, "WARMING")
        clock.now_ms += 1
        assert (await show(new, "z_24h"))["z_24h"] == (2, "PRESENT")
        assert (await show(new, "z_lifetime"))["z_lifetime"] == (2, "WARMING")

    counted = feature("s", "up", "count", ["24h"])
    summed = feature("z", "up", "sum", ["24h", "lifetime"], value="v")
    play(body, toml(counted), toml(counted, summed))


def test_other_definitions_do_not_shorten_an_expiry(play: Any, server: Any) -> None:
    async def body(short: FeatureStore, long: FeatureStore) -> None:
        await long.ingest([event("1", "up", NOW_MS - 1000)])
        assert server.pttl(KEY) == -1
        await short.ingest([event("2", "up", NOW_MS - 900)])
        assert server.pttl(KEY) == -1
        assert (await show(long, "s_lifetime"))["s_lifetime"][0] == 2

    windows = ["1h"], ["1h", "lifetime"]
    play(body, *(toml(feature("s", "up", "count", some)) for some in windows))


@pytest.mark.parametrize("dedup", ["", HORIZON], ids=["default", "horizon"])
def test_thousands_of_features_of_one_event(play: Any, dedup: str) -> None:
    """An HSET of all fields at once exceeded Lua's stack."""

    async def body(store: FeatureStore) -> None:
        assert await statuses(store, [event("1", "up", NOW_MS - 1000)]) == ["APPLIED"]
        assert await statuses(store, [event("1", "up", NOW_MS - 1000)]) == ["DUPLICATE"]
        check(await show(store, "c0_1m", "c799_lifetime"), c0_1m=1, c799_lifetime=1)

    windows = ["1m", "1h", "24h", "30d", "lifetime"]
    many = [feature(f"c{n}", "up", "count", windows, version=n + 1) for n in range(800)]
    play(body, toml(*many, dedup=dedup))


def test_one_damaged_account_fails_alone(play: Any, server: Any) -> None:
    """A key of another type, or a field that is cut short, made all reads beside it fail."""

    async def body(store: FeatureStore) -> None:
        await store.ingest([event(f"{n}", "up", NOW_MS - 1000, account=f"u{n}") for n in range(10)])
        server.set("fs:{case:account:bad}:v1", "x")
        cut = "fs:{case:account:u5}:v1"
        for name, text in server.hgetall(cut).items():
            if len(name) == 9:
                server.hset(cut, name, text[:-4])

        async def read(*accounts: str) -> list[tuple[float, int]]:
            refs = [EntityRef("account", account) for account in accounts]
            table = await store.get(refs, Selection(names=("s_1h",)))
            return list(zip(table.values[0].tolist(), table.statuses[0].tolist(), strict=True))

        one, damaged = (1.0, 1), 9
        found = await read("u1", "bad", "u2", "u5", "u3")
        assert [found[n] for n in (0, 2, 4)] == [one, one, one]
        assert [found[n][1] for n in (1, 3)] == [damaged, damaged]
        at_once = await asyncio.gather(*(read(name) for name in ("u1", "bad", "u2", "u5", "u3")))
        assert [status for ((_, status),) in at_once] == [1, damaged, 1, damaged, 1]
        names = ("u1", "bad", "u3", "u5")
        results = await store.ingest([event(f"z{n}", "up", NOW_MS, account=n) for n in names])
        assert [r.status.name for r in results] == [
            "APPLIED",
            "INCOMPLETE",
            "APPLIED",
            "INCOMPLETE",
        ]
        for account in ("bad", "u5"):
            assert await store.delete(EntityRef("account", account))

    play(body, toml(feature("s", "up", "count", ["1h"]), distinct(["1h"])))


@pytest.mark.parametrize(
    "text",
    [
        "s_1h + 1" + "0" * 400,
        "-" * 990 + "s_1h",
        "(" * 150 + "s_1h" + ")" * 150,
        "+".join(["s_1h"] * 190),
        "1e999 + s_1h",
        "s_1h if 1 else 2",
        "s_1h < 1 < 2",
        "s_1h + (1,2)",
        "s_1h + True",
        "s_1h\n+ 1",
        "s_1h / 0",
    ],
    ids=lambda text: text[:12],
)
def test_a_derived_feature_is_refused_or_works(play: Any, text: str) -> None:
    """Deep and long expressions crashed the parser."""

    async def body(store: FeatureStore) -> None:
        await store.ingest([event("1", "up", NOW_MS)])
        (answer,) = (await show(store, "z")).values()
        assert answer[1] in ("PRESENT", "NULL_VALUE")

    with suppress(ConfigInvalid):
        play(body, toml(feature("s", "up", "count", ["1h"]), f'[derived]\nz = """{text}"""\n'))


def test_events_ahead_of_the_clock(play: Any) -> None:
    async def body(store: FeatureStore) -> None:
        ahead_ms = NOW_MS + 59_000
        events = [
            event("1", "up", ahead_ms, v=1.0),
            event("2", "login", ahead_ms, ip="1.1.1.1"),
            event("3", "up", NOW_MS + 61_000),
        ]
        assert await statuses(store, events) == ["APPLIED", "APPLIED", "REJECTED"]
        ones = {"c_1m": 1, "c_lifetime": 1, "d_1h": 1, "l_1h": 1, "l_lifetime": 1}
        ages = {"g_1h": 0, "g_lifetime": 0}
        check(await show(store, *ones, *ages), **ones, **ages)
        # As of now they have not happened, or it cannot be told.
        found = await show(store, *ones, *ages, as_of_ms=NOW_MS)
        unknown = dict.fromkeys(found.keys() - {"c_1m"}, "NOT_RETAINED")
        check(found, c_1m=0, **unknown)

    both = ["1h", "lifetime"]
    play(
        body,
        toml(
            feature("c", "up", "count", ["1m", "lifetime"]),
            distinct(["1h"]),
            feature("g", "up", "age_of_last", both),
            feature("l", "up", "last", both, value="v"),
        ),
    )


def test_a_text_for_a_number_is_refused(play: Any) -> None:
    async def body(store: FeatureStore) -> None:
        assert await statuses(store, [event("1", "up", NOW_MS, bytes="123")]) == ["REJECTED"]
        assert (await show(store, "c_1h"))["c_1h"][1] == "NOT_FOUND"

    some = feature("c", "up", "count", ["1h"]), feature("s", "up", "sum", ["1h"], value="bytes")
    play(body, toml(*some))


def test_the_last_of_a_text_is_refused_by_validation(tmp_path: Path) -> None:
    """It was valid, and then refused every event."""
    with pytest.raises(ConfigInvalid):
        define(tmp_path, toml(feature("l", "login", "last", ["lifetime"], value="ip")))


@pytest.mark.parametrize("dedup", ["", HORIZON], ids=["default", "horizon"])
def test_a_deleted_account_begins_anew(play: Any, server: Any, dedup: str) -> None:
    async def body(store: FeatureStore) -> None:
        logins = [event(f"{n}", "login", NOW_MS - 1000 + n, ip=f"10.{n}") for n in range(50)]
        await store.ingest(logins)
        assert outside(server) == [KEY]
        assert await store.delete(EntityRef("account", "a"))
        assert outside(server) == []
        assert (await show(store, "c_lifetime"))["c_lifetime"][1] == "NOT_FOUND"
        assert set(await statuses(store, logins)) == {"APPLIED"}
        check(await show(store, "c_lifetime"), c_lifetime=50)
        assert not await store.delete(EntityRef("account", "nobody"))

    some = distinct(["1h", "lifetime"]), feature("c", "login", "count", ["lifetime"])
    play(body, toml(*some, dedup=dedup))


@pytest.mark.parametrize(
    ("age_ms", "counted"),
    [
        (60_000, "c_1m c_6m c_1h c_6h c_24h c_7d c_90d"),
        (59_999, "c_1m c_6m c_1h c_6h c_24h c_7d c_90d d_1m d_1h l_1m g_1m"),
        (HOUR_MS, "c_1h c_6h c_24h c_7d c_90d"),
        (7 * DAY_MS, "c_7d c_90d"),
        (90 * DAY_MS, "c_90d"),
        (90 * DAY_MS + 12 * HOUR_MS, "c_90d"),
        (90 * DAY_MS + 12 * HOUR_MS + 1, ""),
    ],
)
def test_the_edges_of_windows(play: Any, age_ms: int, counted: str) -> None:
    """Counts include all of the first bucket; distinct counts and last events do not.

    NOW_MS is the end of a bucket of every ring but that of days, whose bucket begins 12 h before.
    """

    async def body(store: FeatureStore) -> None:
        await store.ingest([event("1", "up", NOW_MS - age_ms, v=7.0)])
        found = await show(store, *(f"c_{window}" for window in windows), "d_1m", "d_1h")
        found |= await show(store, "l_1m", "g_1m")
        right = set(counted.split()) | ({"d_1h"} if age_ms < HOUR_MS else set())
        values = {name: value for name, (value, status) in found.items() if status == "PRESENT"}
        assert {name for name, value in values.items() if value} == right

    windows = ["1m", "6m", "1h", "6h", "24h", "7d", "90d"]
    play(
        body,
        toml(
            feature("c", "up", "count", windows),
            feature("g", "up", "age_of_last", ["1m"]),
            feature("d", "up", "distinct", ["1m", "1h"], value="v"),
            feature("l", "up", "last", ["1m"], value="v"),
        ),
    )


def test_filters_tell_flags_numbers_and_texts_apart(play: Any) -> None:
    async def body(store: FeatureStore) -> None:
        flags = True, 1.0, 1, "true"
        events = [event(f"{n}", "up", NOW_MS, f=f) for n, f in enumerate(flags)]
        assert set(await statuses(store, events)) == {"APPLIED"}
        check(await show(store, "b_1h", "one_1h", "t_1h"), b_1h=1, one_1h=2, t_1h=1)

    filters = {"b": "true", "one": "1", "t": '"true"'}
    some = [feature(n, "up", "count", ["1h"], where=f"{{ f = {v} }}") for n, v in filters.items()]
    play(body, toml(*some))


def test_a_clock_that_is_hours_ahead_is_seen_in_statuses(play: Any, clock: Clock) -> None:
    """Events of the other services are then too late for short windows, and are not lost unseen."""

    async def body(store: FeatureStore) -> None:
        clock.now_ms += 8 * HOUR_MS
        await store.ingest([event("1", "up", clock.now_ms - 1000)])
        clock.now_ms -= 8 * HOUR_MS
        events = [event(f"n{n}", "up", NOW_MS - n) for n in range(10)]
        assert set(await statuses(store, events)) == {"TOO_LATE"}

    play(body, toml(feature("c", "up", "count", ["1h"])))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


CLUSTER_FEATURES = feature("c", "up", "count", ["lifetime"]), distinct(["1h", "24h"])


def logins(count: int, hours: int) -> list[Event]:
    return [
        event(f"i{h}-{n}", "login", NOW_MS - h * HOUR_MS, ip=f"10.{h}.{n}")
        for h in range(hours)
        for n in range(count)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("moved", ["nothing", "half", "everything"])
@pytest.mark.parametrize("writer", ["new", "old"])
@pytest.mark.parametrize("dedup", ["", HORIZON], ids=["default", "horizon"])
def test_a_slot_that_moves_loses_and_doubles_nothing(
    cluster: Cluster, tmp_path: Path, dedup: str, writer: str, moved: str
) -> None:
    """One HyperLogLog had gone ahead: events were lost for ever, and called duplicates."""
    cluster.flush()
    text = toml(*CLUSTER_FEATURES, dedup=dedup)

    async def main() -> None:
        definitions = define(tmp_path, text)
        async with open_store(cluster.url, definitions, clock=lambda: NOW_MS) as store:
            slot = cluster.slot(KEY)
            before = logins(6, 23)
            if writer == "old":
                server = cluster.nodes[cluster.owner(slot)]
                OldService(server, text, now_ms=NOW_MS).ingest(before)
            else:
                for first in range(0, len(before), 50):
                    await store.ingest(sorted(before, key=lambda e: e.time_ms)[first : first + 50])
            move = cluster.begin(slot)
            if moved == "half":
                cluster.move_keys(move)
            elif moved == "everything":
                while cluster.move_keys(move):
                    pass
            two = [event("up1", "up", NOW_MS), event("l9", "login", NOW_MS, ip="10.99.0.9")]
            assert await statuses(store, two) == ["APPLIED", "APPLIED"]
            assert set(await statuses(store, before[:6])) == {"DUPLICATE"}
            await check_counts(store)
            while cluster.move_keys(move):
                pass
            assert await statuses(store, two) == ["DUPLICATE", "DUPLICATE"]
            cluster.end(move)
            assert await statuses(store, two) == ["DUPLICATE", "DUPLICATE"]
            await check_counts(store)
            # The id set of an old service stays until it expires: such a service looks there.
            left = {key for key in cluster.all_keys() if b"account:a}" in key}
            assert left - {KEY + b":e"} == {KEY}
            assert await store.delete(EntityRef("account", "a"))
            assert not [key for key in cluster.all_keys() if b"account:a}" in key]

    async def check_counts(store: FeatureStore) -> None:
        found = await show(store, "c_lifetime", "d_24h")
        assert found["c_lifetime"] == (1, "PRESENT")
        value, status = found["d_24h"]
        assert status == "SATURATED"
        assert value == pytest.approx(6 * 23 + 1, rel=5 * 0.023)

    asyncio.run(main())
