"""Reads from end to end, of bytes that the tests pack themselves."""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import redis
from featsvc_kernels import sketch
from redis.exceptions import NoPermissionError

from featsvc.accounts import Definitions, EntityRef, FeatureStatus, FeatureTable, Selection
from featsvc.accounts.pipelining import Command, Reply
from featsvc.accounts.read import ReadPlans
from featsvc.accounts.reading import PIECE_WORK, FeatureRead, piece_gate
from featsvc.accounts.topology import connect
from featsvc.errors import Unavailable
from tests.accounts.stores import NOW_MS, define
from tests.patience import PATIENCE_MS

HOUR_MS = 3_600_000
TOML = """
namespace = "n"
[entities]
account = "account"
ip = "ip"
[events.act]
keys = ["account", "ip"]
[features.acts]
on = "act"
entity = "account"
agg = "count"
windows = ["1h", "6h", "24h", "lifetime"]
[features.spent]
on = "act"
entity = "account"
agg = "sum"
value = "x"
windows = ["1h"]
[features.targets]
on = "act"
entity = "account"
agg = "distinct"
value = "target"
windows = ["1h", "6h", "24h", "7d"]
[features.ip_acts]
on = "act"
entity = "ip"
agg = "count"
windows = ["1h"]
[derived]
per_act = "spent_1h / acts_1h"
"""
Rows = dict[str, tuple[float, FeatureStatus]]
Fields = dict[bytes | bytearray | memoryview | str | int | float, Any]
T = TypeVar("T")


@pytest.fixture
def definitions(tmp_path: Path) -> Definitions:
    return define(tmp_path, TOML)


def run_reads(url: str, body: Callable[["Recorder"], Awaitable[T]]) -> T:
    """Run the body of a test with a connection to the server."""

    async def main() -> T:
        topology = connect(url, timeout_ms=PATIENCE_MS)
        try:
            return await body(Recorder(topology.execute))
        finally:
            await topology.close()

    return asyncio.run(main())


class Recorder:
    """Executes commands, and records the work of each call and how many are in flight."""

    def __init__(self, execute: Callable[..., Awaitable[list[Reply]]]) -> None:
        self._execute = execute
        self.calls: list[Sequence[Command]] = []
        self.in_flight = self.most_in_flight = 0

    async def execute(self, keys: Sequence[bytes], commands: Sequence[Command]) -> list[Reply]:
        self.calls.append(commands)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._execute(keys, commands)
        finally:
            self.in_flight -= 1


def read_of(
    definitions: Definitions,
    ids: Sequence[str],
    *,
    as_of_ms: int = NOW_MS,
    is_live: bool = True,
    complete_since: dict[str, int] | None = None,
    gate: asyncio.Semaphore | None = None,
) -> FeatureRead:
    plans = ReadPlans(definitions)
    plans.set_complete_since(complete_since or {})
    refs = [EntityRef(*id_.split(":")) if ":" in id_ else EntityRef("account", id_) for id_ in ids]
    gate = gate or piece_gate()
    return FeatureRead(plans, refs, Selection(), as_of_ms, is_live=is_live, gate=gate)


def read_one(url: str, definitions: Definitions, **options: Any) -> Rows:
    """Read account a."""
    table = run_reads(url, lambda r: read_of(definitions, ["a"], **options).run(r.execute))
    return rows(table, 0)


def rows(table: FeatureTable, column: int) -> Rows:
    return {
        name: (float(value), FeatureStatus(int(status)))
        for name, value, status in zip(
            table.names, table.values[:, column], table.statuses[:, column], strict=True
        )
    }


def key(id_: str, kind: str = "account") -> str:
    return f"fs:{{n:{kind}:{id_}}}:v1"


def meta(newest_ms: int = NOW_MS, *, is_new: bool = True) -> bytes:
    return struct.pack("<dd", newest_ms, newest_ms - 60_000) + b"\2\0\0\0" * is_new


def state(definitions: Definitions, feature: str) -> str:
    return definitions.features[feature].state.digest


def counts(width_ms: int, n: int) -> bytes:
    return struct.pack("<II", NOW_MS // width_ms - 1, n)


def digests(first: int, last: int) -> list[bytes]:
    return [
        bytes(x) for x in np.random.default_rng(1).integers(0, 256, (last, 8), np.uint8)[first:]
    ]


def encoded(members: Sequence[bytes]) -> bytes:
    registers = np.zeros(sketch.REGISTERS, np.uint8)
    sketch.add_members(np.frombuffer(b"".join(members), "<u8"), registers)
    return sketch.encode(registers)


def listed(members: Sequence[bytes], seen_ms: int, evicted_ms: int) -> bytes:
    return struct.pack("<d", evicted_ms) + b"".join(
        member + struct.pack("<d", seen_ms) for member in members
    )


def near(count: int) -> object:
    return pytest.approx(count, rel=0.08)


@pytest.fixture
def saturated(server: redis.Redis, definitions: Definitions) -> Definitions:
    """Account a has 40 members in its list and 1,000 in sketches, each an hour older."""
    base = state(definitions, "targets_1h")
    fields: Fields = {"m": meta(), f"{base}u": listed(digests(0, 40), NOW_MS, NOW_MS - 9)}
    index = []
    for age in range(10):
        bucket = (NOW_MS - age * HOUR_MS) // HOUR_MS
        fields[f"{base}h#{bucket}"] = encoded(digests(100 * age, 100 * age + 100))
        index.append(bucket)
    fields[f"{base}h#"] = struct.pack("<10I", *sorted(index))
    recent = NOW_MS // 300_000 - 1
    fields[f"{base}m#"] = struct.pack("<I", recent)
    fields[f"{base}m#{recent}"] = encoded(digests(30, 130))
    server.hset(key("a"), mapping=fields)
    return definitions


def test_saturated_counts_are_the_union_of_list_and_sketches(
    url: str, saturated: Definitions
) -> None:
    read = read_one(url, saturated)
    assert read["targets_1h"] == (near(130), FeatureStatus.SATURATED)
    assert read["targets_6h"] == (near(130), FeatureStatus.SATURATED)
    assert read["targets_24h"] == (near(1000), FeatureStatus.SATURATED)
    assert read["targets_7d"] == read["targets_24h"]


def test_only_the_sketches_in_the_window_count(
    url: str, server: redis.Redis, saturated: Definitions
) -> None:
    base = state(saturated, "targets_1h")
    bucket = (NOW_MS - 30 * HOUR_MS) // HOUR_MS
    old = server.hget(key("a"), f"{base}h#")
    assert isinstance(old, bytes)
    server.hset(key("a"), f"{base}h#", struct.pack("<I", bucket) + old)
    server.hset(key("a"), f"{base}h#{bucket}", encoded(digests(1000, 2000)))
    read = read_one(url, saturated)
    assert read["targets_24h"] == (near(1000), FeatureStatus.SATURATED)
    assert read["targets_7d"] == (near(2000), FeatureStatus.SATURATED)


def test_a_saturated_count_of_the_past_is_not_retained(url: str, saturated: Definitions) -> None:
    read = read_one(url, saturated, is_live=False, as_of_ms=NOW_MS - 1)
    assert read["targets_24h"][1] is FeatureStatus.NOT_RETAINED
    read = read_one(url, saturated, is_live=False)
    assert read["targets_24h"] == (near(1000), FeatureStatus.SATURATED)


def test_a_saturated_count_that_is_warming_is_estimated(url: str, saturated: Definitions) -> None:
    since = dict.fromkeys(("targets_24h", "targets_7d"), NOW_MS - 48 * HOUR_MS)
    read = read_one(url, saturated, complete_since=since)
    assert read["targets_24h"] == (near(1000), FeatureStatus.SATURATED)
    assert read["targets_7d"] == (near(1000), FeatureStatus.WARMING)


@pytest.mark.parametrize("is_new", [False, True])
def test_hyperloglogs_of_old_services_count_where_one_has_written_since(
    url: str, server: redis.Redis, saturated: Definitions, is_new: bool
) -> None:
    legacy = f"{key('a')}:{state(saturated, 'targets_1h')}h{NOW_MS // HOUR_MS - 2}"
    server.pfadd(legacy, *digests(500, 3000))
    server.hset(key("a"), "m", meta(is_new=is_new))
    read = read_one(url, saturated)
    assert read["targets_24h"] == (near(1000 if is_new else 3000), FeatureStatus.SATURATED)


def test_a_key_of_another_type_in_place_of_a_hyperloglog_does_not_count(
    url: str, server: redis.Redis, saturated: Definitions
) -> None:
    server.hset(f"{key('a')}:{state(saturated, 'targets_1h')}h{NOW_MS // HOUR_MS}", "f", "x")
    server.hset(key("a"), "m", meta(is_new=False))
    assert read_one(url, saturated)["targets_24h"] == (near(1000), FeatureStatus.SATURATED)


def put(server: redis.Redis, definitions: Definitions, id_: str, acts: int) -> None:
    base, spent = state(definitions, "acts_1h"), state(definitions, "spent_1h")
    sums = struct.pack("<Id", NOW_MS // 300_000 - 1, 7.0 * acts)
    fields: Fields = {"m": meta(), f"{base}m": counts(300_000, acts), f"{spent}m": sums}
    server.hset(key(id_), mapping=fields)


@pytest.mark.parametrize("damage", ["type", "meta", "ring", "companion", "sketch", "index"])
def test_one_damaged_entity_fails_alone(
    url: str, server: redis.Redis, saturated: Definitions, damage: str
) -> None:
    base, spent = state(saturated, "targets_1h"), state(saturated, "spent_1h")
    if damage == "type":
        server.delete(key("a"))
        server.set(key("a"), "x")
    else:
        field = {
            "meta": "m",
            "ring": f"{spent}m",
            "companion": f"{spent}M",
            "sketch": f"{base}h#{NOW_MS // HOUR_MS}",
            "index": f"{base}h#",
        }[damage]
        server.hset(key("a"), field, b"\xff" * 15)
    for id_ in ("b", "c"):
        put(server, saturated, id_, 3)
    table = run_reads(url, lambda r: read_of(saturated, ["b", "a", "c", "no"]).run(r.execute))
    assert {status for _, status in rows(table, 1).values()} == {FeatureStatus.DAMAGED}
    assert np.isnan(table.values[:, 1]).all()
    assert table.freshness_ms.tolist() == [0, -1, 0, -1]
    for column in (0, 2):
        assert rows(table, column)["acts_1h"] == (3, FeatureStatus.PRESENT)
        assert rows(table, column)["per_act"] == (7, FeatureStatus.PRESENT)
    assert rows(table, 3)["acts_1h"][1] is FeatureStatus.NOT_FOUND


def test_a_read_that_the_server_refuses_fails(url: str, definitions: Definitions) -> None:
    async def refuse(keys: Sequence[bytes], commands: Sequence[Command]) -> list[Reply]:
        return [NoPermissionError("no permissions")] * len(commands)

    with pytest.raises(Unavailable, match="ACL user"):
        asyncio.run(read_of(definitions, ["a"]).run(refuse))


def test_a_large_read_is_cut_into_pieces_of_bounded_work(
    url: str, server: redis.Redis, definitions: Definitions
) -> None:
    ids = [f"a{n}" for n in range(400)]
    for n, id_ in enumerate(ids):
        put(server, definitions, id_, n)
    base = state(definitions, "ip_acts_1h")
    server.hset(key("i", "ip"), mapping={"m": meta(), f"{base}m": counts(300_000, 5)})

    async def body(recorder: Recorder) -> FeatureTable:
        table = await read_of(definitions, [*ids, "ip:i"]).run(recorder.execute)
        assert recorder.most_in_flight == 2
        assert all(sum(map(len, commands)) <= PIECE_WORK for commands in recorder.calls)
        assert len(recorder.calls) <= 1 + 400 // (PIECE_WORK // (2 * len(recorder.calls[0][0])))
        return table

    table = run_reads(url, body)
    acts = table.names.index("acts_1h")
    assert table.values[acts, :400].tolist() == list(range(400))
    assert rows(table, 400)["ip_acts_1h"] == (5, FeatureStatus.PRESENT)
    assert rows(table, 400)["acts_1h"][1] is FeatureStatus.NOT_FOUND


def test_large_reads_share_the_pieces_in_flight(
    url: str, server: redis.Redis, definitions: Definitions
) -> None:
    for n in range(10):
        put(server, definitions, f"a{n}", n)

    async def body(recorder: Recorder) -> None:
        gate = piece_gate()
        ids = [f"a{n % 10}" for n in range(300)]
        reads = [read_of(definitions, ids, gate=gate) for _ in range(4)]
        tables = await asyncio.gather(*(read.run(recorder.execute) for read in reads))
        assert recorder.most_in_flight == 2
        for table in tables:
            assert table.values[0].tolist() == [n % 10 for n in range(300)]

    run_reads(url, body)


def test_a_small_read_takes_one_round_trip_and_saturated_counts_one_more(
    url: str, saturated: Definitions
) -> None:
    async def body(recorder: Recorder) -> None:
        await read_of(saturated, ["b", "c", "ip:i"]).run(recorder.execute)
        assert len(recorder.calls) == 2  # one for each kind of entity
        await read_of(saturated, ["a"]).run(recorder.execute)
        # One HMGET for each ring.
        assert [len(commands) for commands in recorder.calls[2:]] == [1, 2]

    run_reads(url, body)


def test_an_entity_that_is_replaced_before_its_sketches_are_read_is_damaged(
    url: str, server: redis.Redis, saturated: Definitions
) -> None:
    async def body(recorder: Recorder) -> FeatureTable:
        async def execute(keys: Sequence[bytes], commands: Sequence[Command]) -> list[Reply]:
            replies = await recorder.execute(keys, commands)
            server.set(key("a"), "of another program")
            return replies

        return await read_of(saturated, ["b", "a"]).run(execute)

    table = run_reads(url, body)
    assert {status for _, status in rows(table, 0).values()} == {FeatureStatus.NOT_FOUND}
    assert {status for _, status in rows(table, 1).values()} == {FeatureStatus.DAMAGED}


def test_the_caller_may_send_the_first_piece(
    url: str, server: redis.Redis, definitions: Definitions
) -> None:
    ids = [f"a{n}" for n in range(200)]
    for n, id_ in enumerate(ids):
        put(server, definitions, id_, n)

    async def body(recorder: Recorder) -> FeatureTable:
        read = read_of(definitions, ids)
        replies = await recorder.execute(read.first.keys, read.first.commands)
        return await read.run(recorder.execute, replies)

    table = run_reads(url, body)
    assert table.values[table.names.index("acts_1h")].tolist() == list(range(200))


def test_a_piece_that_fails_ends_the_read(definitions: Definitions) -> None:
    async def main() -> None:
        calls = 0

        async def execute(keys: Sequence[bytes], commands: Sequence[Command]) -> list[Reply]:
            nonlocal calls
            calls += 1
            is_third = calls == 3
            await asyncio.sleep(0)
            if is_third:
                raise Unavailable("away")
            return [[None] * (len(command) - 2) for command in commands]

        ids = [f"a{n}" for n in range(1000)]
        with pytest.raises(Unavailable, match="away"):
            await read_of(definitions, ids).run(execute)
        seen = calls
        await asyncio.sleep(0)
        assert calls == seen
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("born", "status"),
    [
        (b"", FeatureStatus.WARMING),
        (b"short", FeatureStatus.WARMING),
        (struct.pack("<d", NOW_MS - 3 * HOUR_MS) + bytes(32), FeatureStatus.WARMING),
        (struct.pack("<d", NOW_MS - HOUR_MS) + bytes(32), FeatureStatus.PRESENT),
    ],
)
def test_a_window_longer_than_its_definition_is_warming(
    url: str, server: redis.Redis, definitions: Definitions, born: bytes, status: FeatureStatus
) -> None:
    base = state(definitions, "acts_1h")
    rings: Fields = {f"{base}m": counts(300_000, 1), f"{base}h": counts(HOUR_MS, 2)}
    server.hset(key("a"), mapping={"m": meta(), "n": born} | rings)
    if not born:
        server.hdel(key("a"), "n")
    acts = [name for name in definitions.features if name.startswith("acts_")]
    since = dict.fromkeys(acts, NOW_MS - 2 * HOUR_MS)
    read = read_one(url, definitions, complete_since=since)
    assert read["acts_1h"] == (1, FeatureStatus.PRESENT)
    assert read["acts_6h"] == (1, status)
    assert read["acts_24h"] == (2, status)
    assert read["acts_lifetime"] == (0, status)
    assert read["spent_1h"] == (0, FeatureStatus.PRESENT)


def test_plans_are_made_anew_only_for_other_times(definitions: Definitions) -> None:
    plans = ReadPlans(definitions)
    names = ("acts_1h", "targets_24h")
    plan = plans.plan(names, "account")
    plans.set_complete_since({})
    assert plans.plan(names, "account") is plan
    plans.set_complete_since({"acts_1h": 5})
    other = plans.plan(names, "account")
    assert (plan.born_part, other.born_part, other.fields[1]) == (-1, 1, b"n")
