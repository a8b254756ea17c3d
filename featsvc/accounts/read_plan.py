"""Definitions compiled for reading: what a selection fetches, and how it is folded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from featsvc_kernels import fold_codes as codes
from numpy.typing import NDArray

from featsvc.accounts.definitions import AGGREGATIONS, Definitions, Derived, Feature
from featsvc.accounts.ingest_plan import by_state, longest_ms
from featsvc.accounts.layout import KEY_SUFFIX, META_FIELD, encode_id, entity_key_prefix
from featsvc.accounts.pipelining import Command

_LIST_LETTER = "u"
_FOREVER_MS = 2**53


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
    states = by_state(definitions)
    parts = {META_FIELD: codes.META_PART}
    folding = np.zeros((len(features), codes.PLAN_COLUMNS), np.int64)
    for row, feature in enumerate(features):
        distinct = feature.aggregation == "distinct"
        letter = _LIST_LETTER if distinct else feature.ring.letter
        part = parts.setdefault((feature.state.digest + letter).encode(), len(parts))
        width_ms, buckets = feature.ring.width_ms, feature.ring.buckets
        if distinct and width_ms:  # a list of exact times that covers the state's longest window
            kept_ms = longest_ms(states[feature.state]) or _FOREVER_MS
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
