"""Account features: reads, writes and the fold kernel, compared with redis-py.

    make bench ARGS="bench/bench_accounts.py"

redis-py asks the same server; `unix` and `tcp` are the two sockets of that server.
"""

import asyncio
import os
import socket
import struct
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import redis
import redis.asyncio
import uvloop
from featsvc_kernels import fold_codes as codes
from featsvc_kernels.fold import fold

from bench.compare import Compare, Side
from bench.size import pick
from featsvc.accounts import (
    Definitions,
    EntityRef,
    Event,
    FeatureStore,
    Selection,
    load_definitions,
    warm,
)
from featsvc.accounts.embedded import find_server
from featsvc.accounts.ingest_plan import entity_key
from featsvc.accounts.layout import StateKind
from featsvc.accounts.read_plan import read_plan
from featsvc.accounts.topology import connect

NOW_MS = 1_767_268_803_123
WINDOWS = ("1m", "1h", "24h", "7d", "90d")
STATES = 10
ACCOUNTS = pick(100, smoke=3)
EVENTS_PER_ACCOUNT = pick(200, smoke=5)
READS = pick(64, smoke=3)
BATCH = pick(500, smoke=10)
ENTITIES = pick(1000, smoke=3)
REPEATS = pick(50, smoke=1)
TIMEOUT_MS = 5000
"""On a busy machine a pinned server may wait long for its core, which is not measured here."""

Loop = asyncio.AbstractEventLoop


def definitions_text() -> str:
    """Ten states x five windows: 50 windowed features in 41 fields."""
    lines = [
        'namespace = "bench"\n[entities]\naccount = "account"\n[events.act]\nkeys = ["account"]'
    ]
    for n in range(STATES):
        counted = f'agg = "count"\nwhere = {{ y{n} = 1 }}'
        value = f'agg = "sum"\nvalue = "x{n}"' if n % 2 else counted
        windows = ", ".join(f'"{w}"' for w in WINDOWS)
        lines.append(f'[features.f{n}]\non = "act"\n{value}\nwindows = [{windows}]')
    return "\n".join(lines)


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Definitions:
    path = tmp_path_factory.mktemp("bench") / "features.toml"
    path.write_text(definitions_text())
    return load_definitions(path)


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    """An event loop pinned to its own core.

    The scheduler would sometimes run client and server on one core and sometimes on two. That is a
    factor of two, as a wake-up across cores costs as much as the read.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    loop = uvloop.new_event_loop()
    yield loop
    loop.close()
    os.sched_setaffinity(0, cores)


@pytest.fixture(scope="module")
def endpoints() -> Iterator[dict[str, str]]:
    other_core = (os.cpu_count() or 1) - 1
    with TemporaryDirectory(prefix="featsvc-bench-") as folder:
        path, port = Path(folder, "s"), free_port()
        command = [find_server(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--unixsocket", path]
        process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, cwd=folder)
        os.sched_setaffinity(process.pid, {other_core})
        while not path.exists():
            pass
        yield {"unix": f"unix://{path}", "tcp": f"redis://127.0.0.1:{port}"}
        process.terminate()
        process.wait(10)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def act(number: int, account: int, age_ms: int) -> Event:
    attributes = {f"x{n}": 1.5 for n in range(1, STATES, 2)}
    attributes |= {f"y{n}": float((number + n) % 3 == 0) for n in range(0, STATES, 2)}
    return Event(f"e{number}", "act", NOW_MS - age_ms, {"account": f"a{account}"}, attributes)


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


def in_loop(loop: Loop, once: Callable[[], Awaitable[object]], repeats: int) -> Side:
    """`repeats` calls within one run of the loop, as in a service."""

    async def many() -> None:
        for _ in range(repeats):
            await once()

    return lambda: loop.run_until_complete(many())


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
    """Fold without kernels: unpack each ring once, add up the windows."""
    kinds = kinds_of(definitions.source)
    rings = {}
    for field, part in zip(order[1:], reply[1:], strict=True):
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


@pytest.mark.parametrize("accounts", [1, BATCH])
def bench_ingest(compare: Compare, loop: Loop, endpoints: dict[str, str], accounts: int) -> None:
    """Batches of uploads with the built-in definitions: account, address and device."""
    store = FeatureStore(
        endpoints["unix"], load_definitions(), timeout_ms=TIMEOUT_MS, clock=lambda: NOW_MS
    )
    client = redis.Redis.from_url(endpoints["unix"])
    first = count(0, BATCH)
    sent = 0

    def batch_s() -> float:
        nonlocal sent
        events = uploads(accounts, next(first))
        started = time.perf_counter()
        loop.run_until_complete(store.ingest(events))
        sent += len(events)
        return time.perf_counter() - started

    before_s = server_cpu_s(client)
    case = compare(
        f"ingest one of {BATCH} events of {accounts} accounts",
        batch_s,
        operations=BATCH,
        rounds=200,
        own_clock=True,
    )
    spent_us = (server_cpu_s(client) - before_s) / sent * 1e6
    case.notes["CPU of Redis per event"] = f"{spent_us:.1f} µs"
    case.notes["events per second"] = round(1 / case.median_s(case.ours))
    loop.run_until_complete(store.close())
    client.close()


def uploads(accounts: int, first: int) -> list[Event]:
    """A batch of uploads of as many accounts as there are, from 250 addresses."""
    return [
        Event(
            f"i{accounts}-{n}",
            "upload",
            NOW_MS - n % 9000,
            {"account": f"u{n % accounts}", "ip": f"192.0.2.{n % 250}"},
            {"bytes": 9.0},
        )
        for n in range(first, first + BATCH)
    ]


def server_cpu_s(client: Any) -> float:
    """CPU seconds that the server has used."""
    info = client.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


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
