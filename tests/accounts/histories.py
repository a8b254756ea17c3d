"""Random histories of a feature store, each answer compared with the model.

`play` draws steps: events in any order and at any age, retries with other times and in other
batches, back-fills, reads live and at any moment of the past, deletions, and clocks that move. The
services of a history share one namespace; their definition files may differ.
"""

import asyncio
import tomllib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from random import Random
from typing import TypeVar

from featsvc.accounts import (
    Definitions,
    EntityRef,
    Event,
    EventResult,
    EventStatus,
    FeatureStatus,
    FeatureStore,
    FeatureTable,
)
from featsvc.accounts.events import Attribute, Backfill
from featsvc.errors import Unavailable
from tests.accounts.answers import Moment, mistake
from tests.accounts.cutting import Cutter
from tests.accounts.model import AHEAD_MS, Delivery, Model, Rules, delivered, kept_for
from tests.accounts.schema1 import Feature

START_MS = 1_767_268_803_123
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
WINDOWS = ("1m", "5m", "1h", "24h", "7d", "90d", "lifetime")
AGGREGATIONS = (
    *("count", "age_of_first", "age_of_last", "sum", "mean", "min", "max", "stddev"),
    *("first", "last", "distinct"),
)
CAP = 8
SKEW_MS = 30_000
"""How far the clock of a service may be off."""
EDGES_MS = (0, 10_000, MINUTE_MS, 5 * MINUTE_MS, HOUR_MS, DAY_MS, 7 * DAY_MS, 90 * DAY_MS)
STEPS_MS = (1, 500, 9_999, MINUTE_MS, HOUR_MS, 6 * HOUR_MS, 25 * HOUR_MS, 8 * DAY_MS, 95 * DAY_MS)
LARGE = (1e9 + 0.1, 1e9 + 0.3, 1e200, -1e200, 1e308, -1e308, 1.7e308, 1e-200, 0.1)
BIG_IDS = tuple(2**60 + n for n in range(4))
LEVELS: tuple[Attribute, ...] = (1, 1.0, 2, 3, "1", True)
T = TypeVar("T")
ACCOUNTS, ADDRESSES = ("a", "b"), ("i", "j")


def definitions_toml(
    windows: Sequence[str], *, where: str, rest: str, aggregations: Sequence[str] = AGGREGATIONS
) -> str:
    """Aggregations over some windows, for two kinds of entity."""
    lines = [
        'namespace = "history"\n[entities]\naccount = "account"\nip = "ip"',
        '[events.act]\nkeys = ["account", "ip"]\n[events.login]\nkeys = ["account"]',
    ]
    for entity in ("account", "ip"):
        for name in aggregations:
            value = f'value = "target"\ncap = {CAP}' if name == "distinct" else 'value = "x"'
            value = "" if name == "count" or name.startswith("age_of") else value
            lines.append(
                f'[features.{entity}_{name}]\nentity = "{entity}"\non = "act"\nagg = "{name}"\n'
                f"{value}\nwindows = {list(windows)}"
            )
    lines.append(
        f'[features.some]\non = "act"\nagg = "count"\nwhere = {{ {where} }}\nwindows = ["1h"]'
    )
    return "\n".join([*lines, rest])


WIDE = definitions_toml(
    WINDOWS,
    where="flag = true, level = [1, 2]",
    rest='[features.fresh]\non = "login"\nagg = "count"\nwindows = ["24h"]\nmax_age = "2h"\n'
    "default = -1",
)
NARROW = definitions_toml(
    ("5m", "24h"),
    where="level = [2.0, 1.0], flag = true",
    rest='[features.logins]\non = "login"\nagg = "count"\nwindows = ["1h", "lifetime"]\n'
    "where = { ok = true }",
    aggregations=[name for name in AGGREGATIONS if name not in ("first", "max", "stddev")],
)
"""Fewer windows and states, a filter written in another way, and a state of its own."""
BRIEF = WIDE.replace("[entities]", '[dedup]\nhorizon = "2h"\n[entities]')
"""The same with a short horizon."""


@cache
def rules_of(toml: str) -> Rules:
    return Rules(tomllib.loads(toml))


@dataclass(slots=True)
class Service:
    """A store, the definitions that it has, and by how much its clock is off."""

    store: FeatureStore
    rules: Rules
    skew_ms: int = 0


@dataclass(slots=True)
class History:
    """One namespace: its services, the model, and what was found.

    `others` are definitions that services may change to, with the text of their files; they are
    given where services differ. `cutter` breaks connections while events are sent. `lossy`: so
    does something else; the store may have to send events twice, and to be asked again. `large`
    draws extreme numbers too, `many` batches of more than one round trip.
    """

    rng: Random
    services: list[Service] = field(default_factory=list)
    others: Sequence[tuple[Definitions, str]] = ()
    cutter: Cutter | None = None
    lossy: bool = False
    large: bool = False
    many: bool = False
    now_ms: int = START_MS
    model: Model = field(default_factory=Model)
    seen_rules: list[Rules] = field(default_factory=list)
    sent: list[Event] = field(default_factory=list)
    files: dict[str, list[Event]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def clock(self, skew_ms: int) -> Callable[[], int]:
        return lambda: self.now_ms + skew_ms

    def service_time_ms(self, service: Service) -> int:
        return self.now_ms + service.skew_ms

    def may_warm(self, feature: Feature) -> bool:
        """Whether some definition file has not kept what a feature needs."""
        return any(kept_for(feature) not in rules.kept for rules in self.seen_rules)

    def add(self, store: FeatureStore, toml: str, *, skew_ms: int = 0) -> None:
        """Add a service; its store must use `clock(skew_ms)`."""
        self.services.append(Service(store, rules_of(toml), skew_ms))
        self.seen_rules.append(rules_of(toml))


def new_event(history: History, service: Service) -> Event:
    """An event at any age, often near the edges of windows and buckets."""
    rng = history.rng
    number = len(history.sent)
    if rng.random() < 0.6:
        age_ms = rng.choice(EDGES_MS[: rng.randrange(1, len(EDGES_MS) + 1)])
        age_ms += rng.randrange(-12_000, 12_000)
    else:
        age_ms = rng.randrange(100 * DAY_MS if rng.random() < 0.3 else 2 * HOUR_MS)
    time_ms = history.service_time_ms(service) - max(age_ms, -AHEAD_MS)
    entities = {"account": rng.choice(ACCOUNTS)}
    if rng.random() < 0.3:
        entities["ip"] = rng.choice(ADDRESSES)
    if rng.random() < 0.1:
        return Event(f"e{number}", "login", time_ms, entities, {"ok": rng.random() < 0.5})
    x = round(rng.uniform(-1e6, 1e6), 3)
    if history.large and rng.random() < 0.5:
        x = rng.choice(LARGE)
    targets: tuple[Attribute, ...]
    targets = (f"t{rng.randrange(30)}", rng.randrange(6), float(rng.randrange(6)), *BIG_IDS)
    attributes: dict[str, Attribute] = {
        "x": x,
        "target": rng.choice(targets),
        "flag": rng.choice((True, False, 1)),
        "level": rng.choice(LEVELS),
    }
    return Event(f"e{number}", "act", time_ms, entities, attributes)


async def send(
    history: History,
    service: Service,
    events: Sequence[Event],
    *,
    backfill: Backfill | None = None,
    unseen: bool = False,
) -> None:
    """Ingest a batch until no event is INCOMPLETE; check the statuses."""
    if not events:
        return
    if history.lossy or history.cutter:
        # Of a batch that was sent twice, the first of two equal ids may know of the second.
        events = list({event.event_id: event for event in events}.values())
    if history.cutter:
        history.cutter.arm(history.rng)
    now_ms = history.service_time_ms(service)

    async def ingest() -> list[EventResult]:
        results = await service.store.ingest(events, backfill=backfill, unseen=unseen)
        if any(result.status is EventStatus.INCOMPLETE for result in results):
            raise Unavailable("incomplete")
        return results

    results, tries = await available(history, ingest)
    if history.cutter:
        history.cutter.disarm()
    repeated = tries > 1 or history.lossy or history.cutter is not None
    latest_ms = max(event.time_ms for event in events) if repeated else 0
    for place, (event, result) in enumerate(zip(events, results, strict=True)):
        status = result.status.name
        history.counts[status] += 1
        source = backfill.source if backfill else ""
        position = backfill.positions[place] if backfill else 0
        others = history.seen_rules
        delivery = Delivery(service.rules, now_ms, source, position, unseen, others, latest_ms)
        history.wrong += delivered(history.model, [event], delivery, [status], repeated=repeated)


async def available(history: History, call: Callable[[], Awaitable[T]]) -> tuple[T, int]:
    """Repeat a call while the store is unavailable; return its result, and the number of tries."""
    tries = 1
    while True:
        try:
            return await call(), tries
        except Unavailable:
            if not history.lossy and not history.cutter:
                raise
            history.counts["unavailable"] += 1
            tries += 1
            await asyncio.sleep(0.01)


async def send_new(history: History, service: Service) -> None:
    """New events, some ids twice in a batch."""
    events: list[Event] = []
    size = history.rng.randrange(1, 25)
    if history.many and history.rng.random() < 0.3:
        size = history.rng.randrange(400, 1200)
    for _ in range(size):
        event = new_event(history, service)
        history.sent.append(event)
        events.append(event)
    if history.rng.random() < 0.2:
        events += history.rng.sample(events, history.rng.randrange(len(events)))
    await send(history, service, events)


async def send_again(history: History, service: Service) -> None:
    """Events of any earlier batches in another order, some with other times."""
    rng = history.rng
    if not history.sent:
        return
    events = [rng.choice(history.sent) for _ in range(rng.randrange(1, 40))]
    latest_ms = history.service_time_ms(service) + AHEAD_MS
    moved = []
    for event in events:
        time_ms = event.time_ms
        if rng.random() < 0.3:
            time_ms += rng.randrange(-HOUR_MS, HOUR_MS)
        elif rng.random() < 0.2:
            time_ms = history.service_time_ms(service)
        time_ms = min(time_ms, latest_ms)
        moved.append(Event(event.event_id, event.type, time_ms, event.entities, event.attributes))
    await send(history, service, moved)


async def send_unseen(history: History, service: Service) -> None:
    """New events of a consumer that is behind."""
    events = [new_event(history, service) for _ in range(history.rng.randrange(1, 10))]
    fresh = [
        Event(f"u{len(history.sent)}-{n}", e.type, e.time_ms, e.entities, e.attributes)
        for n, e in enumerate(events)
    ]
    history.sent += fresh
    await send(history, service, fresh, unseen=True)


async def send_file(history: History, service: Service) -> None:
    """A back-fill of a new file or, from its beginning, of an earlier one; in any batches."""
    rng, files = history.rng, history.files
    if files and (rng.random() < 0.5 or len(files) == 8):
        name = rng.choice(sorted(files))
    else:
        name = f"file {len(files)}"
        files[name] = [new_event(history, service) for _ in range(rng.randrange(1, 30))]
        files[name] = [
            Event(f"{name}-{n}", e.type, e.time_ms, e.entities, e.attributes)
            for n, e in enumerate(files[name])
        ]
    # A run that was interrupted, and then perhaps the whole file again.
    end = rng.randrange(1, len(files[name]) + 1)
    for last in (end, len(files[name]))[: rng.randrange(1, 3)]:
        size = rng.randrange(1, 31)
        for first in range(0, last, size):
            positions = range(first, min(first + size, last))
            events = [files[name][position] for position in positions]
            await send(history, service, events, backfill=Backfill(name, positions))


async def look(history: History, service: Service) -> None:
    """Read everything, live or as of any moment."""
    rng = history.rng
    as_of_ms = None
    if rng.random() < 0.7:
        age_ms = rng.choice((rng.choice(EDGES_MS), rng.randrange(3 * HOUR_MS)))
        if rng.random() < 0.1:
            age_ms = rng.choice((-HOUR_MS, 95 * DAY_MS))
        elif history.sent and rng.random() < 0.3:
            age_ms = history.service_time_ms(service) - rng.choice(history.sent).time_ms
        jitter = rng.choice((-1, 0, 1, rng.randrange(-12_000, 12_000)))
        as_of_ms = history.service_time_ms(service) - max(age_ms + jitter, -HOUR_MS)
    refs = references(history)
    table, _ = await available(history, lambda: service.store.get(refs, as_of_ms=as_of_ms))
    await compare(history, service, refs, table, as_of_ms)


def references(history: History) -> list[EntityRef]:
    return [EntityRef("account", id_) for id_ in (*ACCOUNTS, "nobody")] + [
        EntityRef("ip", id_) for id_ in ADDRESSES
    ]


async def compare(
    history: History,
    service: Service,
    refs: Sequence[EntityRef],
    table: FeatureTable,
    as_of_ms: int | None,
) -> None:
    """Compare a table with the model."""
    # A read that records an event ahead of the clock is as of that event.
    at_ms = table.as_of_ms if as_of_ms is None else as_of_ms
    is_strict = as_of_ms is not None
    for column, ref in enumerate(refs):
        target = (ref.entity, ref.id)
        if target in history.model.unsure:
            continue
        model = history.model.entity(target)
        freshness_ms = int(table.freshness_ms[column])
        age_ms = at_ms - model.newest_ms
        right = -1 if not model.applied or (is_strict and age_ms < 0) else max(age_ms, 0)
        if freshness_ms != right:
            history.wrong.append(f"{target}: freshness {freshness_ms}, not {right}")
        for row, name in enumerate(table.names):
            feature = service.rules.features[name]
            if feature.state.entity != ref.entity:
                continue
            moment = Moment(at_ms, is_strict, history.may_warm(feature))
            value = float(table.values[row, column])
            status = FeatureStatus(table.statuses[row, column]).name
            history.counts[f"value {status}"] += 1
            found = mistake(model, service.rules, feature, moment, value, status)
            if found:
                history.wrong.append(f"{target}: {found}")


async def record(history: History, service: Service) -> None:
    """Apply one event and read, in one round trip."""
    event = new_event(history, service)
    history.sent.append(event)
    now_ms = history.service_time_ms(service)
    refs = references(history)
    call = available(history, lambda: service.store.record_and_get(event, refs))
    (result, table), tries = await call
    assert result is not None
    delivery = Delivery(service.rules, now_ms, others=history.seen_rules)
    statuses, repeated = [result.status.name], history.lossy or tries > 1
    history.wrong += delivered(history.model, [event], delivery, statuses, repeated=repeated)
    await compare(history, service, refs, table, None)


async def delete(history: History, service: Service) -> None:
    rng = history.rng
    target = rng.choice((("account", rng.choice(ACCOUNTS)), ("ip", rng.choice(ADDRESSES))))
    unsure = target in history.model.unsure
    ref = EntityRef(*target)
    was_known, tries = await available(history, lambda: service.store.delete(ref))
    repeated = history.lossy or tries > 1
    if was_known != history.model.delete(target) and not unsure and not repeated:
        history.wrong.append(f"{target}: delete returned {was_known}")
    history.counts["delete"] += 1


async def replace(history: History, service: Service) -> None:
    """Change the definitions of a running service."""
    if history.others:
        definitions, toml = history.rng.choice(history.others)
        call = partial(service.store.replace_definitions, definitions)
        await available(history, call)
        service.rules = rules_of(toml)
        history.seen_rules.append(service.rules)
        history.counts["definitions replaced"] += 1
        await settle(history)


async def settle(history: History) -> None:
    """Let each service see the definitions of the others: it looks at them every 30 s.

    A store that changes its definitions, here to the same, registers them before it goes on.
    """
    for service in 2 * history.services if history.others else []:
        call = partial(service.store.replace_definitions, service.store.definitions)
        await available(history, call)


async def wait(history: History, service: Service) -> None:
    """Move the clocks on; after a long time, services have to register again."""
    step_ms = history.rng.choice(STEPS_MS)
    history.now_ms += step_ms
    if step_ms >= MINUTE_MS:
        await settle(history)


STEPS = {
    send_new: 8,
    send_again: 5,
    send_unseen: 1,
    send_file: 2,
    look: 12,
    record: 2,
    wait: 6,
    delete: 1,
    replace: 1,
}


async def play(history: History, steps: int) -> None:
    """Draw and take some steps, and read everything at the end."""
    await settle(history)
    for _ in range(steps):  # drawn one by one, so that a shorter history is the beginning of this
        (step,) = history.rng.choices(list(STEPS), list(STEPS.values()))
        await step(history, history.rng.choice(history.services))
        if history.wrong:
            return
    refs = references(history)
    for service in history.services:
        table, _ = await available(history, partial(service.store.get, refs))
        await compare(history, service, refs, table, None)
