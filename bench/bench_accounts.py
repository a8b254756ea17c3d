"""Account features: reads and the fold kernel, compared with redis-py.

    make bench ARGS="bench/bench_accounts.py"

redis-py asks the same server; `unix` and `tcp` are the two sockets of that server.
"""

import asyncio
import struct
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
import redis.asyncio
from featsvc_kernels import fold_codes as codes
from featsvc_kernels.fold import fold

from bench.accounts import (
    NOW_MS,
    TIMEOUT_MS,
    Loop,
    act,
    define,
    definitions_text,
    in_loop,
    pinned_loop,
    running_server,
)
from bench.compare import Compare
from bench.size import pick
from featsvc.accounts import (
    Definitions,
    EntityRef,
    FeatureStore,
    Selection,
    load_definitions,
    warm,
)
from featsvc.accounts.ingest_plan import entity_key
from featsvc.accounts.layout import StateKind
from featsvc.accounts.read_plan import read_plan
from featsvc.accounts.topology import connect
from featsvc.errors import Unavailable

ACCOUNTS = pick(100, smoke=3)
EVENTS_PER_ACCOUNT = pick(200, smoke=5)
READS = pick(64, smoke=3)
ENTITIES = pick(1000, smoke=3)
REPEATS = pick(50, smoke=1)
WIDE_STATES = 20
EVENTS_OF_MANY = pick(10, smoke=2)
SMALL_READS = pick(300, smoke=3)
BULK_READERS = 4
BESIDE_ROUNDS = pick(10, smoke=1)


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Definitions:
    return define(tmp_path_factory.mktemp("bench"), definitions_text())


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    with pinned_loop() as loop:
        yield loop


@pytest.fixture(scope="module")
def endpoints() -> Iterator[dict[str, str]]:
    with running_server() as urls:
        yield urls


@pytest.fixture(scope="module")
def filled(loop: Loop, endpoints: dict[str, str], definitions: Definitions) -> dict[str, str]:
    """A hundred accounts with 200 events each: many recent, the rest over 90 days."""
    rng = np.random.default_rng(7)
    ages = (90 * 86_400_000 * rng.random(EVENTS_PER_ACCOUNT) ** 4).astype(int).tolist()

    async def fill() -> None:
        store = FeatureStore(
            endpoints["unix"], definitions, timeout_ms=TIMEOUT_MS, clock=lambda: NOW_MS
        )
        for account in range(ACCOUNTS):
            await store.ingest([act(n, account, age) for n, age in enumerate(ages)])
        await store.close()

    loop.run_until_complete(fill())
    return endpoints


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def bench_read_one_account(
    compare: Compare, loop: Loop, filled: dict[str, str], definitions: Definitions, kind: str
) -> None:
    """1 account x 50 features; the peer fetches the same fields and folds nothing."""
    ref = EntityRef("account", f"a{ACCOUNTS - 1}")
    selection = Selection(names=tuple(definitions.features))
    key, fields = entity_key(definitions, "account", ref.id), plan_fields(definitions)
    store = FeatureStore(filled[kind], definitions, timeout_ms=TIMEOUT_MS)
    client = redis.asyncio.Redis.from_url(filled[kind])
    compare(
        f"1 account x 50 features, {kind}",
        in_loop(loop, lambda: store.get([ref], selection, NOW_MS), REPEATS),
        {"redis-py's HMGET": in_loop(loop, lambda: client.hmget(key, fields), REPEATS)},
        operations=REPEATS,
    )
    loop.run_until_complete(store.close())
    loop.run_until_complete(client.aclose())


def plan_fields(definitions: Definitions) -> list[bytes]:
    """The fields that the read plan of all features fetches."""
    return list(read_plan(definitions, "account", tuple(definitions.features)).fields)


def bench_concurrent_reads(
    compare: Compare, loop: Loop, filled: dict[str, str], definitions: Definitions
) -> None:
    """Reads of one account and ten features each."""
    store = FeatureStore(filled["unix"], definitions, timeout_ms=TIMEOUT_MS)
    selection = Selection(names=tuple(definitions.features)[:10])
    refs = [EntityRef("account", f"a{n}") for n in range(READS)]

    async def at_once() -> None:
        await asyncio.gather(*(store.get([ref], selection, NOW_MS) for ref in refs))

    async def in_turn() -> None:
        for ref in refs:
            await store.get([ref], selection, NOW_MS)

    compare(
        f"one of {READS} reads at once",
        in_loop(loop, at_once, 1),
        {"one after another": in_loop(loop, in_turn, 1)},
        operations=READS,
    )
    loop.run_until_complete(store.close())


def fold_plainly(
    reply: list[bytes | None], definitions: Definitions, order: list[bytes]
) -> list[float]:
    """Fold without kernels: unpack each ring once, add up the windows, without companions."""
    kinds = kinds_of(definitions.source)
    rings = {}
    for field, part in zip(order, reply, strict=True):
        if field not in kinds:
            continue
        rings[field] = list(struct.iter_unpack(RECORDS[kinds[field]], part or b""))
    values = []
    for feature in definitions.features.values():
        ring = feature.ring
        field = f"{feature.state.digest}{ring.letter}".encode()
        low = (NOW_MS - feature.window_ms) // ring.width_ms
        high = NOW_MS // ring.width_ms
        values.append(float(sum(x for bucket, x in rings[field] if low <= bucket <= high)))
    return values


RECORDS = {StateKind.COUNT: "<II", StateKind.SUM: "<Id"}


@cache
def kinds_of(source: str) -> dict[bytes, StateKind]:
    """Field -> kind of its records."""
    return {
        f"{f.state.digest}{f.ring.letter}".encode(): f.state.kind
        for f in load_definitions(Path(source)).features.values()
    }


def bench_read_hundred_accounts(
    compare: Compare, loop: Loop, filled: dict[str, str], definitions: Definitions
) -> None:
    """100 accounts x 50 features."""
    refs = [EntityRef("account", f"a{n}") for n in range(ACCOUNTS)]
    keys = [entity_key(definitions, "account", ref.id) for ref in refs]
    fields = plan_fields(definitions)
    selection = Selection(names=tuple(definitions.features))
    store = FeatureStore(filled["unix"], definitions, timeout_ms=TIMEOUT_MS)
    topology = connect(filled["unix"], timeout_ms=TIMEOUT_MS)
    client = redis.asyncio.Redis.from_url(filled["unix"])

    async def our_pipelines() -> None:
        replies = await topology.execute(keys, [("HMGET", key, *fields) for key in keys])
        for reply in replies:
            fold_plainly(reply, definitions, fields)  # type: ignore[arg-type]

    async def their_pipeline() -> None:
        async with client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hmget(key, fields)
            for reply in await pipeline.execute():
                fold_plainly(reply, definitions, fields)

    compare(
        f"{ACCOUNTS} accounts x 50 features",
        in_loop(loop, lambda: store.get(refs, selection, NOW_MS), 1),
        {
            "redis-py and a plain fold": in_loop(loop, their_pipeline, 1),
            "our pipelines and a plain fold": in_loop(loop, our_pipelines, 1),
        },
    )
    loop.run_until_complete(store.close())
    loop.run_until_complete(topology.close())
    loop.run_until_complete(client.aclose())


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Definitions:
    """Twenty states: 100 features."""
    text = definitions_text(WIDE_STATES, namespace="wide")
    return define(tmp_path_factory.mktemp("wide"), text)


@pytest.fixture(scope="module")
def many(loop: Loop, endpoints: dict[str, str], wide: Definitions) -> dict[str, str]:
    """A thousand accounts with 100 features and a few events each."""

    async def fill() -> None:
        store = FeatureStore(endpoints["unix"], wide, timeout_ms=TIMEOUT_MS, clock=lambda: NOW_MS)
        for n in range(EVENTS_OF_MANY):
            events = [act(n, a, n * n * 3_600_000, WIDE_STATES) for a in range(ENTITIES)]
            await store.ingest(events)
        await store.close()

    loop.run_until_complete(fill())
    return endpoints


def bench_read_thousand_accounts(
    compare: Compare, loop: Loop, many: dict[str, str], wide: Definitions
) -> None:
    """1,000 accounts x 100 features; the peers fetch the same fields and fold nothing."""
    refs = [EntityRef("account", f"a{n}") for n in range(ENTITIES)]
    commands = [("HMGET", entity_key(wide, "account", ref.id), *plan_fields(wide)) for ref in refs]
    selection = Selection(names=tuple(wide.features))
    store = FeatureStore(many["unix"], wide, timeout_ms=TIMEOUT_MS)
    client = redis.asyncio.Redis.from_url(many["unix"])
    pool: Any = client.connection_pool
    connection = loop.run_until_complete(pool.get_connection())

    async def their_pipeline() -> None:
        async with client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            await pipeline.execute()

    async def their_connection() -> None:
        await connection.send_packed_command(connection.pack_commands(commands))
        for _ in commands:
            await connection.read_response()

    compare(
        f"{ENTITIES:,} accounts x 100 features",
        in_loop(loop, lambda: store.get(refs, selection), 1),
        {
            "HMGETs on a connection of redis-py": in_loop(loop, their_connection, 1),
            "HMGETs in a pipeline of redis-py": in_loop(loop, their_pipeline, 1),
        },
    )
    loop.run_until_complete(store.close())
    loop.run_until_complete(pool.release(connection))
    loop.run_until_complete(client.aclose())


def bench_small_reads_beside_bulk(
    compare: Compare, loop: Loop, many: dict[str, str], wide: Definitions
) -> None:
    """p99 of reads of one account and ten features, while four readers read 1,000 x 100 each."""
    refs = [EntityRef("account", f"a{n}") for n in range(ENTITIES)]
    everything = Selection(names=tuple(wide.features))
    few = Selection(names=tuple(wide.features)[:10])
    store = FeatureStore(many["unix"], wide)
    failed = {"small": 0, "bulk": 0}
    slow_reads = 0

    async def read_in_bulk(stopped: asyncio.Event) -> None:
        nonlocal slow_reads
        while not stopped.is_set():
            try:
                await store.get(refs, everything)
                slow_reads += 1
            except Unavailable:
                failed["bulk"] += 1
            await asyncio.sleep(0)

    async def small_reads() -> float:
        spent_s = []
        for n in range(SMALL_READS):
            started = time.perf_counter()
            try:
                await store.get([refs[n % ENTITIES]], few)
            except Unavailable:
                failed["small"] += 1
            spent_s.append(time.perf_counter() - started)
            await asyncio.sleep(0.002)
        return float(np.quantile(spent_s, 0.99))

    async def beside() -> float:
        stopped = asyncio.Event()
        readers = [asyncio.create_task(read_in_bulk(stopped)) for _ in range(BULK_READERS)]
        p99_s = await small_reads()
        stopped.set()
        await asyncio.gather(*readers)
        return p99_s

    case = compare(
        f"p99 of small reads beside {BULK_READERS} readers of {ENTITIES:,} x 100",
        lambda: loop.run_until_complete(beside()),
        {"alone": lambda: loop.run_until_complete(small_reads())},
        rounds=BESIDE_ROUNDS,
        own_clock=True,
    )
    case.notes["small reads that failed"] = failed["small"]
    case.notes["reads in bulk"] = slow_reads
    case.notes["reads in bulk that failed"] = failed["bulk"]
    loop.run_until_complete(store.close())


def bench_fold_kernel(compare: Compare) -> None:
    """56 features of eight states, seven windows each, over busy rings."""
    warm()
    rng = np.random.default_rng(7)
    shapes = [(10_000, 37), (300_000, 73), (3_600_000, 169), (86_400_000, 91)]
    windows = [60_000, 300_000, 3_600_000, 21_600_000, 86_400_000, 604_800_000, 7_776_000_000]
    parts = [struct.pack("<dd", NOW_MS, NOW_MS)]
    for _ in range(8):
        for width, buckets in shapes:
            kept = np.flatnonzero(rng.random(buckets) < 0.3)
            newest = NOW_MS // width
            parts.append(b"".join(struct.pack("<II", newest - buckets + 1 + k, 2) for k in kept))
    lengths = np.array([len(part) for part in parts] * ENTITIES, np.int64)
    words = np.frombuffer(b"".join(parts) * ENTITIES, "<u4")
    plan = np.zeros((8 * len(windows), codes.PLAN_COLUMNS), np.int64)
    for state in range(8):
        for w, window in enumerate(windows):
            ring = next(i for i, (width, n) in enumerate(shapes) if window <= width * (n - 1))
            width, buckets = shapes[ring]
            row = plan[state * len(windows) + w]
            row[codes.PART] = 1 + state * 4 + ring
            row[codes.AGGREGATION] = codes.COUNT
            row[codes.WIDTH_MS], row[codes.BUCKETS] = width, buckets
            row[codes.WINDOW_MS] = window
    values, statuses = np.empty((56, ENTITIES)), np.empty((56, ENTITIES), np.uint8)
    freshness = np.empty(ENTITIES, np.int64)
    arguments = plan, np.zeros(56), NOW_MS, False, -1, values, statuses, freshness
    title = f"fold one of {ENTITIES:,} entities, 56 features"
    compare(title, lambda: fold(words, lengths, *arguments), operations=ENTITIES)
    assert (statuses == codes.PRESENT).all()
