"""Batches of events: check them, group them by entity, pack script calls and merge the replies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec
from redis.exceptions import RedisError

from featsvc.accounts.definitions import Definitions
from featsvc.accounts.events import (
    Backfill,
    Event,
    EventResult,
    EventStatus,
    check_backfill,
    check_event,
)
from featsvc.accounts.ingest_plan import IngestPlan, Update, entity_key
from featsvc.accounts.layout import short_hash
from featsvc.accounts.pipelining import Command, Reply
from featsvc.accounts.replies import is_damage
from featsvc.errors import InvalidInput

EVENTS_PER_ROUND_TRIP = 500
RINGS_PER_ROUND_TRIP = 4000
"""Limits how long one script call keeps Redis busy: an update of a ring takes 1 to 2 us."""

# Outcomes of the script.
_APPLIED, _DUPLICATE, _TOO_LATE, _BEYOND_HORIZON = 1, 2, 3, 4
# For an event of several entities the smallest number decides.
_RESULTS = {
    _APPLIED: EventResult(EventStatus.APPLIED),
    _DUPLICATE: EventResult(EventStatus.DUPLICATE),
    _TOO_LATE: EventResult(EventStatus.TOO_LATE),
}

_NORMAL, _UNSEEN, _BACKFILL = 0, 1, 2

Target = tuple[str, str]
"""Entity and id."""


@dataclass(frozen=True, slots=True)
class IngestCall:
    """One script call: the key of an entity and the events of the batch that it applies."""

    target: Target
    key: bytes
    command: Command
    events: list[int]
    ids: list[bytes]

    def applied_ids(self, reply: Reply) -> list[bytes]:
        """Return the ids of the events that the script has applied."""
        if not isinstance(reply, list):
            return []
        return [id_ for id_, n in zip(self.ids, reply, strict=True) if n == _APPLIED]


class IngestBatch:
    """The events of one request. `results` fills up as round trips are answered."""

    def __init__(
        self,
        definitions: Definitions,
        plans: Mapping[str, IngestPlan],
        events: Sequence[Event],
        *,
        now_ms: int,
        script_sha: str,
        backfill: Backfill | None = None,
        unseen: bool = False,
        shares_ids: bool = False,
    ) -> None:
        """Check every event; a bad one becomes REJECTED without affecting the others.

        With `shares_ids`, ids are also written where services of the first layout look for them.

        Raises InvalidInput for a back-fill whose positions do not fit the events.
        """
        if backfill:
            check_backfill(backfill, len(events))
        self._definitions = definitions
        self._plans = plans
        self._events = events
        self._now_ms = now_ms
        self._script_sha = script_sha
        self._mode = _BACKFILL if backfill else _UNSEEN if unseen else _NORMAL
        self._shares_ids = shares_ids
        self._positions = backfill.positions if backfill else ()
        self._source = short_hash(backfill.source) if backfill else b""
        self.results: list[EventResult | None] = [None] * len(events)
        self._targets: list[list[Target]] = [[] for _ in events]
        self._updates: list[list[list[Update | None]]] = [[] for _ in events]
        self._failed: set[Target] = set()
        for i, event in enumerate(events):
            try:
                check_event(event, now_ms=now_ms)
                self._plan_event(i, event)
            except InvalidInput as exc:
                self.results[i] = EventResult(EventStatus.REJECTED, str(exc))
                self._targets[i] = []

    def _plan_event(self, i: int, event: Event) -> None:
        keys = self._definitions.events.get(event.type, ())
        plans = [self._plans[entity] for entity in keys if self._plans[entity].reads(event.type)]
        if not plans:
            self.results[i] = EventResult(EventStatus.IGNORED)
            return
        for plan in plans:
            entity_id = event.entities.get(plan.field)
            if entity_id is not None:
                self._targets[i].append((plan.entity, entity_id))
                self._updates[i].append(plan.updates(event))
        if not self._targets[i]:
            needed = " or ".join(repr(plan.field) for plan in plans)
            raise InvalidInput(
                f"entities: an event of type {event.type!r} needs {needed}, but has "
                f"{', '.join(map(repr, event.entities)) or 'none'}",
                field="entities",
            )

    def chunks(self) -> list[range]:
        """Return slices of the batch, one for each round trip."""
        chunks, first, rings = [], 0, 0
        for i, targets in enumerate(self._targets):
            type_ = self._events[i].type
            added = sum(self._plans[entity].rings(type_) for entity, _ in targets)
            if i - first == EVENTS_PER_ROUND_TRIP or (
                i > first and rings + added > RINGS_PER_ROUND_TRIP
            ):
                chunks.append(range(first, i))
                first, rings = i, 0
            rings += added
        return [*chunks, range(first, len(self._events))] if self._events else []

    def calls(self, chunk: range) -> list[IngestCall]:
        """Return one script call for each entity that the chunk's events are about.

        An entity whose call has failed gets no later one: the position of a back-fill would pass
        over the events that failed.
        """
        by_target: dict[Target, list[tuple[int, int]]] = {}
        for i in chunk:
            for number, target in enumerate(self._targets[i]):
                by_target.setdefault(target, []).append((i, number))
        return [
            self._call(target, events)
            for target, events in by_target.items()
            if target not in self._failed
        ]

    def _call(self, target: Target, events: list[tuple[int, int]]) -> IngestCall:
        entity, entity_id = target
        plan, first_state = self._plans[entity].packed(
            frozenset(self._events[i].type for i, _ in events)
        )
        packed: list[list[float]] = []
        ids: list[bytes] = []
        members: list[bytes] = []
        for i, number in events:
            event = self._events[i]
            ids.append(short_hash(event.event_id))
            row: list[float] = [event.time_ms]
            for state, value in enumerate(self._updates[i][number], first_state[event.type]):
                if isinstance(value, bytes):
                    members.append(value)
                    row += (state, len(events) + len(members))
                elif value is not None:
                    row += (state, value)
            packed.append(row)
        definitions = self._definitions
        positions = [self._positions[i] for i, _ in events] if self._positions else ()
        call = msgspec.msgpack.encode(
            (
                self._now_ms,
                definitions.dedup_horizon_ms,
                self._mode,
                packed,
                positions,
                self._shares_ids,
            )
        )
        key = entity_key(definitions, entity, entity_id)
        hashes = b"".join((*ids, *members, self._source))
        command = ("EVALSHA", self._script_sha, 1, key, plan, call, hashes)
        return IngestCall(target, key, command, [i for i, _ in events], ids)

    def merge_replies(
        self, chunk: range, calls: Sequence[IngestCall], replies: Sequence[Reply]
    ) -> None:
        """Merge the replies to a chunk's calls into one result per event."""
        outcomes: dict[int, set[int]] = {i: set() for i in chunk}
        reasons: dict[int, str] = {}
        for call, reply in zip(calls, replies, strict=True):
            if isinstance(reply, list):
                for i, number in zip(call.events, reply, strict=True):
                    outcomes[i].add(cast(int, number))
                continue
            self._failed.add(call.target)
            reasons |= dict.fromkeys(call.events, explain(reply, call.target[0]))
        for i in chunk:
            if self.results[i] is None:
                failed = not self._failed.isdisjoint(self._targets[i])
                self.results[i] = (
                    _incomplete(reasons.get(i, "an event before it of the same entity failed"))
                    if failed
                    else _result(outcomes[i])
                )

    def fail_rest(self, reason: str) -> None:
        """Set every result that is still missing to INCOMPLETE."""
        incomplete = _incomplete(reason)
        self.results = [result or incomplete for result in self.results]


def explain(reply: Reply, entity: str) -> str:
    """Return what an error of the ingest script means, without the entity's id."""
    text = str(reply) if isinstance(reply, RedisError) else "no answer"
    if is_damage(reply):
        return (
            f"Redis: the stored state of the {entity!r} was not written by featsvc ({text}); "
            "delete the entity, and check that no other program uses the namespace"
        )
    return f"Redis: {text}"


def _result(outcomes: set[int]) -> EventResult:
    """Return the result of an event from the outcomes of its entities."""
    if _BEYOND_HORIZON not in outcomes:
        return _RESULTS[min(outcomes)]
    others = " for an entity; it counted for the others" if _APPLIED in outcomes else ""
    return EventResult(
        EventStatus.BEYOND_HORIZON,
        f"older than the newest event by more than the horizon{others}; send history as a "
        "back-fill",
    )


def _incomplete(reason: str) -> EventResult:
    return EventResult(
        EventStatus.INCOMPLETE, f"{reason}; send the event again, it counts only once"
    )
