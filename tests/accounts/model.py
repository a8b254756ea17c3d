"""What every status and value of an entity must be, computed from the list of its events.

No state is kept but the events that were applied, in their order, and what bounds the answers: the
newest event, the reference time of the rings, and the ids that must still be known. A value is a
plain aggregate of the events of its buckets (`answers.py`).

Where a service may choose (an id older than the horizon is forgotten at the next chance),
`outcomes` has several members, and the caller says which of them was seen.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from featsvc.accounts import Event
from tests.accounts.schema1 import Feature, Ring, State, milliseconds, read_features

DEFAULT_HORIZON_MS = 86_400_000
CLOCK_SLACK_MS = 60_000
AHEAD_MS = 60_000
"""How far ahead of the clock an event may be."""
MOST_SOURCES = 8
# For an event of several entities, the first of these that any of them has.
OUTCOMES = ("BEYOND_HORIZON", "APPLIED", "DUPLICATE", "TOO_LATE")

Member = tuple[bool, float | str]
Meaning = tuple[object, ...]
Target = tuple[str, str]
"""Entity and id."""
Outcomes = frozenset[str]


def identity(value: float | str | bool) -> Member:
    """What makes attributes equal: 1 is 1.0, but neither True nor "1"."""
    return isinstance(value, bool), value


def meaning(state: State) -> Meaning:
    """What makes states equal: neither the order of filters, nor `1` against `1.0`, nor the cap."""
    where = frozenset((name, frozenset(map(identity, some))) for name, some in state.where)
    kind = (state.kind, state.of_time, state.version)
    return (state.entity, state.event, state.value, where, *kind)


def kept_for(feature: Feature) -> tuple[Meaning, str, int]:
    """What a service keeps for a feature: a ring, or a list of members as long as its window."""
    window_ms = feature.window_ms if feature.aggregation == "distinct" else 0
    return meaning(feature.state), feature.ring[0], window_ms


class Rules:
    """A definition file as the model reads it."""

    def __init__(self, tree: Mapping[str, object]) -> None:
        """`tree` is the parsed TOML; the file must be valid."""
        entities, events, dedup = (tree.get(key, {}) for key in ("entities", "events", "dedup"))
        assert isinstance(entities, dict)
        assert isinstance(events, dict)
        assert isinstance(dedup, dict)
        self.features = {feature.name: feature for feature in read_features(tree)}
        self.horizon_ms = milliseconds(dedup.get("horizon", "24h"))
        self._entities = entities
        self._keys = {name: table["keys"] for name, table in events.items()}
        self._of: dict[tuple[str, str], list[Feature]] = {}
        for feature in self.features.values():
            self._of.setdefault((feature.state.entity, feature.state.event), []).append(feature)
        self.kept = {kept_for(feature) for feature in self.features.values()}

    def targets(self, event: Event) -> list[Target]:
        """The entities that an event is about, and that have features of its type."""
        return [
            (entity, event.entities[self._entities[entity]])
            for entity in self._keys.get(event.type, ())
            if (entity, event.type) in self._of and self._entities[entity] in event.entities
        ]

    def updated(self, entity: str, event: Event) -> list[Feature]:
        """The features of one of its entities that an event changes."""
        some = self._of.get((entity, event.type), ())
        return [feature for feature in some if value_of(feature.state, event) is not None]

    def longest_ms(self, state: State) -> int:
        """The longest window of a state; 0 is without end."""
        windows = [f.window_ms for f in self.features.values() if f.state == state]
        return 0 if 0 in windows else max(windows)


def value_of(state: State, event: Event) -> float | Member | None:
    """The value that a state takes from an event: a member, if it counts distinct ones."""
    if event.type != state.event:
        return None
    for name, allowed in state.where:
        value = event.attributes.get(name)
        if value is None or identity(value) not in map(identity, allowed):
            return None
    if state.of_time:
        return event.time_ms
    if state.kind == "COUNT":
        return 1.0
    given = event.attributes.get(state.value, event.entities.get(state.value))
    if given is None:
        return None
    return identity(given) if state.kind == "DISTINCT" else float(given)


def covers(ring: Ring, time_ms: float, reference_ms: float) -> bool:
    """Whether a ring has a bucket for a time."""
    _, width_ms, buckets = ring
    return not width_ms or time_ms // width_ms > reference_ms // width_ms - buckets


@dataclass(frozen=True, slots=True)
class Applied:
    """An event that counted, and the reference time of the rings after it."""

    event: Event
    reference_ms: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an event comes: through which definitions, at which time of the service's clock.

    `source` and `position` belong to a back-fill. `unseen`: it cannot have been applied before.
    `others`: all definitions of the namespace; a service may keep for them what it does not read.
    `latest_ms`: the latest time of a batch that may be sent twice. The second time, ids are
    forgotten that the first time were not.
    """

    rules: Rules
    now_ms: int
    source: str = ""
    position: int = 0
    unseen: bool = False
    others: Sequence[Rules] = ()
    latest_ms: int = 0


@dataclass(slots=True)
class EntityModel:
    """One entity. `known_ids` maps an id to the newest event's time when the id was counted.

    `forgotten_ms`: ids counted when the newest event was not after it may be forgotten.
    """

    entity: str
    applied: list[Applied] = field(default_factory=list)
    newest_ms: float = 0
    reference_ms: float = 0
    forgotten_ms: float = 0
    known_ids: dict[str, float] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)

    def outcomes(self, event: Event, delivery: Delivery) -> Outcomes:
        """The outcomes that the event may have now."""
        if delivery.source and delivery.position <= self.marks.get(delivery.source, -1):
            return frozenset({"DUPLICATE"})
        known_ms = self.known_ids.get(event.event_id)
        if known_ms is None:
            return self._of_new(event, delivery)
        if known_ms > max(self.forgotten_ms, delivery.latest_ms - delivery.rules.horizon_ms):
            return frozenset({"DUPLICATE"})
        return self._of_new(event, delivery) | {"DUPLICATE"}

    def _of_new(self, event: Event, delivery: Delivery) -> Outcomes:
        """The outcomes of an event whose id is not remembered."""
        if self._is_covered(event, delivery, delivery.rules):
            return self._of_covered(event, delivery)
        if any(self._is_covered(event, delivery, rules) for rules in delivery.others):
            return self._of_covered(event, delivery) | {"TOO_LATE"}
        return frozenset({"TOO_LATE"})

    def _of_covered(self, event: Event, delivery: Delivery) -> Outcomes:
        """The outcomes of an event that some ring has a place for."""
        if delivery.source or delivery.unseen:
            return frozenset({"APPLIED"})
        if event.time_ms <= self.newest_ms - delivery.rules.horizon_ms:
            return frozenset({"BEYOND_HORIZON"})
        if event.time_ms <= self.forgotten_ms:
            return frozenset({"APPLIED", "BEYOND_HORIZON"})
        return frozenset({"APPLIED"})

    def _reference_with(self, event: Event, delivery: Delivery) -> float:
        ahead = min(event.time_ms, delivery.now_ms) - CLOCK_SLACK_MS
        return max(self.reference_ms, ahead)

    def _is_covered(self, event: Event, delivery: Delivery, rules: Rules) -> bool:
        """Whether a ring or a list has a place for the event; if nothing needs one, it has."""
        reference_ms = self._reference_with(event, delivery)
        updated = rules.updated(self.entity, event)
        if not updated:
            return True
        for feature in updated:
            if feature.aggregation != "distinct":
                if covers(feature.ring, event.time_ms, reference_ms):
                    return True
            else:
                longest_ms = rules.longest_ms(feature.state)
                if not longest_ms or event.time_ms > reference_ms - longest_ms:
                    return True
        return False

    def apply(self, event: Event, delivery: Delivery, outcome: str) -> None:
        """Take note of what happened to an event."""
        if outcome == "APPLIED":
            self.reference_ms = self._reference_with(event, delivery)
            self.newest_ms = max(self.newest_ms, event.time_ms)
            self.applied.append(Applied(event, self.reference_ms))
            self._remember(event, delivery)
        passed_ms = self.newest_ms - delivery.rules.horizon_ms
        self.forgotten_ms = max(self.forgotten_ms, passed_ms)
        if delivery.source and self.applied:
            position = max(delivery.position, self.marks.pop(delivery.source, -1))
            self.marks[delivery.source] = position
            for source in list(self.marks)[:-MOST_SOURCES]:
                del self.marks[source]

    def _remember(self, event: Event, delivery: Delivery) -> None:
        """Keep an id; a back-fill knows events beyond the horizon by their positions."""
        counted_ms = max(self.newest_ms, delivery.now_ms if delivery.unseen else 0)
        if delivery.source and event.time_ms <= self.newest_ms - delivery.rules.horizon_ms:
            counted_ms = 0
        self.known_ids[event.event_id] = counted_ms


def may_be(outcome: str, status: str, repeated: bool) -> bool:
    """Whether an event whose outcome was this may have this status.

    If the batch was sent twice, the status tells how the second one found it: what counted has any
    status then, and what did not count has any but APPLIED.
    """
    if not repeated:
        return status == outcome
    return status in OUTCOMES and (outcome == "APPLIED" or status != "APPLIED")


def outcome_of(outcomes: Iterable[str]) -> str:
    """The status of an event of several entities."""
    return min(outcomes, key=OUTCOMES.index)


@dataclass(slots=True)
class Model:
    """All entities of a namespace. `unsure` are those of which the answers do not tell enough."""

    entities: dict[Target, EntityModel] = field(default_factory=dict)
    unsure: set[Target] = field(default_factory=set)

    def entity(self, target: Target) -> EntityModel:
        return self.entities.get(target) or EntityModel(target[0])

    def apply(
        self, event: Event, delivery: Delivery, status: str, *, repeated: bool = False
    ) -> str | None:
        """Take note of the status of an event; return what is wrong with it, or None.

        `repeated`: the connection broke, and the batch may have been sent twice.
        """
        targets = delivery.rules.targets(event)
        ahead = event.time_ms > delivery.now_ms + AHEAD_MS
        if ahead or not targets:
            right = "REJECTED" if ahead else "IGNORED"
            return None if status == right else f"{event} is {status}, not {right}"
        models = [self.entity(target) for target in targets]
        sets = [
            frozenset(OUTCOMES) if target in self.unsure else model.outcomes(event, delivery)
            for target, model in zip(targets, models, strict=True)
        ]
        possible = [case for case in product(*sets) if may_be(outcome_of(case), status, repeated)]
        if not possible:
            cases = sorted({outcome_of(case) for case in product(*sets)})
            return f"{event.event_id} at {event.time_ms} of {targets} is {status}, not {cases}"
        for target, model, *cases in zip(targets, models, *possible, strict=True):
            if len(set(cases)) > 1:
                self.unsure.add(target)
            model.apply(event, delivery, cases[0])
            if model.applied:
                self.entities[target] = model
        return None

    def delete(self, target: Target) -> bool:
        """Forget an entity; return whether it was known."""
        self.unsure.discard(target)
        return self.entities.pop(target, None) is not None


def delivered(
    model: Model, events: Sequence[Event], delivery: Delivery, statuses: Sequence[str], **how: bool
) -> list[str]:
    """Apply a batch, and return what is wrong with its statuses."""
    assert len(events) == len(statuses)
    found = [
        model.apply(event, delivery, status, **how)
        for event, status in zip(events, statuses, strict=True)
    ]
    return [text for text in found if text]
