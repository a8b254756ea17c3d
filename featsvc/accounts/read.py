"""Reads: resolve a selection into commands, and fold the replies into a table."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from featsvc_kernels.fold import derive, fold
from featsvc_kernels.fold_codes import PLAN_COLUMNS
from numpy.typing import NDArray

from featsvc.accounts.definitions import Definitions, Feature
from featsvc.accounts.events import EntityRef, check_id, too_many
from featsvc.accounts.names import unknown
from featsvc.accounts.pipelining import Command, Reply
from featsvc.accounts.read_plan import ReadPlan, read_plan
from featsvc.accounts.table import FeatureStatus, FeatureTable, Selection
from featsvc.errors import DataCorrupt, InvalidInput

MAX_ENTITIES_READ = 1000
MAX_NAMES = 1024
_MAX_CACHED_PLANS = 512


class ReadPlans:
    """Cache of resolved selections, so that names are looked up once."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._names: dict[tuple[Selection, tuple[str, ...]], tuple[str, ...]] = {}
        self._plans: dict[tuple[tuple[str, ...], str], ReadPlan] = {}

    def set_complete_since(self, complete_since: Mapping[str, int]) -> None:
        """Set the Unix ms since when each windowed feature is complete; 0 is for ever."""
        self._complete_since = complete_since

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
            plan = read_plan(self._definitions, entity, names)
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


@dataclass(frozen=True, slots=True)
class _EntityGroup:
    """The entities of one kind in a request; `first` is the index of their first command."""

    plan: ReadPlan
    positions: list[int]
    first: int


class FeatureRead:
    """One read: send `commands` with `keys`, pass the replies to fold(), then call table()."""

    def __init__(
        self,
        plans: ReadPlans,
        entities: Sequence[EntityRef],
        selection: Selection,
        as_of_ms: int,
    ) -> None:
        """Plan a read of entities that passed check_entities(). Raises InvalidInput."""
        by_kind: dict[str, list[int]] = {}
        for i, ref in enumerate(entities):
            by_kind.setdefault(ref.entity, []).append(i)
        self.as_of_ms = as_of_ms
        self.names = plans.names(selection, tuple(by_kind))
        self.keys: list[bytes] = []
        self.commands: list[Command] = []
        self._size = len(entities)
        self._groups: list[_EntityGroup] = []
        self._folded: list[FeatureTable] = []
        for entity, positions in by_kind.items():
            plan = plans.plan(self.names, entity)
            self._groups.append(_EntityGroup(plan, positions, len(self.keys)))
            for i in positions:
                key, command = plan.command(entities[i].id)
                self.keys.append(key)
                self.commands.append(command)

    def fold(self, replies: Sequence[Reply]) -> None:
        """Fold the replies to `commands`, in their order and without errors."""
        for group in self._groups:
            own = replies[group.first : group.first + len(group.positions)]
            self._folded.append(_fold_group(group.plan, own, self.as_of_ms))

    def estimates(self) -> list["DistinctEstimate"]:
        """Return the distinct counts beyond their exact cap; each takes one more command."""
        return [
            DistinctEstimate(
                self.keys[group.first + column], feature, self.as_of_ms, folded.values[row], column
            )
            for group, folded in zip(self._groups, self._folded, strict=True)
            for row, feature in group.plan.distinct
            for column in np.flatnonzero(folded.statuses[row] == FeatureStatus.SATURATED).tolist()
        ]

    def table(self) -> FeatureTable:
        """Compute the derived features; return rows and columns in the order of the request."""
        values = np.empty((len(self.names), self._size))
        statuses = np.empty(values.shape, np.uint8)
        freshness_ms = np.empty(self._size, np.int64)
        for group, folded in zip(self._groups, self._folded, strict=True):
            plan = group.plan
            if len(plan.derived.defaults):
                derive(*plan.derived, len(plan.folding), folded.values, folded.statuses)
            # One kind of entity is the common case, which needs no scatter.
            columns = slice(None) if len(self._groups) == 1 else group.positions
            values[:, columns] = folded.values[plan.rows]
            statuses[:, columns] = folded.statuses[plan.rows]
            freshness_ms[columns] = folded.freshness_ms
        return FeatureTable(self.names, values, statuses, freshness_ms, self.as_of_ms)


class DistinctEstimate:
    """One distinct count to estimate with HyperLogLogs, and its cell in a table."""

    def __init__(
        self, key: bytes, feature: Feature, as_of_ms: int, row: NDArray[np.float64], column: int
    ) -> None:
        self.key = key
        self._row = row
        self._column = column
        ring = feature.ring
        buckets = range(1)
        if ring.width_ms:
            oldest = (as_of_ms - feature.window_ms) // ring.width_ms
            buckets = range(oldest, as_of_ms // ring.width_ms + 1)
        stem = f":{feature.state.digest}{ring.letter}".encode()
        self.command: Command = ("PFCOUNT", *(key + stem + b"%d" % bucket for bucket in buckets))

    def store(self, reply: Reply) -> None:
        """Store the reply in the cell; the members still listed are a lower bound."""
        self._row[self._column] = max(self._row[self._column], cast(int, reply))


def _fold_group(plan: ReadPlan, replies: Sequence[Reply], as_of_ms: int) -> FeatureTable:
    """Fold all windowed rows of the plan; derived rows stay empty, the last row has no values."""
    parts = [part or b"" for reply in replies for part in cast(list[bytes | None], reply)]
    packed = b"".join(parts)
    windowed = len(plan.folding)
    values = np.empty((windowed + len(plan.derived.defaults) + 1, len(replies)))
    statuses = np.empty(values.shape, np.uint8)
    values[-1], statuses[-1] = np.nan, FeatureStatus.NOT_FOUND
    freshness_ms = np.empty(len(replies), np.int64)
    folded = len(packed) % 4 == 0 and fold(
        np.frombuffer(packed, "<u4"),
        np.fromiter(map(len, parts), np.int64, len(parts)),
        plan.folding,
        plan.defaults,
        as_of_ms,
        values[:windowed],
        statuses[:windowed],
        freshness_ms,
    )
    if not folded:
        raise DataCorrupt(
            f"Redis: the state of an entity of kind {plan.entity!r} was not written by featsvc; "
            "check that no other program uses the namespace"
        )
    return FeatureTable((), values, statuses, freshness_ms, as_of_ms)


def warm() -> None:
    """Load the kernels, so that the first read does not wait for them."""
    nothing = np.zeros(0, np.int64)
    table = np.zeros((0, 0)), np.zeros((0, 0), np.uint8)
    folding = np.zeros((0, PLAN_COLUMNS), np.int64)
    fold(np.zeros(0, np.uint32), nothing, folding, np.zeros(0), 0, *table, nothing)
    derive(nothing, np.zeros(0), np.zeros(1, np.int64), np.zeros(0), 0, *table)
