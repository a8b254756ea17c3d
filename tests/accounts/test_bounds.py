"""Both sides of every bound: the last value that is allowed, and the first that is not."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from featsvc.accounts import (
    Definitions,
    EntityRef,
    Event,
    EventStatus,
    FeatureStatus,
    FeatureStore,
)
from featsvc.accounts.coalescing import ReadCoalescer
from featsvc.accounts.events import MAX_SKEW_MS, check_event
from featsvc.accounts.ingest import RINGS_PER_ROUND_TRIP
from featsvc.accounts.layout import ring_for
from featsvc.errors import InvalidInput
from tests.accounts.stores import NOW_MS, define, run
from tests.accounts.test_coalescing import ONE, Reader, ref
from tests.accounts.test_store import ACCOUNT, value

HOUR_MS = 3_600_000
SLACK_MS = 60_000
"""How far an entity's reference time stays behind its newest event: the script's slack."""
CAP = 3

TOML = f"""
namespace = "bounds"
[entities]
account = "account"
ip = "ip"
[events.visit]
keys = ["account"]
[events.amount]
keys = ["ip"]
[features.targets]
on = "visit"
agg = "distinct"
value = "target"
cap = {CAP}
windows = ["1h"]
[features.first]
entity = "ip"
on = "amount"
agg = "first"
value = "x"
windows = ["1h"]
[features.last]
entity = "ip"
on = "amount"
agg = "last"
value = "x"
windows = ["1h"]
"""


@pytest.fixture
def definitions(tmp_path: Path) -> Definitions:
    return define(tmp_path, TOML)


def visit(target: str, time_ms: int) -> Event:
    return Event(f"{target}-{time_ms}", "visit", time_ms, {"account": "a1"}, {"target": target})


def test_of_equal_times_first_keeps_the_first_and_last_the_last(
    url: str, definitions: Definitions
) -> None:
    async def body(store: FeatureStore) -> None:
        for number in (1, 2, 3):
            event = Event(f"e{number}", "amount", NOW_MS, {"ip": "::1"}, {"x": float(number)})
            await store.ingest([event])
        table = await store.get([EntityRef("ip", "::1")])
        assert value(table, "first_1h")[0] == 1
        assert value(table, "last_1h")[0] == 3

    run(url, definitions, body)


def test_a_distinct_member_as_old_as_the_longest_window_is_too_late(
    url: str, definitions: Definitions
) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ingest([visit("new", NOW_MS)])
        oldest = NOW_MS - SLACK_MS - HOUR_MS
        results = await store.ingest([visit("late", oldest), visit("in", oldest + 1)])
        assert [r.status for r in results] == [EventStatus.TOO_LATE, EventStatus.APPLIED]

    run(url, definitions, body)


def test_a_sketch_outlives_the_window_of_its_bucket(
    url: str, server: Any, definitions: Definitions
) -> None:
    async def body(store: FeatureStore) -> None:
        await store.ingest([visit(f"t{n}", NOW_MS) for n in range(CAP + 1)])
        assert value(await store.get([ACCOUNT]), "targets_1h") == (4, FeatureStatus.SATURATED)

    run(url, definitions, body)
    (key,) = server.scan_iter("*:account:*")
    assert any(b"#" in field for field in server.hkeys(key))
    # A bucket counts until a whole window after its end, in the longest window of its ring too.
    ring = ring_for(HOUR_MS)
    needed_ms = ring.longest_window_ms + ring.width_ms
    assert server.pttl(key) > needed_ms


def test_a_list_whose_evicted_member_left_the_window_is_exact_again(
    url: str, server: Any, definitions: Definitions
) -> None:
    async def body(store: FeatureStore) -> None:
        evicted = NOW_MS - SLACK_MS - HOUR_MS
        await store.ingest([visit(f"t{n}", evicted) for n in range(CAP + 1)])
        before = server.dbsize()
        # The window now ends just before the evicted member: what is left is exact.
        await store.ingest([visit("new", NOW_MS)])
        assert value(await store.get([ACCOUNT]), "targets_1h") == (1, FeatureStatus.PRESENT)
        assert server.dbsize() == before

    run(url, definitions, body)


def test_the_clock_may_be_ahead_by_the_allowed_skew() -> None:
    def check(ahead_ms: int) -> None:
        check_event(visit("t", NOW_MS + ahead_ms), now_ms=NOW_MS)

    check(MAX_SKEW_MS)
    with pytest.raises(InvalidInput, match=f"{MAX_SKEW_MS + 1} ms ahead"):
        check(MAX_SKEW_MS + 1)


def test_a_shared_read_is_filled_to_its_last_place() -> None:
    async def main() -> None:
        reader = Reader()
        coalescer = ReadCoalescer(reader.read)
        calls = (coalescer.get([ref(n)] * 32, ONE, None) for n in range(9))
        await asyncio.gather(*calls)
        assert sorted(reader.sizes) == [32, 256]

    asyncio.run(main())


def test_a_script_call_updates_a_bounded_number_of_rings(
    url: str, server: Any, tmp_path: Path
) -> None:
    """However many events of one account a batch has."""
    wide = "".join(
        f'[features.f{n}]\non = "visit"\nagg = "sum"\nvalue = "v{n}"\n'
        'windows = ["1m", "1h", "24h", "30d", "lifetime"]\n'
        for n in range(20)
    )
    head = TOML[: TOML.index("[features.targets]")]
    rings = 20 * 5

    async def body(store: FeatureStore) -> None:
        server.config_resetstat()
        events = [Event(f"e{n}", "visit", NOW_MS, {"account": "a"}) for n in range(401)]
        results = await store.ingest(events)
        assert {result.status for result in results} == {EventStatus.APPLIED}
        calls = server.info("commandstats")["cmdstat_evalsha"]["calls"]
        assert calls == 401 * rings // RINGS_PER_ROUND_TRIP + 1

    run(url, define(tmp_path, head + wide), body)
