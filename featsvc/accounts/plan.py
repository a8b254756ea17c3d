"""Definitions compiled for speed: which states an event updates, what a selection reads.

Plans resolve names once, so that no call has to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
from featsvc_kernels import fold_codes as codes
from numpy.typing import NDArray

from featsvc.accounts.definitions import AGGREGATIONS, Definitions, Derived, Feature, State
from featsvc.accounts.events import Attribute, Event
from featsvc.accounts.layout import (
    KEY_SUFFIX,
    LIFETIME_MS,
    META_FIELD,
    Ring,
    StateKind,
    encode_id,
    entity_key_prefix,
    short_hash,
)
from featsvc.accounts.pipelining import Command
from featsvc.errors import InvalidInput

_LIST_LETTER = "u"
_FOREVER_MS = 2**53

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
        self.longest_ms = _longest_ms(features)
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
        for state, features in _by_state(definitions).items():
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


def _by_state(definitions: Definitions) -> dict[State, list[Feature]]:
    """Return the windowed features of each state."""
    by_state: dict[State, list[Feature]] = {}
    for feature in definitions.features.values():
        by_state.setdefault(feature.state, []).append(feature)
    return by_state


def _longest_ms(features: Sequence[Feature]) -> int:
    """Return the longest window of a state's features, 0 if one is `lifetime`."""
    windows = [feature.window_ms for feature in features]
    return 0 if LIFETIME_MS in windows else max(windows)


def _time_to_live_ms(readers: Sequence[StateReader]) -> int:
    """Return how long to keep state: until its last bucket expires; 0 (no limit) for `lifetime`."""
    spans = [ring.width_ms * (ring.buckets + 1) for reader in readers for ring in reader.rings]
    return 0 if not spans or 0 in spans else max(spans)


class DerivePlan(NamedTuple):
    """The first arguments of `derive`: the programs of the derived features and their defaults."""

    ops: NDArray[np.int64]
    arguments: NDArray[np.float64]
    starts: NDArray[np.int64]
    defaults: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """The part of a selection that one kind of entity has.

    The kernels compute W windowed features into rows 0 .. W - 1 and the derived ones into the rows
    after them. `rows` (F,) holds the row of each feature of the selection; features of other kinds
    of entity share the row after the last, which has no values. `fields` are the fields of the
    HMGET, whose values are the parts that `folding` (W, PLAN_COLUMNS) refers to. `distinct` pairs
    the row of each distinct feature with its definition.
    """

    entity: str
    key_prefix: bytes
    fields: tuple[bytes, ...]
    rows: NDArray[np.intp]
    folding: NDArray[np.int64]
    defaults: NDArray[np.float64]
    derived: DerivePlan
    distinct: tuple[tuple[int, Feature], ...]

    def command(self, entity_id: str) -> tuple[bytes, Command]:
        """Return the key and the HMGET of one entity."""
        key = self.key_prefix + encode_id(entity_id) + KEY_SUFFIX
        return key, ("HMGET", key, *self.fields)


def read_plan(definitions: Definitions, entity: str, names: Sequence[str]) -> ReadPlan:
    """Plan the features in `names` that belong to `entity`; all names must be known."""
    own = [name for name in names if definitions.entity_of(name) == entity]
    derived = [definitions.derived[name] for name in own if name in definitions.derived]
    needed = [name for name in own if name in definitions.features]
    needed += [name for feature in derived for name in feature.expression.features]
    windowed = {name: row for row, name in enumerate(dict.fromkeys(needed))}
    features = [definitions.features[name] for name in windowed]
    by_state = _by_state(definitions)
    parts = {META_FIELD: codes.META_PART}
    folding = np.zeros((len(features), codes.PLAN_COLUMNS), np.int64)
    for row, feature in enumerate(features):
        distinct = feature.aggregation == "distinct"
        letter = _LIST_LETTER if distinct else feature.ring.letter
        part = parts.setdefault((feature.state.digest + letter).encode(), len(parts))
        width_ms, buckets = feature.ring.width_ms, feature.ring.buckets
        if distinct and width_ms:  # a list of exact times that covers the state's longest window
            kept_ms = _longest_ms(by_state[feature.state]) or _FOREVER_MS
            width_ms, buckets = 1, kept_ms + 1
        folding[row, codes.PART] = part
        folding[row, codes.AGGREGATION] = AGGREGATIONS[feature.aggregation].code
        folding[row, codes.WIDTH_MS] = width_ms
        folding[row, codes.BUCKETS] = buckets
        folding[row, codes.WINDOW_MS] = feature.window_ms
        folding[row, codes.MAX_AGE_MS] = feature.max_age_ms
    rows = {**windowed, **{d.name: row for row, d in enumerate(derived, len(windowed))}}
    return ReadPlan(
        entity=entity,
        key_prefix=entity_key_prefix(definitions.namespace, entity),
        fields=tuple(parts),
        rows=np.array([rows.get(name, len(rows)) for name in names], np.intp),
        folding=folding,
        defaults=_defaults(features),
        derived=_derive_plan(derived, windowed),
        distinct=tuple((i, f) for i, f in enumerate(features) if f.aggregation == "distinct"),
    )


def _defaults(features: Sequence[Feature | Derived]) -> NDArray[np.float64]:
    return np.array([np.nan if f.default is None else f.default for f in features], np.float64)


def _derive_plan(derived: Sequence[Derived], windowed: Mapping[str, int]) -> DerivePlan:
    """Concatenate the programs; the argument of FEATURE becomes the feature's row."""
    arguments = [
        windowed[d.expression.features[int(argument)]] if op == codes.Op.FEATURE else argument
        for d in derived
        for op, argument in zip(d.expression.ops, d.expression.arguments, strict=True)
    ]
    return DerivePlan(
        np.array([op for d in derived for op in d.expression.ops], np.int64),
        np.array(arguments, np.float64),
        np.cumsum([0, *(len(d.expression.ops) for d in derived)], dtype=np.int64),
        _defaults(derived),
    )
