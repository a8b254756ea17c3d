"""Definitions compiled for writing: which states an event updates, and with which values."""

from collections.abc import Sequence

import msgspec

from featsvc.accounts.definitions import Definitions, Feature, State
from featsvc.accounts.events import Attribute, Event
from featsvc.accounts.layout import (
    KEY_SUFFIX,
    LIFETIME_MS,
    Ring,
    StateKind,
    encode_id,
    entity_key_prefix,
    short_hash,
)
from featsvc.errors import InvalidInput

Update = int | float | bytes
"""Value that an event gives a state; bytes are the hash of a distinct member."""


def entity_key(definitions: Definitions, entity: str, entity_id: str) -> bytes:
    """Return the key of the hash that holds an entity."""
    return entity_key_prefix(definitions.namespace, entity) + encode_id(entity_id) + KEY_SUFFIX


class StateReader:
    """Reads one state's value from an event. `rings` are those that its features' windows need."""

    def __init__(self, state: State, features: Sequence[Feature], definitions: Definitions) -> None:
        self.state = state
        rings = {f.ring.letter: f.ring for f in features}
        self.rings: tuple[Ring, ...] = tuple(rings.values())
        self.longest_ms = longest_ms(features)
        self._where = [
            (name, frozenset((isinstance(v, bool), v) for v in allowed))
            for name, allowed in state.where
        ]
        self._is_entity = state.value in definitions.entities.values()
        self._example = features[0].name

    def update(self, event: Event) -> Update | None:
        """Return the value to merge, None if the event does not affect this state.

        Raises InvalidInput for an attribute of the wrong type.
        """
        attributes = event.attributes
        for name, allowed in self._where:
            value = attributes.get(name)
            if value is None or (isinstance(value, bool), value) not in allowed:
                return None
        state = self.state
        if state.of_time:
            return event.time_ms
        if state.kind is StateKind.COUNT:
            return 0
        value = attributes.get(state.value)
        if value is None and self._is_entity:
            value = event.entities.get(state.value)
        if value is None:
            return None
        if state.kind is StateKind.DISTINCT:
            return short_hash(_member(value))
        if isinstance(value, str):
            raise InvalidInput(
                f"attributes.{state.value}: must be a number, because {self._example} uses it",
                field=f"attributes.{state.value}",
            )
        return float(value)


def _member(value: Attribute) -> str:
    """Return the text that is hashed for a value: 1 and 1.0 are equal, 1 and "1" are not."""
    if isinstance(value, str):
        return f"s{value}"
    return f"b{value}" if isinstance(value, bool) else f"n{float(value)!r}"


class IngestPlan:
    """The states of one kind of entity, by the type of event that updates them."""

    def __init__(self, definitions: Definitions, entity: str) -> None:
        self.entity = entity
        self.field = definitions.entities[entity]
        self._readers: dict[str, list[StateReader]] = {}
        for state, features in by_state(definitions).items():
            if state.entity == entity:
                reader = StateReader(state, features, definitions)
                self._readers.setdefault(state.event, []).append(reader)
        self._ttl_ms = _time_to_live_ms([r for rs in self._readers.values() for r in rs])
        self._packed: dict[frozenset[str], tuple[bytes, dict[str, int]]] = {}

    def reads(self, event_type: str) -> bool:
        """Return whether any feature of the entity reads this type of event."""
        return event_type in self._readers

    def updates(self, event: Event) -> list[Update | None]:
        """Return one value per state that reads the event's type. Raises InvalidInput."""
        return [reader.update(event) for reader in self._readers[event.type]]

    def packed(self, types: frozenset[str]) -> tuple[bytes, dict[str, int]]:
        """Return the plan for ingest.lua, and the number of each type's first state in it."""
        if types not in self._packed:
            states: list[object] = []
            first: dict[str, int] = {}
            for event_type in sorted(types):
                first[event_type] = len(states) + 1
                for reader in self._readers[event_type]:
                    rings = [(r.letter, r.width_ms, r.buckets) for r in reader.rings]
                    state = reader.state
                    states.append(
                        (state.digest, int(state.kind), rings, state.cap, reader.longest_ms)
                    )
            self._packed[types] = msgspec.msgpack.encode((self._ttl_ms, states)), first
        return self._packed[types]


def by_state(definitions: Definitions) -> dict[State, list[Feature]]:
    """Return the windowed features of each state."""
    by_state: dict[State, list[Feature]] = {}
    for feature in definitions.features.values():
        by_state.setdefault(feature.state, []).append(feature)
    return by_state


def longest_ms(features: Sequence[Feature]) -> int:
    """Return the longest window of a state's features, 0 if one is `lifetime`."""
    windows = [feature.window_ms for feature in features]
    return 0 if LIFETIME_MS in windows else max(windows)


def _time_to_live_ms(readers: Sequence[StateReader]) -> int:
    """Return how long to keep state: until its last bucket expires; 0 (no limit) for `lifetime`."""
    spans = [ring.width_ms * (ring.buckets + 1) for reader in readers for ring in reader.rings]
    return 0 if not spans or 0 in spans else max(spans)
