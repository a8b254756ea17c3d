"""Events in, features out: what the rest of the service holds of this package."""

import asyncio
import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from redis.exceptions import NoPermissionError, NoScriptError, RedisError

from featsvc.accounts.coalescing import ReadCoalescer
from featsvc.accounts.definitions import Definitions
from featsvc.accounts.events import (
    EARLIEST_TIME_MS,
    EntityRef,
    Event,
    EventResult,
    check_id,
    clock_ms,
)
from featsvc.accounts.ingest import MAX_EVENTS, IngestBatch
from featsvc.accounts.link import Command, ConnectionLost, Reply
from featsvc.accounts.plan import IngestPlan, entity_key
from featsvc.accounts.read import FeatureRead, ReadPlans, check_entities
from featsvc.accounts.table import ALL, FeatureTable, Selection, degraded_table
from featsvc.accounts.toml_source import did_you_mean
from featsvc.accounts.topology import connect
from featsvc.errors import DataCorrupt, InvalidInput, Unavailable

DEFAULT_MAX_SKEW_MS = 60_000
MAX_AS_OF_AHEAD_MS = 3_600_000
_RETRY_JITTER_S = 0.01


@dataclass(frozen=True, slots=True)
class FeatureInfo:
    """What there is to know of a feature. `window_ms` 0 is lifetime, `bucket_ms` the error bound
    of the window (0 for none), `max_age_ms` 0 is none; `aggregation` "derived" has no window."""

    name: str
    entity: str
    aggregation: str
    window_ms: int
    bucket_ms: int
    event_type: str
    default: float | None
    version: int
    max_age_ms: int
    expression: str
    description: str
    sets: tuple[str, ...]


class FeatureStore:
    """Account features on one Redis. Every call is one trip, and safe to repeat.

    `timeout_ms` bounds a trip, and a call is never more than two; `max_skew_ms` how far ahead of
    our clock an event may lie; `replicas` how many replicas must have an event before it counts
    as applied. All calls raise Unavailable while the store is away: at once while the circuit is
    open.
    """

    def __init__(
        self,
        url: str,
        definitions: Definitions,
        *,
        timeout_ms: int = 250,
        max_skew_ms: int = DEFAULT_MAX_SKEW_MS,
        replicas: int = 0,
        clock: Callable[[], int] = clock_ms,
    ) -> None:
        """Nothing is connected yet. Raises ConfigInvalid where the URL is wrong."""
        self.definitions = definitions
        self._max_skew_ms = max_skew_ms
        self._clock = clock
        self._script = _script("ingest.lua")
        self._erase_script = _script("erase.lua")
        # Names the script to Redis; nothing is secured by it.
        self._script_sha = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()
        self._topology = connect(url, timeout_ms=timeout_ms, replicas=replicas)
        self._ingest_plans = {e: IngestPlan(definitions, e) for e in definitions.entities}
        self._read_plans = ReadPlans(definitions)
        self._coalescer = ReadCoalescer(self._read)

    async def ingest(self, events: Sequence[Event]) -> list[EventResult]:
        """Apply up to 10,000 events; one result each, in order.

        A bad event is REJECTED, the others count. Should Redis go away in the middle, the rest is
        INCOMPLETE; Unavailable is raised only where nothing was applied.
        """
        batch = self._batch(events)
        for number, trip in enumerate(batch.trips()):
            calls = batch.calls(trip)
            try:
                replies = await self._execute(
                    [c.key for c in calls], [c.command for c in calls], writes=len(calls)
                )
            except Unavailable as exc:
                if number == 0:
                    raise
                batch.give_up(str(exc))
                break
            _raise_if_all_failed(replies)
            batch.settle(trip, calls, replies)
        return [result for result in batch.results if result is not None]

    async def get(
        self,
        entities: Sequence[EntityRef],
        selection: Selection = ALL,
        as_of_ms: int | None = None,
    ) -> FeatureTable:
        """Features of 1 to 1,000 entities; windows end at `as_of_ms`, now where None."""
        self._check(entities, selection, as_of_ms)
        return await self._coalescer.get(entities, selection, as_of_ms)

    def degraded(
        self, entities: Sequence[EntityRef], selection: Selection = ALL, as_of_ms: int | None = None
    ) -> FeatureTable:
        """The table that `get` would give, with every value DEGRADED: for while it cannot."""
        self._check(entities, selection, as_of_ms)
        as_of_ms = self._clock() if as_of_ms is None else as_of_ms
        names = FeatureRead(self._read_plans, entities, selection, as_of_ms).names
        return degraded_table(names, len(entities), as_of_ms)

    async def record_and_get(
        self,
        event: Event | None,
        entities: Sequence[EntityRef],
        selection: Selection = ALL,
        as_of_ms: int | None = None,
    ) -> tuple[EventResult | None, FeatureTable]:
        """Apply an event, then read, in one trip; the features include it."""
        if event is None:
            return None, await self.get(entities, selection, as_of_ms)
        self._check(entities, selection, as_of_ms)
        batch = self._batch([event])
        if as_of_ms is None:
            # An event that lies ahead is read too, unless it lies so far ahead that it is refused.
            now_ms = self._clock()
            ahead = now_ms < event.time_ms <= now_ms + self._max_skew_ms
            as_of_ms = event.time_ms if ahead else now_ms
        read = FeatureRead(self._read_plans, entities, selection, as_of_ms)
        trip = range(1)
        calls = batch.calls(trip)
        replies = await self._execute(
            [c.key for c in calls] + read.keys,
            [c.command for c in calls] + read.commands,
            writes=len(calls),
        )
        batch.settle(trip, calls, replies[: len(calls)])
        return batch.results[0], await self._finish(read, replies[len(calls) :])

    async def delete(self, entity: EntityRef) -> bool:
        """Erase everything about an entity; whether anything was there."""
        self._check_ref(entity)
        key = entity_key(self.definitions, entity.entity, entity.id)
        replies = await self._execute([key], [("EVAL", self._erase_script, 1, key)], writes=1)
        _raise_if_any_failed(replies)
        return replies[0] != 0

    def list_features(self) -> list[FeatureInfo]:
        """Every feature that is defined, windowed ones first, in the order of the file."""
        defined = self.definitions
        sets = {
            name: tuple(s for s, members in defined.sets.items() if name in members)
            for name in (*defined.features, *defined.derived)
        }
        windowed = [
            FeatureInfo(
                f.name, f.entity, f.aggregation, f.window_ms, f.ring.width_ms, f.event, f.default,
                f.version, f.max_age_ms, "", f.description, sets[f.name],
            )
            for f in defined.features.values()
        ]  # fmt: skip
        derived = [
            FeatureInfo(
                d.name, d.entity, "derived", 0, 0, "", d.default, d.version, 0, d.expression.text,
                d.description, sets[d.name],
            )
            for d in defined.derived.values()
        ]  # fmt: skip
        return windowed + derived

    async def ping(self) -> None:
        """Whether the store answers; raises Unavailable where it does not."""
        _raise_if_any_failed(await self._topology.execute([b""], [("PING",)]))

    async def close(self) -> None:
        """Let go of every connection."""
        await self._topology.close()

    async def _finish(self, read: FeatureRead, replies: Sequence[Reply]) -> FeatureTable:
        """Fold; only entities with a saturated distinct count cost a second trip."""
        _raise_if_any_failed(replies)
        read.fold(replies)
        if sketches := read.sketches():
            counts = await self._execute([s.key for s in sketches], [s.command for s in sketches])
            _raise_if_any_failed(counts)
            for sketch, count in zip(sketches, counts, strict=True):
                sketch.settle(count)
        return read.table()

    def _batch(self, events: Sequence[Event]) -> IngestBatch:
        if len(events) > MAX_EVENTS:
            raise InvalidInput(
                f"events: {len(events)} given, at most {MAX_EVENTS} are allowed; nothing was "
                "applied, send smaller batches",
                field="events",
            )
        return IngestBatch(
            self.definitions,
            self._ingest_plans,
            events,
            now_ms=self._clock(),
            max_skew_ms=self._max_skew_ms,
            script_sha=self._script_sha,
        )

    def _check(
        self, entities: Sequence[EntityRef], selection: Selection, as_of_ms: int | None
    ) -> None:
        """Raises InvalidInput where a read cannot be."""
        check_entities(entities, self.definitions.entities)
        self._read_plans.names(selection, ())
        if as_of_ms is None:
            return
        if not EARLIEST_TIME_MS <= as_of_ms <= self._clock() + MAX_AS_OF_AHEAD_MS:
            raise InvalidInput(
                f"as_of: {as_of_ms} ms is not between 2000-01-01 and one hour ahead of the "
                "server's clock",
                field="as_of",
            )

    async def _read(
        self, entities: Sequence[EntityRef], selection: Selection, as_of_ms: int | None
    ) -> FeatureTable:
        """One checked read."""
        if as_of_ms is None:
            as_of_ms = self._clock()
        read = FeatureRead(self._read_plans, entities, selection, as_of_ms)
        return await self._finish(read, await self._execute(read.keys, read.commands))

    def _check_ref(self, ref: EntityRef) -> None:
        if ref.entity not in self.definitions.entities:
            raise InvalidInput(
                f"entity.entity: unknown entity {ref.entity[:64]!r}"
                + did_you_mean(ref.entity[:64], self.definitions.entities),
                reason="UNKNOWN_ENTITY",
                field="entity.entity",
            )
        check_id(ref.id, "entity.id")

    async def _execute(
        self, keys: Sequence[bytes], commands: Sequence[Command], *, writes: int = 0
    ) -> list[Reply]:
        """One trip, repeated once where the connection broke: every call of ours is idempotent."""
        if not commands:
            return []
        try:
            replies = await self._topology.execute(keys, commands, writes=writes)
        except ConnectionLost:
            await asyncio.sleep(random.uniform(0, _RETRY_JITTER_S))  # noqa: S311 - jitter
            replies = await self._topology.execute(keys, commands, writes=writes)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            await self._teach(keys, commands, replies, writes)
        return replies

    async def _teach(
        self,
        keys: Sequence[bytes],
        commands: Sequence[Command],
        replies: list[Reply],
        writes: int,
    ) -> None:
        """A server is new or was flushed: send the script itself, and read again what was read."""
        again = [
            i for i, reply in enumerate(replies) if i >= writes or isinstance(reply, NoScriptError)
        ]
        whole = [
            ("EVAL", self._script, *commands[i][2:]) if i < writes else commands[i] for i in again
        ]
        answers = await self._topology.execute(
            [keys[i] for i in again], whole, writes=sum(i < writes for i in again)
        )
        for i, answer in zip(again, answers, strict=True):
            replies[i] = answer


def _script(name: str) -> str:
    return files("featsvc.accounts").joinpath(name).read_text("utf-8")


def _raise_if_all_failed(replies: Sequence[Reply]) -> None:
    if replies and all(isinstance(reply, RedisError) for reply in replies):
        _raise_if_any_failed(replies)


def _raise_if_any_failed(replies: Sequence[Reply]) -> None:
    for reply in replies:
        if isinstance(reply, RedisError):
            message = f"Redis: {reply}"
            if message.startswith("Redis: WRONGTYPE"):
                raise DataCorrupt(f"{message}; is the namespace shared with something else?")
            if isinstance(reply, NoPermissionError):
                message += "; the ACL user needs the rights told in docs/features.md"
            raise Unavailable(message)
