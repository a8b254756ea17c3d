"""The feature store on a real server."""

from pathlib import Path
from typing import Any

import pytest
import redis

from featsvc.accounts import (
    Definitions,
    EntityRef,
    Event,
    EventStatus,
    FeatureStatus,
    FeatureStore,
    FeatureTable,
    Selection,
)
from featsvc.errors import InvalidInput, Unavailable
from tests.accounts.stores import NOW_MS, define, run

ACCOUNT = EntityRef("account", "a1")

TOML = """
namespace = "test"
[entities]
account = "account"
ip = "ip"
[events.upload]
keys = ["account", "ip"]
[events.decision]
keys = ["account"]
[features.uploads]
on = "upload"
agg = "count"
windows = ["1m", "1h"]
[features.bytes]
on = "upload"
agg = "sum"
value = "bytes"
windows = ["1h", "lifetime"]
[features.strikes]
on = "decision"
where = { action = ["strike", "ban"] }
agg = "count"
windows = ["90d"]
default = -1
[features.uploads_per_ip]
entity = "ip"
on = "upload"
agg = "count"
windows = ["24h"]
[derived]
burst = "uploads_1h / strikes_90d"
[sets]
gate = ["burst", "uploads_1h"]
"""


@pytest.fixture
def definitions(tmp_path: Path) -> Definitions:
    return define(tmp_path, TOML)


def upload(number: int, time_ms: int = NOW_MS, *, size: float = 1.0, account: str = "a1") -> Event:
    return Event(
        f"e{number}", "upload", time_ms, {"account": account, "ip": "::1"}, {"bytes": size}
    )


def value(table: FeatureTable, name: str, column: int = 0) -> tuple[float, FeatureStatus]:
    row = list(table.names).index(name)
    return table.values[row, column], FeatureStatus(table.statuses[row, column])


def test_counts_sums_filters_and_entities(url: str, definitions: Definitions) -> None:
    async def body(store: FeatureStore) -> None:
        events = [
            upload(1, NOW_MS - 5_000, size=10),
            upload(2, NOW_MS - 600_000, size=2.5),
            Event("d1", "decision", NOW_MS, {"account": "a1"}, {"action": "strike"}),
            Event("d2", "decision", NOW_MS, {"account": "a1"}, {"action": "warn"}),
            Event("d3", "decision", NOW_MS, {"account": "a1"}, {"action": "ban"}),
        ]
        results = await store.ingest(events)
        assert {r.status for r in results} == {EventStatus.APPLIED}
        table = await store.get([ACCOUNT, EntityRef("ip", "::1"), EntityRef("account", "a2")])
        assert value(table, "uploads_1m") == (1, FeatureStatus.PRESENT)
        assert value(table, "uploads_1h") == (2, FeatureStatus.PRESENT)
        assert value(table, "bytes_lifetime") == (12.5, FeatureStatus.PRESENT)
        assert value(table, "strikes_90d") == (2, FeatureStatus.PRESENT)
        assert value(table, "burst") == (1, FeatureStatus.PRESENT)
        assert value(table, "uploads_per_ip_24h", 1) == (2, FeatureStatus.PRESENT)
        assert value(table, "uploads_per_ip_24h", 0)[1] is FeatureStatus.NOT_FOUND
        assert value(table, "strikes_90d", 2) == (-1, FeatureStatus.NOT_FOUND)
        assert table.freshness_ms.tolist() == [0, 5_000, -1]

    run(url, definitions, body)


def test_a_known_entity_with_an_empty_window_has_zero(url: str, definitions: Definitions) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ingest([upload(1, NOW_MS - 7_200_000)])
        table = await store.get([ACCOUNT])
        assert value(table, "uploads_1h") == (0, FeatureStatus.PRESENT)
        assert value(table, "burst")[1] is FeatureStatus.NULL_VALUE  # 0 / 0

    run(url, definitions, body)


def test_an_event_counts_once(url: str, definitions: Definitions) -> None:
    async def body(store: FeatureStore) -> None:
        batch = [upload(n % 600) for n in range(1500)]
        results = await store.ingest(batch)
        assert [r.status for r in results].count(EventStatus.APPLIED) == 600
        again = await store.ingest(batch)
        assert {r.status for r in again} == {EventStatus.DUPLICATE}
        assert value(await store.get([ACCOUNT]), "uploads_1h")[0] == 600

    run(url, definitions, body)


def test_a_bad_event_does_not_affect_the_others(url: str, definitions: Definitions) -> None:
    bad = {
        "before 2000": upload(1, 1_000),
        "ahead of the server's clock": upload(2, 253_402_300_799_000),
        "not a finite number": upload(3, size=float("nan")),
        "must be a number": Event("4", "upload", NOW_MS, {"account": "a1"}, {"bytes": "many"}),
        "needs 'account' or 'ip'": Event("5", "upload", NOW_MS, {"user": "a1"}),
        "has 10000 bytes": upload(6, account="x" * 10_000),
        "control character U+000A": upload(7, account="a\nb"),
        "event_id: is empty": Event("", "upload", NOW_MS, {"account": "a1"}),
    }

    async def body(store: FeatureStore) -> None:
        results = await store.ingest([upload(0), *bad.values()])
        assert results[0].status is EventStatus.APPLIED
        for text, result in zip(bad, results[1:], strict=True):
            assert result.status is EventStatus.REJECTED
            assert text in result.reason
        table = await store.get([ACCOUNT])
        assert value(table, "uploads_1h")[0] == 1

    run(url, definitions, body)


def test_unread_events_are_ignored_and_old_ones_too_late(
    url: str, definitions: Definitions
) -> None:
    async def body(store: FeatureStore) -> None:
        decision = Event("d", "decision", NOW_MS, {"account": "a1"}, {"action": "ban"})
        old = Event(
            "o", "decision", NOW_MS - 100 * 86_400_000, {"account": "a1"}, {"action": "ban"}
        )
        unknown = Event("u", "unknown", NOW_MS, {"account": "a1"})
        results = await store.ingest([decision, old, unknown])
        assert [r.status for r in results] == [
            EventStatus.APPLIED,
            EventStatus.TOO_LATE,
            EventStatus.IGNORED,
        ]
        assert value(await store.get([ACCOUNT]), "strikes_90d")[0] == 1

    run(url, definitions, body)


def test_a_rejected_event_does_not_change_as_of(url: str, definitions: Definitions) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ingest([upload(1)])
        result, table = await store.record_and_get(upload(2, NOW_MS * 4), [ACCOUNT])
        assert result is not None
        assert result.status is EventStatus.REJECTED
        assert table.as_of_ms == NOW_MS
        assert value(table, "uploads_1h") == (1, FeatureStatus.PRESENT)

    run(url, definitions, body)


def test_a_degraded_table_has_every_feature(definitions: Definitions) -> None:
    async def body(store: FeatureStore) -> None:
        table = store.degraded([ACCOUNT], Selection(set="gate"))
        assert list(table.names) == ["burst", "uploads_1h"]
        assert set(table.statuses.ravel()) == {FeatureStatus.DEGRADED}

    run("unix:///nowhere", definitions, body)


def test_record_and_get_reads_its_own_event(url: str, definitions: Definitions) -> None:
    async def body(store: FeatureStore) -> None:
        result, table = await store.record_and_get(upload(1, NOW_MS + 20_000), [ACCOUNT])
        assert result is not None
        assert result.status is EventStatus.APPLIED
        assert value(table, "uploads_1m")[0] == 1
        nothing, table = await store.record_and_get(None, [ACCOUNT], Selection(set="gate"))
        assert nothing is None
        assert list(table.names) == ["burst", "uploads_1h"]

    run(url, definitions, body)


def test_delete_leaves_nothing(url: str, definitions: Definitions, server: redis.Redis) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ingest([Event("d", "decision", NOW_MS, {"account": "a1"}, {"action": "ban"})])
        assert await store.delete(ACCOUNT)
        assert not await store.delete(ACCOUNT)
        assert not server.keys("*:v1*")

    run(url, definitions, body)


@pytest.mark.parametrize("hostile", ["a}:v1", "{x}", "a:b", "%7D", "a}", "ä" * 128, "a b\u2028"])
def test_ids_stay_in_their_namespace_and_apart(
    url: str, definitions: Definitions, server: redis.Redis, hostile: str
) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ingest([upload(1, account=hostile), upload(2, account="a")])
        table = await store.get([EntityRef("account", hostile), EntityRef("account", "a")])
        assert value(table, "uploads_1h", 0)[0] == 1
        assert value(table, "uploads_1h", 1)[0] == 1
        for key in server.scan_iter("*:v1*"):
            assert key.startswith((b"fs:{test:account:", b"fs:{test:ip:"))
            assert key.endswith(b"}:v1")
            assert key.count(b"}") == key.count(b"{") == 1

    run(url, definitions, body)


def test_invalid_requests_are_refused(url: str, definitions: Definitions) -> None:
    async def body(store: FeatureStore) -> None:
        with pytest.raises(InvalidInput, match='did you mean "uploads_1h"'):
            await store.get([ACCOUNT], Selection(names=("upload_1h",)))
        with pytest.raises(InvalidInput, match="unknown set 'gat'; did you mean \"gate\""):
            await store.get([ACCOUNT], Selection(set="gat"))
        with pytest.raises(InvalidInput, match="unknown entity 'acount'"):
            await store.get([EntityRef("acount", "a1")])
        with pytest.raises(InvalidInput, match=r"entity\.entity: unknown entity 'acount'"):
            await store.delete(EntityRef("acount", "a1"))
        with pytest.raises(InvalidInput, match="not both"):
            Selection(names=("uploads_1h",), set="gate")
        with pytest.raises(InvalidInput, match="1 to 1000 are allowed"):
            await store.get([])
        with pytest.raises(InvalidInput, match="1 to 1000 are allowed"):
            await store.get([ACCOUNT] * 1001)
        with pytest.raises(InvalidInput, match="as_of"):
            await store.get([ACCOUNT], as_of_ms=0)
        with pytest.raises(InvalidInput, match="at most 10000 are allowed"):
            await store.ingest([upload(1)] * 10_001)

    run(url, definitions, body)


def test_a_flushed_script_is_loaded_again(
    url: str, definitions: Definitions, server: redis.Redis
) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ingest([upload(1)])
        server.script_flush()
        _, table = await store.record_and_get(upload(2), [ACCOUNT])
        assert value(table, "uploads_1h")[0] == 2

    run(url, definitions, body)


def test_what_counted_is_told_where_the_server_refuses_a_later_round_trip(
    url: str, definitions: Definitions, server: Any
) -> None:
    events = [
        Event(f"d{n}", "decision", NOW_MS, {"account": account}, {"action": "ban"})
        for n, account in enumerate(500 * ["a1"] + 700 * ["b1"])
    ]

    async def body(store: FeatureStore) -> None:
        found = [result.status for result in await store.ingest(events)]
        assert found == [EventStatus.APPLIED] * 500 + [EventStatus.INCOMPLETE] * 700
        with pytest.raises(Unavailable):
            await store.ingest(events[500:])

    try:
        server.execute_command("ACL SETUSER default resetkeys ~*:definitions* ~*:account:a*")
        run(url, definitions, body)
    finally:
        server.execute_command("ACL SETUSER default allkeys")


DISTINCT = """
namespace = "test"
[entities]
account = "account"
[events.login]
keys = ["account"]
[features.ips]
on = "login"
agg = "distinct"
value = "ip"
cap = 100
windows = ["1h", "24h", "lifetime"]
[derived]
twice = "ips_1h * 2"
"""


def login(number: int, time_ms: int, ip: str) -> Event:
    return Event(f"l{number}", "login", time_ms, {"account": "a1"}, {"ip": ip})


def test_distinct_is_exact_to_the_cap_then_estimated(
    url: str, tmp_path: Path, server: redis.Redis
) -> None:
    async def body(store: FeatureStore) -> None:
        old, recent = NOW_MS - 7_200_000, NOW_MS - 1_000
        await store.ingest([login(n, old, f"ip{n}") for n in range(90)])
        await store.ingest([login(n, recent, f"ip{n % 10}") for n in range(90, 130)])
        table = await store.get([ACCOUNT])
        assert value(table, "ips_1h") == (10, FeatureStatus.PRESENT)
        assert value(table, "ips_24h") == (90, FeatureStatus.PRESENT)
        await store.ingest([login(n, recent, f"new{n}") for n in range(130, 180)])
        table = await store.get([ACCOUNT])
        # The evicted members were last seen two hours ago, so the last hour is exact.
        assert value(table, "ips_1h") == (60, FeatureStatus.PRESENT)
        for name in ("ips_24h", "ips_lifetime"):
            count, status = value(table, name)
            assert status is FeatureStatus.SATURATED
            assert count == pytest.approx(140, rel=0.07)
        await store.ingest([login(n, recent, f"more{n}") for n in range(180, 5180)])
        table = await store.get([ACCOUNT])
        count, status = value(table, "twice")
        assert status is FeatureStatus.SATURATED
        assert count == pytest.approx(2 * 5060, rel=0.07)
        assert server.dbsize() == 2  # with the register of definitions
        assert await store.delete(ACCOUNT)
        assert not server.keys("*:v1*")

    run(url, define(tmp_path, DISTINCT), body)


def test_a_horizon_remembers_every_id(url: str, tmp_path: Path, server: redis.Redis) -> None:
    async def body(store: FeatureStore) -> None:
        for _ in range(2):
            for at in range(0, 2000, 500):
                await store.ingest([upload(n) for n in range(at, at + 500)])
        assert value(await store.get([ACCOUNT]), "uploads_1h")[0] == 2000
        await store.delete(ACCOUNT)
        await store.delete(EntityRef("ip", "::1"))
        assert not server.keys("*:v1*")

    run(url, define(tmp_path, TOML + '[dedup]\nhorizon = "1h"\n'), body)


def test_a_changed_definition_does_not_misread_old_state(
    url: str, tmp_path: Path, definitions: Definitions
) -> None:
    changed = TOML.replace('action = ["strike", "ban"]', 'action = ["ban"]')
    changed = changed.replace('windows = ["1h", "lifetime"]', 'windows = ["7d", "lifetime"]')

    async def before(store: FeatureStore) -> None:
        await store.ingest(
            [
                upload(1, size=5),
                Event("d", "decision", NOW_MS, {"account": "a1"}, {"action": "strike"}),
            ]
        )

    async def after(store: FeatureStore) -> None:
        table = await store.get([ACCOUNT])
        assert value(table, "strikes_90d") == (0, FeatureStatus.WARMING)
        assert value(table, "bytes_lifetime") == (5, FeatureStatus.PRESENT)

    run(url, definitions, before)
    run(url, define(tmp_path, changed), after)


def test_max_age(url: str, tmp_path: Path) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ingest([upload(1, NOW_MS - 3_700_000)])
        table = await store.get([ACCOUNT])
        assert value(table, "strikes_90d")[1] is FeatureStatus.OUTSIDE_MAX_AGE
        assert value(table, "uploads_1h")[1] is FeatureStatus.PRESENT
        assert value(table, "burst")[1] is FeatureStatus.OUTSIDE_MAX_AGE

    run(url, define(tmp_path, TOML.replace("default = -1", 'max_age = "1h"')), body)
