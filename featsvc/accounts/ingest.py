"""Batches of events: check them, group them by entity, pack script calls and merge the replies."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from redis.exceptions import RedisError

from featsvc.accounts.definitions import Definitions
from featsvc.accounts.events import Event, EventResult, EventStatus, check_event
from featsvc.accounts.ingest_plan import IngestPlan, Update, entity_key
from featsvc.accounts.layout import short_hash
from featsvc.accounts.pipelining import Command, Reply
from featsvc.errors import InvalidInput

EVENTS_PER_ROUND_TRIP = 500
"""Limits how long one round trip keeps Redis busy."""

_FAILED = 4
# Outcomes that ingest.lua returns. For an event of several entities the smallest number decides.
_RESULTS = {
    1: EventResult(EventStatus.APPLIED),
    2: EventResult(EventStatus.DUPLICATE),
    3: EventResult(EventStatus.TOO_LATE),
}

Target = tuple[str, str]
"""Entity and id."""


@dataclass(frozen=True, slots=True)
class IngestCall:
    """One script call: the key of an entity and the events of the batch that it applies."""

    key: bytes
    command: Command
    events: list[int]


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
    ) -> None:
        """Check every event; a bad one becomes REJECTED without affecting the others."""
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
                check_event(event, now_ms=now_ms)
                self._plan_event(i, event)
            except InvalidInput as exc:
                self.results[i] = EventResult(EventStatus.REJECTED, str(exc))
                self._targets[i] = []
        self._per_target = Counter(target for targets in self._targets for target in targets)

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
        n, size = len(self._events), EVENTS_PER_ROUND_TRIP
        return [range(start, min(start + size, n)) for start in range(0, n, size)]

    def calls(self, chunk: range) -> list[IngestCall]:
        """Return one script call for each entity that the chunk's events are about."""
        by_target: dict[Target, list[tuple[int, int]]] = {}
        for i in chunk:
            for position, target in enumerate(self._targets[i]):
                by_target.setdefault(target, []).append((i, position))
        return [self._call(target, events) for target, events in by_target.items()]

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
        # Keeps the ids of the whole batch, so that a retry of the whole batch is recognised.
        kept_ids = definitions.kept_ids + self._per_target[target]
        call = msgspec.msgpack.encode(
            (self._now_ms, kept_ids, definitions.dedup_horizon_ms, packed)
        )
        key = entity_key(definitions, entity, entity_id)
        hashes = b"".join(ids + members)
        command = ("EVALSHA", self._script_sha, 1, key, plan, call, hashes)
        return IngestCall(key, command, [i for i, _ in events])

    def merge_replies(
        self, chunk: range, calls: Sequence[IngestCall], replies: Sequence[Reply]
    ) -> None:
        """Merge the replies to a chunk's calls into one result per event."""
        outcomes: dict[int, list[int]] = {}
        reason = ""
        for call, reply in zip(calls, replies, strict=True):
            if isinstance(reply, list):
                numbers = [n if isinstance(n, int) else _FAILED for n in reply]
            else:
                numbers = [_FAILED] * len(call.events)
                reason = str(reply) if isinstance(reply, RedisError) else "no answer"
            for i, number in zip(call.events, numbers, strict=True):
                outcomes.setdefault(i, []).append(number)
        for i in chunk:
            if self.results[i] is None:
                failed = _FAILED in outcomes[i]
                self.results[i] = (
                    _incomplete(f"Redis: {reason}") if failed else _RESULTS[min(outcomes[i])]
                )

    def fail_rest(self, reason: str) -> None:
        """Set every result that is still missing to INCOMPLETE."""
        incomplete = _incomplete(reason)
        self.results = [result or incomplete for result in self.results]


def _incomplete(reason: str) -> EventResult:
    return EventResult(
        EventStatus.INCOMPLETE, f"{reason}; send the event again, it counts only once"
    )
