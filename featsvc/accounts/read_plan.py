"""Definitions compiled for reading: what a selection fetches, and how it is folded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from featsvc_kernels import fold_codes as codes
from numpy.typing import NDArray

from featsvc.accounts.definitions import AGGREGATIONS, Definitions, Derived, Feature
from featsvc.accounts.ingest_plan import by_state, longest_ms
from featsvc.accounts.layout import (
    KEY_SUFFIX,
    META_FIELD,
    StateKind,
    encode_id,
    entity_key_prefix,
)
from featsvc.accounts.pipelining import Command, Reply

_BORN_FIELD = b"n"
_LIST_LETTER = "u"
_FOREVER_MS = 2**53
_NO_META = b"\0"
"""Too short to be a meta record."""


class DerivePlan(NamedTuple):
    """The first arguments of `derive`: the programs of the derived features and their defaults."""

    ops: NDArray[np.int64]
    arguments: NDArray[np.float64]
    starts: NDArray[np.int64]
    defaults: NDArray[np.float64]


CompleteSince = Mapping[str, int]
"""Windowed feature -> since when, in Unix ms, every event counts for it; 0 where it is absent."""


@dataclass(frozen=True, slots=True)
class DistinctRing:
    """The distinct counts of a state that share a ring, and so the sketches of its buckets.

    `list_part` and `index_part` are the parts of its members and of the numbers of its sketches,
    whose fields are `stem`#<bucket>. `rows` pairs the row of each feature with its window in ms, in
    ascending order of windows.
    """

    list_part: int
    index_part: int
    stem: bytes
    width_ms: int
    rows: tuple[tuple[int, int], ...]

    def buckets(self, window_ms: int, as_of_ms: int) -> tuple[int, int]:
        """Return the first and the last bucket of a window."""
        if not self.width_ms:
            return 0, 0
        return (as_of_ms - window_ms) // self.width_ms, as_of_ms // self.width_ms


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """The part of a selection that one kind of entity has.

    The kernels compute W windowed features into rows 0 .. W - 1 and the derived ones into the rows
    after them. `rows` (F,) holds the row of each feature of the selection, None if that is its
    position; features of other kinds of entity share the row after the last, which has no values.
    `fields` are the fields of the HMGET, whose values are the parts that `folding`
    (W, PLAN_COLUMNS) refers to; `born_part` is -1 where no feature needs it.
    """

    key_prefix: bytes
    fields: tuple[bytes, ...]
    born_part: int
    rows: NDArray[np.intp] | None
    folding: NDArray[np.int64]
    defaults: NDArray[np.float64]
    derived: DerivePlan
    distinct: tuple[DistinctRing, ...]

    @property
    def damaged_reply(self) -> list[Reply]:
        """What stands for the reply of an entity that has no hash: `fold` says DAMAGED."""
        return [_NO_META, *[None] * (len(self.fields) - 1)]

    def command(self, entity_id: str) -> tuple[bytes, Command]:
        """Return the key and the HMGET of one entity."""
        key = self.key_prefix + encode_id(entity_id) + KEY_SUFFIX
        return key, ("HMGET", key, *self.fields)


def read_plan(
    definitions: Definitions,
    entity: str,
    names: Sequence[str],
    complete_since: CompleteSince = MappingProxyType({}),
) -> ReadPlan:
    """Plan the features in `names` that belong to `entity`; all names must be known."""
    own = [name for name in names if definitions.entity_of(name) == entity]
    derived = [definitions.derived[name] for name in own if name in definitions.derived]
    needed = [name for name in own if name in definitions.features]
    needed += [name for feature in derived for name in feature.expression.features]
    windowed = {name: row for row, name in enumerate(dict.fromkeys(needed))}
    features = [definitions.features[name] for name in windowed]
    since_ms = [complete_since.get(feature.name, 0) for feature in features]
    parts = {META_FIELD: codes.META_PART}
    if any(since_ms):
        parts[_BORN_FIELD] = len(parts)
    longest = {state: longest_ms(same) for state, same in by_state(definitions).items()}
    folding = np.array(
        [
            _row(feature, longest[feature.state], since, parts)
            for feature, since in zip(features, since_ms, strict=True)
        ],
        np.int64,
    ).reshape(len(features), codes.PLAN_COLUMNS)
    distinct = _distinct_rings(features, parts)
    rows = {**windowed, **{d.name: row for row, d in enumerate(derived, len(windowed))}}
    order = np.array([rows.get(name, len(rows)) for name in names], np.intp)
    is_ordered = len(rows) == len(names) and bool((order == np.arange(len(rows))).all())
    return ReadPlan(
        key_prefix=entity_key_prefix(definitions.namespace, entity),
        fields=tuple(parts),
        born_part=parts.get(_BORN_FIELD, -1),
        rows=None if is_ordered else order,
        folding=folding,
        defaults=_defaults(features),
        derived=_derive_plan(derived, windowed),
        distinct=distinct,
    )


def _row(
    feature: Feature, longest_window_ms: int, complete_since_ms: int, parts: dict[bytes, int]
) -> list[int]:
    """Return the feature's row of `folding`; adds the fields that it needs to `parts`."""

    def part(suffix: str) -> int:
        return parts.setdefault((feature.state.digest + suffix).encode(), len(parts))

    ring = feature.ring
    width_ms, buckets, letter = ring.width_ms, ring.buckets, ring.letter
    if feature.state.kind is StateKind.DISTINCT:
        letter = _LIST_LETTER
        if width_ms:  # a list of exact times that covers the state's longest window
            width_ms, buckets = 1, (longest_window_ms or _FOREVER_MS) + 1
    row = [0] * codes.PLAN_COLUMNS
    row[codes.PART] = part(letter)
    row[codes.AGGREGATION] = AGGREGATIONS[feature.aggregation].code
    row[codes.WIDTH_MS] = width_ms
    row[codes.BUCKETS] = buckets
    row[codes.WINDOW_MS] = feature.window_ms
    row[codes.MAX_AGE_MS] = feature.max_age_ms
    if feature.state.kind in (StateKind.SUM, StateKind.MOMENTS):
        row[codes.COMPANION] = part(letter.upper())
    row[codes.COMPLETE_SINCE_MS] = complete_since_ms
    return row


def _distinct_rings(
    features: Sequence[Feature], parts: dict[bytes, int]
) -> tuple[DistinctRing, ...]:
    """Return the rings of the distinct counts; adds the fields of their indices to `parts`."""
    rows: dict[tuple[str, str], list[tuple[int, int]]] = {}
    widths = {}
    for row, feature in enumerate(features):
        if feature.state.kind is StateKind.DISTINCT:
            key = feature.state.digest, feature.ring.letter
            rows.setdefault(key, []).append((row, feature.window_ms))
            widths[key] = feature.ring.width_ms
    return tuple(
        DistinctRing(
            list_part=parts[(digest + _LIST_LETTER).encode()],
            index_part=parts.setdefault(f"{digest}{letter}#".encode(), len(parts)),
            stem=f"{digest}{letter}".encode(),
            width_ms=widths[digest, letter],
            rows=tuple(sorted(same, key=itemgetter(1))),
        )
        for (digest, letter), same in rows.items()
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
