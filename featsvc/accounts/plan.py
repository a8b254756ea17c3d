"""Definitions compiled for speed: what an event updates, what a selection reads.

Names are resolved here, once, never per call.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from featsvc_kernels import fold_codes as codes
from numpy.typing import NDArray

from featsvc.accounts.definitions import Definitions, Derived, Feature, State
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
from featsvc.accounts.link import Command
from featsvc.errors import InvalidInput

_AGGREGATION_CODES = {
    "count": codes.COUNT,
    "sum": codes.SUM,
    "mean": codes.MEAN,
    "stddev": codes.STDDEV,
    "min": codes.MIN,
    "max": codes.MAX,
    "first": codes.FIRST,
    "last": codes.LAST,
    "age_of_first": codes.AGE_OF_FIRST,
    "age_of_last": codes.AGE_OF_LAST,
    "distinct": codes.DISTINCT,
}
_LIST_LETTER = "u"
_FOR_EVER_MS = 2**53


def entity_key(definitions: Definitions, entity: str, entity_id: str) -> bytes:
    """The hash that holds an entity."""
    return entity_key_prefix(definitions.namespace, entity) + encode_id(entity_id) + KEY_SUFFIX


Update = int | float | bytes


class StateReader:
    """Takes one state's value out of an event. `rings` are those its features' windows need."""

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
        """The value to merge, None where the event does not concern this state.

        Raises InvalidInput where the attribute is of the wrong type.
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
                f"attributes.{state.value}: must be a number, {self._example} computes with it",
                field=f"attributes.{state.value}",
            )
        return float(value)


def _member(value: Attribute) -> str:
    """The text that stands for a distinct value: 1 and 1.0 are the same, 1 and "1" are not."""
    if isinstance(value, str):
        return f"s{value}"
    return f"b{value}" if isinstance(value, bool) else f"n{float(value)!r}"


class IngestPlan:
    """What events do to one kind of entity."""

    def __init__(self, definitions: Definitions, entity: str) -> None:
        by_state: dict[State, list[Feature]] = {}
        for feature in definitions.features.values():
            if feature.entity == entity:
                by_state.setdefault(feature.state, []).append(feature)
        self.field = definitions.entities[entity]
        self._readers: dict[str, list[StateReader]] = {}
        for state, features in by_state.items():
            reader = StateReader(state, features, definitions)
            self._readers.setdefault(state.event, []).append(reader)
        self._ttl_ms = _time_to_live_ms([r for rs in self._readers.values() for r in rs])
        self._packed: dict[frozenset[str], tuple[bytes, dict[str, int]]] = {}

    def reads(self, event_type: str) -> bool:
        """Whether any feature of the entity reads this type."""
        return event_type in self._readers

    def updates(self, event: Event) -> list[Update | None]:
        """One value a state that reads the event's type. Raises InvalidInput."""
        return [reader.update(event) for reader in self._readers[event.type]]

    def packed(self, types: frozenset[str]) -> tuple[bytes, dict[str, int]]:
        """The plan for ingest.lua, and the number of each type's first state in it."""
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


def _longest_ms(features: Sequence[Feature]) -> int:
    """The longest window of a state's features; 0 where one is `lifetime`."""
    windows = [feature.window_ms for feature in features]
    return 0 if LIFETIME_MS in windows else max(windows)


def _time_to_live_ms(readers: Sequence[StateReader]) -> int:
    """Until the last bucket has left the longest window; 0 (for ever) with a lifetime feature."""
    spans = [ring.width_ms * (ring.buckets + 1) for reader in readers for ring in reader.rings]
    return 0 if not spans or 0 in spans else max(spans)


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """What one selection reads of one kind of entity.

    `rows` says in which row the kernels leave each feature of the selection; those of other kinds
    of entity are in the row after the last, which holds none.
    `fields` are those of the HMGET, whose values are the parts that `folding` refers to.
    `distinct` pairs the row of each distinct feature with its definition.
    """

    entity: str
    key_prefix: bytes
    fields: tuple[bytes, ...]
    rows: NDArray[np.intp]
    folding: NDArray[np.int64]
    defaults: NDArray[np.float64]
    derive_ops: NDArray[np.int64]
    derive_arguments: NDArray[np.float64]
    derive_starts: NDArray[np.int64]
    derive_defaults: NDArray[np.float64]
    distinct: tuple[tuple[int, Feature], ...]

    @property
    def windowed(self) -> int:
        """Rows of windowed features; those of derived ones follow."""
        return len(self.folding)

    def command(self, entity_id: str) -> tuple[bytes, Command]:
        """Key and HMGET of one entity."""
        key = self.key_prefix + encode_id(entity_id) + KEY_SUFFIX
        return key, ("HMGET", key, *self.fields)


def read_plan(definitions: Definitions, entity: str, names: Sequence[str]) -> ReadPlan:
    """Plan the features among `names` that belong to `entity`; all names must be known."""
    own = [name for name in names if definitions.entity_of(name) == entity]
    derived = [definitions.derived[name] for name in own if name in definitions.derived]
    windowed: dict[str, int] = {}
    for name in own:
        if name in definitions.features:
            windowed.setdefault(name, len(windowed))
    for one in derived:
        for name in one.expression.features:
            windowed.setdefault(name, len(windowed))
    features = [definitions.features[name] for name in windowed]
    kept_ms = _kept_ms(definitions)
    parts = {META_FIELD: codes.META_PART}
    folding = np.zeros((len(features), codes.PLAN_COLUMNS), np.int64)
    for row, feature in enumerate(features):
        distinct = feature.aggregation == "distinct"
        letter = _LIST_LETTER if distinct else feature.ring.letter
        part = parts.setdefault((feature.state.digest + letter).encode(), len(parts))
        width_ms, buckets = feature.ring.width_ms, feature.ring.buckets
        if distinct and width_ms:  # a list of exact times, which reaches back its longest window
            width_ms, buckets = 1, kept_ms[feature.state] + 1
        folding[row, codes.PART] = part
        folding[row, codes.AGGREGATION] = _AGGREGATION_CODES[feature.aggregation]
        folding[row, codes.WIDTH_MS] = width_ms
        folding[row, codes.BUCKETS] = buckets
        folding[row, codes.WINDOW_MS] = feature.window_ms
        folding[row, codes.MAX_AGE_MS] = feature.max_age_ms
    rows = {**windowed, **{one.name: len(windowed) + i for i, one in enumerate(derived)}}
    return ReadPlan(
        entity=entity,
        key_prefix=entity_key_prefix(definitions.namespace, entity),
        fields=tuple(parts),
        rows=np.array([rows.get(name, len(rows)) for name in names], np.intp),
        folding=folding,
        defaults=_defaults(features),
        derive_ops=np.array([op for one in derived for op in one.expression.ops], np.int64),
        derive_arguments=_derive_arguments(derived, windowed),
        derive_starts=np.cumsum([0, *(len(one.expression.ops) for one in derived)], dtype=np.int64),
        derive_defaults=_defaults(derived),
        distinct=tuple((i, f) for i, f in enumerate(features) if f.aggregation == "distinct"),
    )


def _kept_ms(definitions: Definitions) -> dict[State, int]:
    """How far back the list of each distinct state reaches."""
    by_state: dict[State, list[Feature]] = {}
    for feature in definitions.features.values():
        if feature.aggregation == "distinct":
            by_state.setdefault(feature.state, []).append(feature)
    return {s: _longest_ms(fs) or _FOR_EVER_MS for s, fs in by_state.items()}


def _defaults(features: Sequence[Feature | Derived]) -> NDArray[np.float64]:
    return np.array([np.nan if f.default is None else f.default for f in features], np.float64)


def _derive_arguments(
    derived: Sequence[Derived], windowed: Mapping[str, int]
) -> NDArray[np.float64]:
    """Constants as they are; the index of a feature becomes its row."""
    arguments = []
    for one in derived:
        expression = one.expression
        for op, argument in zip(expression.ops, expression.arguments, strict=True):
            is_feature = op == codes.Op.FEATURE
            arguments.append(
                windowed[expression.features[int(argument)]] if is_feature else argument
            )
    return np.array(arguments, np.float64)
