"""Inputs that once gave wrong numbers, and what each must give."""

from statistics import pstdev
from typing import Any

import pytest

from featsvc.accounts import EntityRef, FeatureStore, parse_event_line
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
from tests.accounts.stores import NOW_MS


def test_a_batch_that_is_sent_again_after_another_event(play: Any) -> None:
    """It counted twice, as 512 ids were kept."""

    async def body(store: FeatureStore) -> None:
        batch = [event(f"b{n}", "up", NOW_MS - 5000 + n) for n in range(2000)]
        assert set(await statuses(store, batch)) == {"APPLIED"}
        assert await statuses(store, [event("other", "up", NOW_MS)]) == ["APPLIED"]
        assert set(await statuses(store, batch)) == {"DUPLICATE"}
        check(await show(store, "c_lifetime"), c_lifetime=2001)

    play(body, toml(feature("c", "up", "count", ["lifetime"])))


@pytest.mark.parametrize("dedup", ["", HORIZON], ids=["default", "horizon"])
def test_an_error_between_ids_and_counts_loses_no_event(play: Any, server: Any, dedup: str) -> None:
    """The id was remembered, the event was not counted, and the retry was called a duplicate."""
    key = b"fs:{case:account:a}:v1"

    async def body(store: FeatureStore) -> None:
        logins = [event(f"l{n}", "login", NOW_MS, ip=f"10.0.0.{n}") for n in range(5)]
        await store.ingest(logins)
        (member_list,) = (name for name in server.hkeys(key) if name.endswith(b"u"))
        kept = server.hget(key, member_list)
        server.hset(key, member_list, kept[:-3])
        two = [event("up1", "up", NOW_MS), event("l9", "login", NOW_MS, ip="10.0.0.9")]
        assert await statuses(store, two) == ["INCOMPLETE", "INCOMPLETE"]
        server.hset(key, member_list, kept)
        assert await statuses(store, two) == ["APPLIED", "APPLIED"]
        assert await statuses(store, two) == ["DUPLICATE", "DUPLICATE"]
        check(await show(store, "c_lifetime"), c_lifetime=1)

    some = feature("c", "up", "count", ["lifetime"]), distinct(cap=2)
    play(body, toml(*some, dedup=dedup))


def test_a_deletion_leaves_no_sketch(play: Any, server: Any, clock: Clock) -> None:
    """Two days of traffic: buckets had left the rings, their keys stayed."""

    async def body(store: FeatureStore) -> None:
        for hour in range(48, -1, -1):
            clock.now_ms = NOW_MS - hour * HOUR_MS
            logins = [
                event(f"{hour}-{n}", "login", clock.now_ms - n * 60_000, ip=f"10.{hour}.{n}.1")
                for n in range(20)
            ]
            await store.ingest(logins)
        ips = [key for key in outside(server) if b":ip:" in key]
        assert len(outside(server)) == len(ips) + 1
        assert await store.delete(EntityRef("account", "a"))
        assert sorted(outside(server)) == sorted(ips)

    play(body, toml(distinct(["1h", "24h"]), feature("i", "login", "count", ["1h"], entity="ip")))


def test_distinct_counts_beyond_the_cap_need_no_pfcount(play: Any, server: Any) -> None:
    """One read of an account was a PFCOUNT over 169 keys, which blocked Redis for all others."""

    async def body(store: FeatureStore) -> None:
        server.config_resetstat()
        for first in range(0, 168, 84):
            logins = [
                event(f"{hour}-{n}", "login", NOW_MS - (168 - hour) * HOUR_MS, ip=f"{hour}-{n}")
                for hour in range(first, first + 84)
                for n in range(3)
            ]
            await store.ingest(logins)
        found = await show(store, "d_1h", "d_24h", "d_7d", "d_30d")
        for name, right in (("d_24h", 23 * 3), ("d_7d", 504), ("d_30d", 504)):
            value, status = found[name]
            assert status == "SATURATED"
            assert value == pytest.approx(right, rel=5 * 0.023, abs=4)
        commands = server.info("commandstats")
        assert not [name for name in commands if "pf" in name]

    play(body, toml(distinct(["1h", "24h", "7d", "30d"], cap=2)))


def test_distinct_counts_of_the_past(play: Any) -> None:
    async def body(store: FeatureStore) -> None:
        names = "d_1h", "d_30d", "d_lifetime"
        before = [event(f"p{n}", "login", NOW_MS - 3 * HOUR_MS + n, ip=f"1.{n}") for n in range(5)]
        await store.ingest(before)
        past_ms = NOW_MS - 5 * HOUR_MS // 2
        found = await show(store, *names, as_of_ms=past_ms)
        check(found, d_1h=5, d_30d=5, d_lifetime=5)
        later = [event(f"f{n}", "login", NOW_MS - 60_000 + n, ip=f"9.{n}") for n in range(40)]
        await store.ingest(later)
        unknown = dict.fromkeys(names, "NOT_RETAINED")
        check(await show(store, *names, as_of_ms=past_ms), **unknown)
        check(await show(store, *names, as_of_ms=NOW_MS - 10 * HOUR_MS), **unknown)

    play(body, toml(distinct(["1h", "30d", "lifetime"], cap=128)))


def test_lifetime_values_of_the_past(play: Any) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ingest(
            [event("1", "up", NOW_MS - 3 * DAY_MS, v=1.0), event("2", "up", NOW_MS - 1000, v=2.0)]
        )
        names = "c_24h", "c_lifetime", "l_24h", "l_lifetime", "f_24h", "f_lifetime", "g_lifetime"
        check(
            await show(store, *names, as_of_ms=NOW_MS - 5 * DAY_MS // 2),
            c_24h=1,
            c_lifetime="NOT_RETAINED",
            l_24h=1,
            l_lifetime="NOT_RETAINED",
            f_24h=43_200,
            f_lifetime=43_200,
            g_lifetime="NOT_RETAINED",
        )
        lifetime = "c_lifetime", "l_lifetime", "f_lifetime", "g_lifetime"
        check(
            await show(store, *lifetime, as_of_ms=NOW_MS - 10 * DAY_MS),
            c_lifetime="NOT_RETAINED",
            l_lifetime="NOT_RETAINED",
            f_lifetime="NULL_VALUE",
            g_lifetime="NOT_RETAINED",
        )

    windows = ["24h", "lifetime"]
    play(
        body,
        toml(
            feature("c", "up", "count", windows),
            feature("l", "up", "last", windows, value="v"),
            feature("f", "up", "age_of_first", windows),
            feature("g", "up", "age_of_last", ["lifetime"]),
        ),
    )


def test_sums_that_overflow_have_no_value_and_heal(play: Any, clock: Clock) -> None:
    async def body(store: FeatureStore) -> None:
        values = 1e308, -1e308, 1e308, 1e308
        await store.ingest(
            [event(f"{n}", "up", NOW_MS - 1000 + n, v=v) for n, v in enumerate(values)]
        )
        names = "s_1h", "m_1h", "m_lifetime", "sd_lifetime", "mx_1h", "x", "y"
        check(
            await show(store, *names),
            s_1h="NULL_VALUE",
            m_1h=5e307,
            m_lifetime=5e307,
            sd_lifetime=pstdev(values),
            mx_1h=1e308,
            x="NULL_VALUE",
            y=5e307,
        )
        more = [event(f"n{n}", "up", NOW_MS - 500 + n, v=-1e308) for n in range(2)]
        await store.ingest(more)
        check(await show(store, "s_1h", "s_lifetime", "x"), s_1h=0, s_lifetime=0, x=0)
        clock.now_ms += 2 * HOUR_MS
        await store.ingest([event("5", "up", clock.now_ms, v=5.0)])
        found = await show(store, "s_1h", "s_lifetime", "m_1h", "mx_1h")
        check(found, s_1h=5, s_lifetime=5, m_1h=5, mx_1h=5)

    both = ["1h", "lifetime"]
    play(
        body,
        toml(
            feature("s", "up", "sum", both, value="v"),
            feature("m", "up", "mean", both, value="v"),
            feature("sd", "up", "stddev", ["lifetime"], value="v"),
            feature("mx", "up", "max", ["1h"], value="v"),
            '[derived]\nx = "s_1h * 1"\ny = "m_1h + 1"\n',
        ),
    )


@pytest.mark.parametrize("values", [(1e200, 1.0), (1e9 + 0.1, 1e9 + 0.3), (1e-200, 3e-200)])
def test_deviations_of_extreme_numbers(play: Any, values: tuple[float, ...]) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ingest(
            [event(f"{n}", "up", NOW_MS - 1000 + n, v=v) for n, v in enumerate(values)]
        )
        value, status = (await show(store, "sd_lifetime"))["sd_lifetime"]
        assert status == "PRESENT"
        assert value == pytest.approx(pstdev(values), rel=1e-9, abs=0)

    play(body, toml(feature("sd", "up", "stddev", ["lifetime"], value="v")))


def test_integers_beyond_two_to_the_53_are_kept_apart(play: Any) -> None:
    first = 1234567890123456700

    async def body(store: FeatureStore) -> None:
        lines = [
            f'{{"event_id": "x{n}", "type": "up", "time": {NOW_MS - 1000 + n}, '
            f'"entities": {{"account": "a"}}, "attributes": {{"target": {first + n}}}}}'
            for n in range(100)
        ]
        assert set(await statuses(store, [parse_event_line(line) for line in lines])) == {"APPLIED"}
        check(await show(store, "d_1h", "w_1h"), d_1h=100, w_1h=1)

    play(
        body,
        toml(
            feature("d", "up", "distinct", ["1h"], value="target"),
            feature("w", "up", "count", ["1h"], where=f"{{ target = {first + 89} }}"),
        ),
    )


def test_coalesce_of_unknown_entities(play: Any) -> None:
    async def body(store: FeatureStore) -> None:
        found = await show(store, "s_lifetime", "banned", "new", "plus", account="nobody")
        assert found == {
            "s_lifetime": (0, "NOT_FOUND"),
            "banned": (0, found["banned"][1]),
            "new": (1, found["new"][1]),
            "plus": (1, "NOT_FOUND"),
        }

    play(
        body,
        toml(
            feature("s", "up", "count", ["lifetime"], default=0),
            feature("age", "login", "age_of_first", ["lifetime"]),
            '[derived]\nbanned = "coalesce(s_lifetime, 0) >= 3"\n'
            'new = "coalesce(age_lifetime < 86400, 1)"\nplus = "s_lifetime + 1"\n',
        ),
    )
