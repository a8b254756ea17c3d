"""The register of definitions: leases, names of states, and since when a feature is complete."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.accounts import Definitions, EntityRef, Event, FeatureStatus, FeatureStore
from featsvc.accounts.events import MAX_SKEW_MS
from featsvc.accounts.pipelining import Command, Reply
from featsvc.accounts.register import (
    FORGET_MS,
    LEASE_MS,
    RENEW_MS,
    Execute,
    Register,
    register_key,
)
from featsvc.errors import ConfigInvalid, Unavailable
from tests.accounts.stores import NOW_MS, define, open_store

HEAD = """namespace = "t"
[entities]
account = "account"
ip = "ip"
[events.act]
keys = ["account", "ip"]
"""
ACCOUNT = EntityRef("account", "a")
DAY_MS = 86_400_000
FIXTURES_OUTLIVE_EXAMPLES = [HealthCheck.function_scoped_fixture]


def feature(name: str, *windows: str, agg: str = "count", more: str = "") -> str:
    return (
        f'[features.{name}]\non = "act"\nagg = "{agg}"\nwindows = {list(windows)}\n{more}\n'
    ).replace("'", '"')


@pytest.fixture
def defined(tmp_path: Path) -> Callable[..., Definitions]:
    return lambda *features: define(tmp_path, HEAD + "".join(features))


@pytest.fixture
def execute(server: redis.Redis) -> Execute:
    async def execute(key: bytes, command: Command) -> Reply:
        name, script, keys, *rest = command
        assert (name, keys, rest[0]) == ("EVAL", 1, key)
        assert key == b"fs:{t:definitions}"
        reply: Reply = server.eval(str(script), 1, *rest)
        return reply

    return execute


def registered(execute: Execute, definitions: Definitions, now_ms: int) -> Register:
    register = Register(definitions, execute)
    asyncio.run(register.refresh(now_ms))
    return register


Defined = Callable[..., Definitions]


def test_the_first_definitions_are_complete_and_later_features_are_not(
    defined: Defined, execute: Execute
) -> None:
    first = registered(execute, defined(feature("n", "1h")), NOW_MS)
    assert dict(first.complete_since) == {"n_1h": 0}
    both = defined(feature("n", "1h", "2h", "24h"), feature("per_ip", "1h", more='entity = "ip"'))
    end_ms = NOW_MS + LEASE_MS + MAX_SKEW_MS
    # The windows of 1 and 2 hours share a ring. The state of addresses is one of its own.
    assert dict(registered(execute, both, NOW_MS + 1).complete_since) == {
        "n_1h": 0,
        "n_2h": 0,
        "n_24h": end_ms,
        "per_ip_1h": end_ms,
    }
    late_ms = NOW_MS + DAY_MS
    late = registered(
        execute, defined(feature("n", "1h"), feature("m", "1h", agg="age_of_last")), late_ms
    )
    assert late.complete_since["n_1h"] == 0
    assert late.complete_since["m_1h"] == late_ms + MAX_SKEW_MS


def test_a_service_without_a_state_makes_it_incomplete_until_its_lease_ends(
    defined: Defined, execute: Execute
) -> None:
    n, m = feature("n", "1h"), feature("m", "1h", agg="age_of_last")
    registered(execute, defined(n, m), NOW_MS)
    registered(execute, defined(n), NOW_MS + 10)
    again = registered(execute, defined(n, m), NOW_MS + 20)
    assert dict(again.complete_since) == {
        "n_1h": 0,
        "m_1h": NOW_MS + 10 + LEASE_MS + MAX_SKEW_MS,
    }


def test_a_service_writes_the_rings_that_others_have_of_its_states(
    defined: Defined, execute: Execute
) -> None:
    short = defined(feature("n", "1h"), feature("d", "24h", agg="distinct", more='value = "v"'))
    long = defined(
        feature("n", "30d"),
        feature("d", "7d", agg="distinct", more='value = "v"'),
        feature("x", "1h", agg="age_of_last"),
    )
    registered(execute, short, NOW_MS)
    first = registered(execute, long, NOW_MS)
    n, d = (short.features[name].state.digest for name in ("n_1h", "d_24h"))
    assert first.others == {"account": {n: [("m", 21_600_000)], d: [("h", DAY_MS)]}}
    renewed = registered(execute, short, NOW_MS + RENEW_MS)
    assert renewed.others == {"account": {n: [("d", 90 * DAY_MS)], d: [("h", 7 * DAY_MS)]}}
    # Because `short` writes them, they are complete since `long` came, not since its last lease.
    end_ms = NOW_MS + LEASE_MS + MAX_SKEW_MS
    assert dict(registered(execute, long, NOW_MS + RENEW_MS).complete_since) == {
        "n_30d": end_ms,
        "d_7d": end_ms,
        "x_1h": end_ms + RENEW_MS,
    }


def test_a_ring_without_a_lease_is_forgotten_and_never_complete_again(
    defined: Defined, execute: Execute, server: redis.Redis
) -> None:
    n, m = feature("n", "1h"), feature("m", "lifetime", agg="age_of_last")
    registered(execute, defined(n, m), NOW_MS)
    size = server.hlen(register_key("t"))
    late_ms = NOW_MS + LEASE_MS + FORGET_MS + 1
    registered(execute, defined(n), late_ms)
    assert server.hlen(register_key("t")) == size - 1
    back = registered(execute, defined(n, m), late_ms + DAY_MS)
    assert dict(back.complete_since) == {
        "n_1h": 0,
        "m_lifetime": late_ms + DAY_MS + MAX_SKEW_MS,
    }


def test_a_renewed_lease_keeps_a_ring_and_an_idle_namespace_loses_none(
    defined: Defined, execute: Execute
) -> None:
    both = defined(feature("n", "1h"), feature("m", "1h", agg="age_of_last"))
    for now_ms in range(NOW_MS, NOW_MS + 4 * DAY_MS, DAY_MS // 4):
        registered(execute, both, now_ms)
    registered(execute, defined(feature("n", "1h")), now_ms + DAY_MS // 3)
    end_ms = now_ms + DAY_MS // 3 + LEASE_MS + MAX_SKEW_MS
    # After a year in which no service ran, nothing was missed.
    after = registered(execute, both, now_ms + 365 * DAY_MS)
    assert dict(after.complete_since) == {"n_1h": 0, "m_1h": end_ms}


def test_clocks_that_disagree_only_delay(defined: Defined, execute: Execute) -> None:
    n, m = feature("n", "1h"), feature("m", "1h", agg="age_of_last")
    registered(execute, defined(n), NOW_MS + 50_000)
    behind = registered(execute, defined(n, m), NOW_MS)
    assert behind.complete_since["m_1h"] == NOW_MS + 50_000 + LEASE_MS + MAX_SKEW_MS


PAUSES_MS = [0, 1, 20_000, LEASE_MS - 1, LEASE_MS, 3_600_000, FORGET_MS // 2, 2 * FORGET_MS]


@settings(max_examples=100, deadline=None, suppress_health_check=FIXTURES_OUTLIVE_EXAMPLES)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(PAUSES_MS),
            st.sampled_from([0, -MAX_SKEW_MS, MAX_SKEW_MS]),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_no_later_event_was_applied_without_the_ring(
    defined: Defined, execute: Execute, server: redis.Redis, steps: list[tuple[int, int, int]]
) -> None:
    """Services register at any time, in any order, with clocks that disagree by a minute or two."""
    n, m = feature("n", "1h"), feature("m", "lifetime", agg="age_of_last")
    files = [defined(n), defined(n, m), defined(m), defined(feature("n", "1h", "24h", "lifetime"))]
    rings = {
        f.name: (f.state.digest, f.ring.letter) for file in files for f in file.features.values()
    }
    services = [(Register(file, execute), set(file.features)) for file in files]
    server.flushall()
    time_ms = NOW_MS
    latest_missing_ms: dict[str, int] = {}
    for pause_ms, skew_ms, number in steps:
        time_ms += pause_ms
        register, own = services[number]
        states = {rings[name][0] for name in own}
        asyncio.run(register.refresh(time_ms + skew_ms))
        for name, since_ms in register.complete_since.items():
            assert since_ms >= latest_missing_ms.get(name, 0)
            assert (since_ms == 0) == (name not in latest_missing_ms)
        others = {
            (digest, letter)
            for digest, kept in register.others.get("account", {}).items()
            for letter, _ in kept
            if digest in states  # a service has no values of other states
        }
        latest_event_ms = register.leased_until_ms + MAX_SKEW_MS
        for name, ring in rings.items():
            if name not in own and ring not in others:
                known_ms = latest_missing_ms.get(name, 0)
                latest_missing_ms[name] = max(known_ms, latest_event_ms)


def test_spellings_of_one_filter_share_the_digest_of_the_first(
    defined: Defined, execute: Execute
) -> None:
    texts = [f"where = {{ {text} }}" for text in ("a = [2.0, 1]", "a = [1, 2]", "a = [2, 1, 1.0]")]
    files = [defined(feature("n", "1h", more=text)) for text in texts]
    digests = [file.features["n_1h"].state.digest for file in files]
    assert len(set(digests)) == 3
    for file, written in zip(files, digests, strict=True):
        register = registered(execute, file, NOW_MS)
        assert register.names == {written: digests[0]}
        assert register.complete_since == {"n_1h": 0}
        assert file.with_digests(register.names).features["n_1h"].state.digest == digests[0]


def test_both_spellings_of_the_first_definitions_keep_their_values(
    defined: Defined, execute: Execute
) -> None:
    a, b, c = (f"where = {{ a = {text} }}" for text in ("[2, 1]", "[2.0, 1]", "[1.0, 2]"))
    two = defined(feature("n", "1h", more=a), feature("o", "24h", more=b))
    n, o = (two.features[name].state.digest for name in ("n_1h", "o_24h"))
    assert registered(execute, two, NOW_MS).names == {n: n, o: o}
    assert registered(execute, defined(feature("o", "24h", more=b)), NOW_MS).names == {o: o}
    third = defined(feature("p", "1h", more=c), feature("q", "1h", more=c.replace("1.0", "1")))
    names = registered(execute, third, NOW_MS).names
    assert set(names.values()) == {n}
    shared = third.with_digests(names).features
    assert shared["p_1h"].state is shared["q_1h"].state


def test_a_lost_register_begins_with_what_a_running_service_knows(
    defined: Defined, execute: Execute, server: redis.Redis
) -> None:
    """An eviction took it: names stay, and no late feature becomes complete."""

    def filtered(levels: str) -> str:
        return feature("n", "1h", more=f"where = {{ level = {levels} }}")

    late = feature("m", "7d", agg="age_of_last")
    registered(execute, defined(filtered("[1, 2]")), NOW_MS)
    register = registered(execute, defined(filtered("[2, 1]"), late), NOW_MS + 1)
    before = register.names, register.complete_since
    assert set(register.complete_since.values()) == {0, NOW_MS + LEASE_MS + MAX_SKEW_MS}
    server.delete(register_key("t"))
    asyncio.run(register.refresh(NOW_MS + RENEW_MS))
    assert (register.names, register.complete_since) == before


def test_many_states_are_registered(defined: Defined, execute: Execute) -> None:
    many = defined(*(feature(f"n{i}", "1h", "24h", more=f"version = {i}") for i in range(1, 801)))
    register = registered(execute, many, NOW_MS)
    assert len(register.complete_since) == 1600
    assert registered(execute, many, NOW_MS + DAY_MS).complete_since == register.complete_since


def test_it_renews_beside_callers_and_refuses_events_without_a_lease(
    defined: Defined, execute: Execute, caplog: pytest.LogCaptureFixture
) -> None:
    down = False
    calls = 0

    async def flaky(key: bytes, command: Command) -> Reply:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        if down:
            raise Unavailable("Redis: down")
        return await execute(key, command)

    async def main() -> None:
        nonlocal down
        register = Register(defined(feature("n", "1h")), flaky)
        down = True
        for applies in (True, False):
            with pytest.raises(Unavailable, match="not registered: Redis: down"):
                await register.ready(NOW_MS, applies=applies)
        down = False
        await asyncio.gather(*(register.ready(NOW_MS, applies=True) for _ in range(9)))
        assert calls == 3
        assert not register.due(NOW_MS + RENEW_MS - 1)
        assert register.due(NOW_MS + RENEW_MS)
        assert register.due(NOW_MS - 1)
        down = True
        for later_ms in (RENEW_MS, RENEW_MS + 1, RENEW_MS + 1000, LEASE_MS - 1):
            await register.ready(NOW_MS + later_ms, applies=True)
            await asyncio.sleep(0.01)
        assert calls == 6
        await register.ready(NOW_MS + LEASE_MS, applies=False)
        with pytest.raises(Unavailable, match="not registered"):
            await register.ready(NOW_MS + LEASE_MS, applies=True)
        down = False
        await register.ready(NOW_MS + LEASE_MS, applies=True)
        assert register.leased_until_ms == NOW_MS + 2 * LEASE_MS
        await register.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert [record.message for record in caplog.records] == [
        "the lease of the definitions was not renewed; events are refused from its end on: "
        "Redis: down"
    ]


def act(number: int, **attributes: float) -> Event:
    return Event(f"e{number}", "act", NOW_MS, {"account": "a"}, attributes)


async def values(store: FeatureStore) -> dict[str, float]:
    table = await store.get([ACCOUNT])
    return dict(zip(table.names, table.values[:, 0].tolist(), strict=True))


def test_services_with_two_spellings_count_together(defined: Defined, url: str) -> None:
    one = defined(feature("n", "1h", more="where = { x = [1, 2] }"))
    other = defined(feature("n", "1h", "24h", more="where = { x = [2.0, 1, 1] }"))

    async def main() -> None:
        async with (
            open_store(url, one, clock=lambda: NOW_MS) as a,
            open_store(url, other, clock=lambda: NOW_MS) as b,
        ):
            await a.ingest([act(1, x=1)])
            await b.ingest([act(2, x=2)])
            await a.ingest([act(3, x=1)])
            assert await values(a) == {"n_1h": 3}
            assert (await values(b))["n_1h"] == 3

    asyncio.run(main())


def test_a_longer_window_is_not_pruned_by_a_service_with_a_shorter_one(
    defined: Defined, url: str
) -> None:
    distinct = {"agg": "distinct", "more": 'value = "v"'}
    short, long = defined(feature("d", "1h", **distinct)), defined(feature("d", "7d", **distinct))
    now_ms = NOW_MS

    async def main() -> None:
        nonlocal now_ms
        async with (
            open_store(url, long, clock=lambda: now_ms) as b,
            open_store(url, short, clock=lambda: now_ms) as a,
        ):
            await b.ingest([act(1, v=1)])
            now_ms += DAY_MS // 2
            await a.ingest([Event("e2", "act", now_ms, {"account": "a"}, {"v": 2.0})])
            assert await values(a) == {"d_1h": 1}
            assert await values(b) == {"d_7d": 2}

    asyncio.run(main())


def test_definitions_are_replaced_in_a_running_store(
    defined: Defined, url: str, tmp_path: Path
) -> None:
    old, new = (
        defined(feature("n", "1h")),
        defined(feature("n", "1h"), feature("m", "24h", agg="max", more='value = "x"')),
    )
    foreign = define(tmp_path, HEAD.replace('"t"', '"u"') + feature("n", "1h"))

    async def main() -> None:
        async with open_store(url, old, clock=lambda: NOW_MS) as store:
            await store.ingest([act(1)])
            with pytest.raises(ConfigInvalid, match="namespace: is 'u', but the store uses 't'"):
                await store.replace_definitions(foreign)
            reads = [asyncio.create_task(values(store)) for _ in range(5)]
            await asyncio.sleep(0)
            await store.replace_definitions(new)
            assert store.definitions is new
            assert await asyncio.gather(*reads) == [{"n_1h": 1}] * 5
            await store.ingest([act(2, x=2)])
            assert await values(store) == {"n_1h": 2, "m_24h": 2}
            assert store.complete_since("n_1h") is None
            assert store.complete_since("m_24h") == NOW_MS + LEASE_MS + MAX_SKEW_MS

    asyncio.run(main())


def test_definitions_that_cannot_be_registered_are_not_used(
    defined: Defined, url: str, server: redis.Redis
) -> None:
    old, new = defined(feature("n", "1h")), defined(feature("m", "1h"))

    async def main() -> None:
        async with open_store(url, old, clock=lambda: NOW_MS) as store:
            await store.ingest([act(1)])
            server.set(register_key("t"), "not a hash")
            with pytest.raises(Unavailable, match="WRONGTYPE"):
                await store.replace_definitions(new)
            assert store.definitions is old
            assert await values(store) == {"n_1h": 1}

    asyncio.run(main())


def test_a_value_of_a_late_feature_is_warming_until_its_window_has_passed(
    defined: Defined, url: str
) -> None:
    old = defined(feature("n", "1h"))
    new = defined(feature("n", "1h"), feature("m", "1h", "lifetime", agg="age_of_last"))
    now_ms = NOW_MS

    async def statuses(store: FeatureStore, entity: EntityRef) -> dict[str, int]:
        table = await store.get([entity])
        return dict(zip(table.names, table.statuses[:, 0].tolist(), strict=True))

    async def main() -> None:
        nonlocal now_ms
        async with open_store(url, old, clock=lambda: now_ms) as store:
            await store.ingest([act(1)])
            await store.replace_definitions(new)
            await store.ingest([act(2)])
            assert await statuses(store, ACCOUNT) == {
                "n_1h": FeatureStatus.PRESENT,
                "m_1h": FeatureStatus.WARMING,
                "m_lifetime": FeatureStatus.WARMING,
            }
            now_ms += LEASE_MS + MAX_SKEW_MS + 1
            await store.ingest([Event("e3", "act", now_ms, {"account": "b"})])
            assert set((await statuses(store, EntityRef("account", "b"))).values()) == {
                FeatureStatus.PRESENT
            }
            now_ms += 3_600_000
            await store.ingest([Event("e4", "act", now_ms, {"account": "a"})])
            assert await statuses(store, ACCOUNT) == {
                "n_1h": FeatureStatus.PRESENT,
                "m_1h": FeatureStatus.PRESENT,
                "m_lifetime": FeatureStatus.WARMING,
            }

    asyncio.run(main())
