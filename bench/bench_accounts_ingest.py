"""Account features: writes, on a server with an append-only file.

    make bench ARGS="bench/bench_accounts_ingest.py"

Beside events per second: the CPU of Redis and the append-only bytes of an event. The cost of event
ids is that of the same events with a horizon so short that each id is forgotten at once.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis

from bench.accounts import (
    NOW_MS,
    TIMEOUT_MS,
    Loop,
    act,
    define,
    definitions_text,
    pinned_loop,
    running_server,
)
from bench.compare import Case, Compare
from bench.size import pick
from featsvc.accounts import Definitions, Event, FeatureStore, load_definitions
from featsvc.accounts.definitions import shipped_definitions

BATCH = pick(500, smoke=10)
BATCHES = pick(200, smoke=1)
WIDE_STATES = 20
AS_IN_PRODUCTION = (
    *("--appendonly", "yes", "--appendfsync", "everysec"),
    *("--auto-aof-rewrite-percentage", "0"),
)
DAY_MS = 86_400_000
# Events a day of an account, and how many accounts have them.
DAYS = pick([(20, 2000), (200, 500), (20_000, 10)], smoke=[(4, 2)])
MEASURED_EVENTS = pick(20_000, smoke=4)


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    with pinned_loop() as loop:
        yield loop


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_server(*AS_IN_PRODUCTION) as urls:
        yield urls["unix"]


class Writer:
    """Ingests batches, and notes what the server spent on them."""

    def __init__(self, loop: Loop, url: str, definitions: Definitions) -> None:
        self.now_ms = NOW_MS
        self._loop = loop
        self._client: Any = redis.Redis.from_url(url)
        self._store = FeatureStore(
            url, definitions, timeout_ms=TIMEOUT_MS, clock=lambda: self.now_ms
        )
        self.start_counting()

    def start_counting(self) -> None:
        self._sent = 0
        self._cpu_s, self._bytes = self._used()

    def write(self, events: Sequence[Event]) -> None:
        results = self._loop.run_until_complete(self._store.ingest(events))
        assert {result.status.name for result in results} <= {"APPLIED"}, results[:3]
        self._sent += len(events)

    def note(self, case: Case, title: str = "") -> None:
        cpu_s, appended = self._used()
        spent_us = (cpu_s - self._cpu_s) / self._sent * 1e6
        each = (appended - self._bytes) / self._sent
        case.notes[f"{title}CPU of Redis per event"] = f"{spent_us:.1f} µs"
        case.notes[f"{title}append-only bytes per event"] = round(each)

    def bytes_of(self, pattern: str) -> int:
        keys = self._client.scan_iter(pattern)
        return sum(self._client.memory_usage(key, samples=0) for key in keys)

    def close(self) -> None:
        self._loop.run_until_complete(self._store.close())
        self._client.close()

    def _used(self) -> tuple[float, int]:
        """CPU seconds that the server has used, and bytes of its append-only file."""
        cpu, persistence = self._client.info("cpu"), self._client.info("persistence")
        seconds = float(cpu["used_cpu_user"] + cpu["used_cpu_sys"])
        return seconds, int(persistence["aof_current_size"])


@pytest.mark.parametrize("accounts", [1, BATCH])
def bench_ingest(compare: Compare, loop: Loop, url: str, accounts: int) -> None:
    """Batches of uploads with the built-in definitions: account, address and device."""
    writer, first = Writer(loop, url, load_definitions()), count(0, BATCH)
    case = compare(
        f"ingest one of {BATCH} events of {accounts} accounts",
        lambda: writer.write(uploads(accounts, next(first))),
        operations=BATCH,
        rounds=BATCHES,
    )
    writer.note(case)
    case.notes["events per second"] = round(1 / case.median_s(case.ours))
    writer.close()


@pytest.mark.parametrize("accounts", [1, BATCH])
def bench_ingest_wide(
    compare: Compare, loop: Loop, url: str, tmp_path: Path, accounts: int
) -> None:
    """Batches of events that update twenty states with five windows each."""
    text = definitions_text(WIDE_STATES, namespace=f"wide{accounts}")
    writer, first = Writer(loop, url, define(tmp_path, text)), count(0, BATCH)

    def batch() -> list[Event]:
        start = next(first)
        numbers = range(start, start + BATCH)
        return [act(n, n % accounts, n % 9000, WIDE_STATES) for n in numbers]

    case = compare(
        f"ingest one of {BATCH} events of {accounts} accounts, 100 features",
        lambda: writer.write(batch()),
        operations=BATCH,
        rounds=BATCHES,
    )
    writer.note(case)
    case.notes["events per second"] = round(1 / case.median_s(case.ours))
    writer.close()


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


@pytest.mark.parametrize(("a_day", "accounts"), DAYS)
def bench_event_ids(
    compare: Compare, loop: Loop, url: str, tmp_path: Path, a_day: int, accounts: int
) -> None:
    """One more event of accounts that already have a day of them, all ids of which are known."""
    text = shipped_definitions().read_text()
    step_ms = DAY_MS // a_day
    sides: dict[str, Writer] = {}
    memory: dict[str, int] = {}
    for name, horizon in (("a day", "24h"), ("a second", "1s")):
        namespace = f"ids{a_day}{horizon}"
        changed = text.replace('namespace = "ts"', f'namespace = "{namespace}"').replace(
            "[entities]", f'[dedup]\nhorizon = "{horizon}"\n[entities]'
        )
        writer = sides[name] = Writer(loop, url, define(tmp_path, changed))
        for first in range(0, a_day, max(1, 10_000 // accounts)):
            numbers = range(first, min(first + max(1, 10_000 // accounts), a_day))
            times = [(n, NOW_MS - DAY_MS + (n + 1) * step_ms) for n in numbers]
            day = [upload(n, time_ms, a) for n, time_ms in times for a in range(accounts)]
            for at in range(0, len(day), 10_000):
                writer.write(day[at : at + 10_000])
        memory[name] = writer.bytes_of(f"fs:{{{namespace}:account:*") // accounts
        writer.start_counting()

    def one_more(writer: Writer, numbers: Iterator[int]) -> None:
        n = next(numbers)
        writer.now_ms += step_ms
        writer.write([upload(n, writer.now_ms, a) for a in range(accounts)])

    turns = {name: (sides[name], count(a_day)) for name in sides}
    case = compare(
        f"one event of an account with {a_day:,} a day",
        lambda: one_more(*turns["a day"]),
        {"a horizon of a second": lambda: one_more(*turns["a second"])},
        operations=accounts,
        rounds=max(1, MEASURED_EVENTS // accounts),
    )
    for name, writer in sides.items():
        writer.note(case, f"horizon of {name}: ")
        case.notes[f"horizon of {name}: bytes per account"] = memory[name]
        writer.close()


def upload(number: int, time_ms: int, account: int) -> Event:
    return Event(f"d{number}", "upload", time_ms, {"account": f"d{account}"}, {"bytes": 9.0})
