"""A batch of events on its way in: checked, grouped by entity, packed, and its outcomes merged."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from redis.exceptions import RedisError

from featsvc.accounts.definitions import Definitions
from featsvc.accounts.events import Event, EventResult, EventStatus, check_event
from featsvc.accounts.layout import short_hash
from featsvc.accounts.link import Command, Reply
from featsvc.accounts.plan import IngestPlan, Update, entity_key
from featsvc.errors import InvalidInput

MAX_EVENTS = 10_000
EVENTS_PER_TRIP = 500
"""Bounds how long one trip keeps Redis busy."""

_FAILED = 4
# What a script call says of an event; with several entities the smallest number decides.
_RESULTS = {
    1: EventResult(EventStatus.APPLIED),
    2: EventResult(EventStatus.DUPLICATE),
    3: EventResult(EventStatus.TOO_LATE),
}

Target = tuple[str, str]
"""Entity and id."""


@dataclass(frozen=True, slots=True)
class IngestCall:
    """One script call: an entity, and which events of the batch it applies."""

    key: bytes
    command: Command
    events: list[int]


class IngestBatch:
    """Events of one request. `results` fills up as trips come back."""

    def __init__(
        self,
        definitions: Definitions,
        plans: Mapping[str, IngestPlan],
        events: Sequence[Event],
        *,
        now_ms: int,
        max_skew_ms: int,
        script_sha: str,
    ) -> None:
        """Check every event; a bad one is REJECTED for itself."""
        self._definitions = definitions
        self._plans = plans
        self._events = events
        self._now_ms = now_ms
        self._script_sha = script_sha
        self.results: list[EventResult | None] = [None] * len(events)
        self._targets: list[list[Target]] = [[] for _ in events]
        self._updates: list[list[list[Update | None]]] = [[] for _ in events]
        for i, event in enumerate(events):
            try:
                check_event(event, now_ms=now_ms, max_skew_ms=max_skew_ms)
                self._plan_event(i, event)
            except InvalidInput as exc:
                self.results[i] = EventResult(EventStatus.REJECTED, str(exc))
                self._targets[i] = []
        self._per_target = Counter(target for targets in self._targets for target in targets)

    def _plan_event(self, i: int, event: Event) -> None:
        keys = self._definitions.events.get(event.type, ())
        readers = [entity for entity in keys if self._plans[entity].reads(event.type)]
        if not readers:
            self.results[i] = EventResult(EventStatus.IGNORED)
            return
        for entity in readers:
            plan = self._plans[entity]
            entity_id = event.entities.get(plan.field)
            if entity_id is not None:
                self._targets[i].append((entity, entity_id))
                self._updates[i].append(plan.updates(event))
        if not self._targets[i]:
            wanted = " or ".join(repr(self._plans[entity].field) for entity in readers)
            raise InvalidInput(
                f"entities: {event.type!r} needs {wanted}, given are "
                f"{', '.join(map(repr, event.entities)) or 'none'}",
                field="entities",
            )

    def trips(self) -> "list[range]":
        """Slices of the batch, each for one trip."""
        n = len(self._events)
        return [range(at, min(at + EVENTS_PER_TRIP, n)) for at in range(0, n, EVENTS_PER_TRIP)]

    def calls(self, trip: range) -> list[IngestCall]:
        """One script call for each entity that the trip's events are about."""
        by_target: dict[Target, list[tuple[int, int]]] = {}
        for i in trip:
            for position, target in enumerate(self._targets[i]):
                by_target.setdefault(target, []).append((i, position))
        return [self._call(target, members) for target, members in by_target.items()]

    def _call(self, target: Target, events: list[tuple[int, int]]) -> IngestCall:
        entity, entity_id = target
        plan, first_state = self._plans[entity].packed(
            frozenset(self._events[i].type for i, _ in events)
        )
        packed: list[list[float]] = []
        ids: list[bytes] = []
        members: list[bytes] = []
        for i, position in events:
            event = self._events[i]
            ids.append(short_hash(event.event_id))
            row: list[float] = [event.time_ms]
            for number, value in enumerate(self._updates[i][position], first_state[event.type]):
                if isinstance(value, bytes):
                    members.append(value)
                    row += (number, len(events) + len(members))
                elif value is not None:
                    row += (number, value)
            packed.append(row)
        definitions = self._definitions
        # The ids of the whole batch are kept, so that a retry of the whole batch is recognised.
        kept_ids = definitions.kept_ids + self._per_target[target]
        call = msgspec.msgpack.encode(
            (self._now_ms, kept_ids, definitions.dedup_horizon_ms, packed)
        )
        key = entity_key(definitions, entity, entity_id)
        hashes = b"".join(ids + members)
        command = ("EVALSHA", self._script_sha, 1, key, plan, call, hashes)
        return IngestCall(key, command, [i for i, _ in events])

    def settle(self, trip: range, calls: Sequence[IngestCall], replies: Sequence[Reply]) -> None:
        """Merge what the calls of a trip answered into one result an event."""
        outcomes: dict[int, list[int]] = {}
        reason = ""
        for call, reply in zip(calls, replies, strict=True):
            if isinstance(reply, list):
                answers = [n if isinstance(n, int) else _FAILED for n in reply]
            else:
                answers = [_FAILED] * len(call.events)
                reason = str(reply) if isinstance(reply, RedisError) else "no answer"
            for i, answer in zip(call.events, answers, strict=True):
                outcomes.setdefault(i, []).append(answer)
        for i in trip:
            if self.results[i] is None:
                self.results[i] = _result(outcomes[i], reason)

    def give_up(self, reason: str) -> None:
        """Whatever has no result yet is INCOMPLETE."""
        incomplete = EventResult(
            EventStatus.INCOMPLETE, f"{reason}; send it again, it counts only once"
        )
        self.results = [result or incomplete for result in self.results]


def _result(outcomes: list[int], reason: str) -> EventResult:
    if _FAILED in outcomes:
        return EventResult(
            EventStatus.INCOMPLETE, f"Redis: {reason}; send it again, it counts only once"
        )
    return _RESULTS[min(outcomes)]
