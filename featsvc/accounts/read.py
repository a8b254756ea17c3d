"""Reads: check a request, resolve its selection into plans, and fold replies."""

from collections.abc import Collection, Sequence
from itertools import chain
from operator import length_hint
from typing import cast

import numpy as np
from featsvc_kernels.fold import derive, fold
from featsvc_kernels.fold_codes import PLAN_COLUMNS

from featsvc.accounts.definitions import Definitions
from featsvc.accounts.events import EntityRef, check_id, too_many
from featsvc.accounts.names import unknown
from featsvc.accounts.pipelining import Reply
from featsvc.accounts.read_plan import CompleteSince, ReadPlan, read_plan
from featsvc.accounts.table import FeatureTable, Selection
from featsvc.errors import InvalidInput

MAX_ENTITIES_READ = 1000
MAX_NAMES = 1024
_MAX_CACHED_PLANS = 512


class ReadPlans:
    """Cache of resolved selections, so that names are looked up once."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._names: dict[tuple[Selection, tuple[str, ...]], tuple[str, ...]] = {}
        self._plans: dict[tuple[tuple[str, ...], str], ReadPlan] = {}
        self._complete_since: CompleteSince = {}

    def set_complete_since(self, complete_since: CompleteSince) -> None:
        """Say since when each feature is complete, 0 where nothing is said: plans are made anew."""
        if complete_since != self._complete_since:
            self._complete_since = dict(complete_since)
            self._plans.clear()

    def names(self, selection: Selection, kinds: tuple[str, ...]) -> tuple[str, ...]:
        """Return the features of a selection; an empty one selects all of the `kinds` of entity.

        Raises InvalidInput for an unknown feature or set.
        """
        key = (selection, () if selection.names or selection.set else kinds)
        names = self._names.get(key)
        if names is None:
            names = self._resolve(selection, kinds)
            if len(self._names) >= _MAX_CACHED_PLANS:
                self._names.clear()
            self._names[key] = names
        return names

    def _resolve(self, selection: Selection, kinds: tuple[str, ...]) -> tuple[str, ...]:
        defined = self._definitions
        known = (*defined.features, *defined.derived)
        if selection.set:
            if selection.set not in defined.sets:
                raise InvalidInput(
                    f"selection.set: {unknown('set', selection.set, defined.sets)}",
                    reason="UNKNOWN_FEATURE_SET",
                    field="selection.set",
                )
            return defined.sets[selection.set]
        if not selection.names:
            return tuple(name for name in known if defined.entity_of(name) in kinds)
        if len(selection.names) > MAX_NAMES:
            raise too_many("selection.features", len(selection.names), MAX_NAMES)
        for name in selection.names:
            if name not in defined.features and name not in defined.derived:
                raise InvalidInput(
                    f"selection.features: {unknown('feature', name, known)}",
                    reason="UNKNOWN_FEATURE",
                    field="selection.features",
                )
        return selection.names

    def plan(self, names: tuple[str, ...], entity: str) -> ReadPlan:
        """Return the plan of `names`, a result of names(), for one kind of entity."""
        plan = self._plans.get((names, entity))
        if plan is None:
            plan = read_plan(self._definitions, entity, names, self._complete_since)
            if len(self._plans) >= _MAX_CACHED_PLANS:
                self._plans.clear()
            self._plans[names, entity] = plan
        return plan


def check_entities(entities: Sequence[EntityRef], known: Collection[str]) -> None:
    """Raise InvalidInput, naming the entity, for an entity that cannot be read."""
    if not 1 <= len(entities) <= MAX_ENTITIES_READ:
        raise InvalidInput(
            f"entities: {len(entities)} given, 1 to {MAX_ENTITIES_READ} are allowed",
            field="entities",
        )
    for i, ref in enumerate(entities):
        if ref.entity not in known:
            raise unknown_entity(ref, known, f"entities[{i}]")
        check_id(ref.id, f"entities[{i}].id")


def unknown_entity(ref: EntityRef, known: Collection[str], field: str) -> InvalidInput:
    """Return the error for a kind of entity that the definitions do not have."""
    field = f"{field}.entity"
    message = f"{field}: {unknown('entity', ref.entity, known)}"
    return InvalidInput(message, reason="UNKNOWN_ENTITY", field=field)


def fold_replies(
    plan: ReadPlan, replies: Sequence[Reply], table: FeatureTable, *, is_live: bool
) -> None:
    """Fold the replies to the HMGETs of E entities into the plan's W windowed rows, (W, E)."""
    # Millions of parts a second: each step below is one call into C for all of them.
    parts = list(chain.from_iterable(cast(Sequence[list[bytes | None]], replies)))
    lengths = np.fromiter(map(length_hint, parts), np.int64, len(parts))  # 0 for None
    packed = b"".join(filter(None, parts))
    outputs = table.values, table.statuses, table.freshness_ms
    settings = plan.folding, plan.defaults, table.as_of_ms, is_live, plan.born_part
    if len(packed) % 4 or not fold(np.frombuffer(packed, "<u4"), lengths, *settings, *outputs):
        # A part that is not whole words: that of a damaged entity.
        packed = b"".join([part + bytes(-len(part) % 4) for part in parts if part])
        fold(np.frombuffer(packed, "<u4"), lengths, *settings, *outputs)


def warm() -> None:
    """Load the kernels, so that the first read does not wait for them."""
    nothing = np.zeros(0, np.int64)
    table = np.zeros((0, 0)), np.zeros((0, 0), np.uint8)
    folding = np.zeros((0, PLAN_COLUMNS), np.int64)
    fold(np.zeros(0, np.uint32), nothing, folding, np.zeros(0), 0, False, -1, *table, nothing)
    derive(nothing, np.zeros(0), np.zeros(1, np.int64), np.zeros(0), 0, *table)
