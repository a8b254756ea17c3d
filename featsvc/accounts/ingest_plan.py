"""Definitions compiled for writing: which states an event updates, and with which values."""

from collections.abc import Sequence
from typing import NoReturn

import msgspec

from featsvc.accounts.definitions import Definitions, Feature, State
from featsvc.accounts.events import Attribute, Event
from featsvc.accounts.layout import (
    KEY_SUFFIX,
    LIFETIME_MS,
    RING_OF,
    Rings,
    StateKind,
    encode_id,
    entity_key_prefix,
    short_hash,
)
from featsvc.errors import InvalidInput

Update = int | float | bytes
"""Value that an event gives a state; bytes are the hash of a distinct member."""

MAX_EXACT = 2**53
"""Whole numbers from here on share one double with their neighbours."""


def entity_key(definitions: Definitions, entity: str, entity_id: str) -> bytes:
    """Return the key of the hash that holds an entity."""
    return entity_key_prefix(definitions.namespace, entity) + encode_id(entity_id) + KEY_SUFFIX


class StateReader:
    """Reads one state's value from an event.

    `letters` are the rings to update: those that its features' windows need, and those that other
    definitions of the namespace need, so that services may differ during a deployment.
    `longest_ms` is the longest window of those, 0 for `lifetime`.
    """

    def __init__(
        self, state: State, features: Sequence[Feature], definitions: Definitions, rings: Rings
    ) -> None:
        self.state = state
        own = {feature.ring.letter for feature in features}
        others = rings.get(state.digest, ())
        letters = own.union(letter for letter, _ in others)
        self.letters = "".join(letter for letter in RING_OF if letter in letters)
        windows = [longest_ms(features), *(window_ms for _, window_ms in others)]
        self.longest_ms = LIFETIME_MS if LIFETIME_MS in windows else max(windows)
        self._where = [
            (name, frozenset((isinstance(v, bool), v) for v in allowed))
            for name, allowed in state.where
        ]
        self._is_entity = state.value in definitions.entities.values()
        self._example = features[0].name

    def update(self, event: Event) -> Update | None:
        """Return the value to merge, None if the event does not affect this state.

        Raises InvalidInput for an attribute of the wrong type, and for a number that is no longer
        exact where it is compared.
        """
        if not self._passes(event):
            return None
        state = self.state
        if state.of_time:
            return event.time_ms
        if state.kind is StateKind.COUNT:
            return 0
        value = event.attributes.get(state.value)
        if value is None and self._is_entity:
            value = event.entities.get(state.value)
        if value is None:
            return None
        if state.kind is StateKind.DISTINCT:
            self._check_exact(state.value, value)
            return short_hash(_member(value))
        return self._number(value)

    def _passes(self, event: Event) -> bool:
        """Return whether the event passes the state's filter. Raises InvalidInput."""
        for name, allowed in self._where:
            value = event.attributes.get(name)
            if value is None:
                return False
            self._check_exact(name, value)
            if (isinstance(value, bool), value) not in allowed:
                return False
        return True

    def _number(self, value: Attribute) -> float:
        """Return the number of an attribute. Raises InvalidInput."""
        state = self.state
        if isinstance(value, str):
            self._refuse(state.value, f"must be a number, because {self._example} uses it")
        if state.kind in (StateKind.FIRST, StateKind.LAST) and _collapses(value):
            self._refuse(state.value, f"{value} is not exact as a number of {self._example}")
        return float(value)

    def _check_exact(self, name: str, value: Attribute) -> None:
        """Raise InvalidInput for a double that stands for many whole numbers."""
        if isinstance(value, float) and abs(value) >= MAX_EXACT:
            self._refuse(
                name,
                f"{value:.17g} may be one of several whole numbers, and {self._example} compares "
                "them; send it as an integer or a text",
            )

    def _refuse(self, name: str, problem: str) -> NoReturn:
        field = f"attributes.{name}"
        raise InvalidInput(f"{field}: {problem}", field=field)


def _collapses(value: Attribute) -> bool:
    """Return whether an exact integer is not a double."""
    return isinstance(value, int) and int(float(value)) != value


def _member(value: Attribute) -> str:
    """Return the text that is hashed for a value: 1 and 1.0 are equal, 1 and "1" are not."""
    if isinstance(value, str):
        return f"s{value}"
    if isinstance(value, bool):
        return f"b{value}"
    # Small numbers are written as doubles: that is how they were hashed when all were doubles.
    return f"n{float(value)!r}" if abs(value) < MAX_EXACT else f"n{value}"


class IngestPlan:
    """The states of one kind of entity, by the type of event that updates them."""

    def __init__(self, definitions: Definitions, entity: str, rings: Rings) -> None:
        self.entity = entity
        self.field = definitions.entities[entity]
        self._readers: dict[str, list[StateReader]] = {}
        for state, features in by_state(definitions).items():
            if state.entity == entity:
                reader = StateReader(state, features, definitions, rings)
                self._readers.setdefault(state.event, []).append(reader)
        self._rings = {
            event_type: sum(len(reader.letters) for reader in readers)
            for event_type, readers in self._readers.items()
        }
        self._ttl_ms = _time_to_live_ms([r for rs in self._readers.values() for r in rs])
        self._packed: dict[frozenset[str], tuple[bytes, dict[str, int]]] = {}

    def reads(self, event_type: str) -> bool:
        """Return whether any feature of the entity reads this type of event."""
        return event_type in self._readers

    def rings(self, event_type: str) -> int:
        """Return how many rings an event of the type updates at most."""
        return self._rings[event_type]

    def updates(self, event: Event) -> list[Update | None]:
        """Return one value per state that reads the event's type. Raises InvalidInput."""
        return [reader.update(event) for reader in self._readers[event.type]]

    def packed(self, types: frozenset[str]) -> tuple[bytes, dict[str, int]]:
        """Return the script's plan, and the number of each type's first state in it."""
        if types not in self._packed:
            states: list[object] = []
            first: dict[str, int] = {}
            for event_type in sorted(types):
                first[event_type] = len(states) + 1
                for reader in self._readers[event_type]:
                    state = reader.state
                    states.append(
                        (
                            state.digest,
                            int(state.kind),
                            reader.letters,
                            state.cap,
                            reader.longest_ms,
                        )
                    )
            self._packed[types] = msgspec.msgpack.encode((self._ttl_ms, states)), first
        return self._packed[types]


def by_state(definitions: Definitions) -> dict[State, list[Feature]]:
    """Return the windowed features of each state."""
    states: dict[State, list[Feature]] = {}
    for feature in definitions.features.values():
        states.setdefault(feature.state, []).append(feature)
    return states


def longest_ms(features: Sequence[Feature]) -> int:
    """Return the longest window of a state's features, 0 if one is `lifetime`."""
    windows = [feature.window_ms for feature in features]
    return LIFETIME_MS if LIFETIME_MS in windows else max(windows)


def _time_to_live_ms(readers: Sequence[StateReader]) -> int:
    """Return how long to keep state: until its last bucket expires; 0 (no limit) for `lifetime`."""
    rings = [RING_OF[letter] for reader in readers for letter in reader.letters]
    spans = [ring.width_ms * (ring.buckets + 1) for ring in rings]
    return 0 if not spans or 0 in spans else max(spans)
