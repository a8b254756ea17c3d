"""One read on its way: resolved into commands, and its replies folded into a table."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from featsvc_kernels.fold import derive, fold
from featsvc_kernels.fold_codes import PLAN_COLUMNS
from numpy.typing import NDArray

from featsvc.accounts.definitions import Definitions, Feature
from featsvc.accounts.events import EntityRef, check_id
from featsvc.accounts.link import Command, Reply
from featsvc.accounts.plan import ReadPlan, read_plan
from featsvc.accounts.table import FeatureStatus, FeatureTable, Selection
from featsvc.accounts.toml_source import did_you_mean
from featsvc.errors import DataCorrupt, InvalidInput

MAX_ENTITIES_READ = 1000
MAX_NAMES = 1024
_MAX_CACHED_PLANS = 512


class ReadPlans:
    """Selections resolved so far, so that no name is looked up twice."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._names: dict[tuple[Selection, tuple[str, ...]], tuple[str, ...]] = {}
        self._plans: dict[tuple[tuple[str, ...], str], ReadPlan] = {}

    def names(self, selection: Selection, kinds: tuple[str, ...]) -> tuple[str, ...]:
        """The features of a selection; where it is empty, all those of the `kinds` of entity.

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
        if not selection.names and not selection.set:
            return tuple(name for name in known if defined.entity_of(name) in kinds)
        if selection.names and selection.set:
            raise InvalidInput("selection: give features or a set, not both", field="selection")
        if selection.set:
            if selection.set not in defined.sets:
                hint = did_you_mean(selection.set[:64], defined.sets)
                raise InvalidInput(
                    f"selection.set: unknown set {selection.set[:64]!r}{hint}",
                    reason="UNKNOWN_FEATURE_SET",
                    field="selection.set",
                )
            return defined.sets[selection.set]
        if len(selection.names) > MAX_NAMES:
            raise InvalidInput(
                f"selection.features: {len(selection.names)} names, at most {MAX_NAMES}",
                field="selection.features",
            )
        for name in selection.names:
            if name not in defined.features and name not in defined.derived:
                hint = did_you_mean(name[:64], known)
                raise InvalidInput(
                    f"selection.features: unknown feature {name[:64]!r}{hint}",
                    reason="UNKNOWN_FEATURE",
                    field="selection.features",
                )
        return selection.names

    def plan(self, names: tuple[str, ...], entity: str) -> ReadPlan:
        """The plan of `names`, which names() gave, for one kind of entity."""
        plan = self._plans.get((names, entity))
        if plan is None:
            plan = read_plan(self._definitions, entity, names)
            if len(self._plans) >= _MAX_CACHED_PLANS:
                self._plans.clear()
            self._plans[names, entity] = plan
        return plan


def check_entities(entities: Sequence[EntityRef], known: Collection[str]) -> None:
    """Raises InvalidInput, naming the entity, where it cannot be read."""
    if not 1 <= len(entities) <= MAX_ENTITIES_READ:
        raise InvalidInput(
            f"entities: {len(entities)} given, 1 to {MAX_ENTITIES_READ} are allowed",
            field="entities",
        )
    for i, ref in enumerate(entities):
        if ref.entity not in known:
            raise InvalidInput(
                f"entities[{i}].entity: unknown entity {ref.entity[:64]!r}"
                + did_you_mean(ref.entity[:64], known),
                reason="UNKNOWN_ENTITY",
                field=f"entities[{i}].entity",
            )
        check_id(ref.id, f"entities[{i}].id")


@dataclass(frozen=True, slots=True)
class _Group:
    """The entities of one kind: their places in the request, and how they are read."""

    plan: ReadPlan
    places: list[int]


class FeatureRead:
    """`keys` and `commands` go out together; fold() takes their replies, table() gives the rest."""

    def __init__(
        self,
        plans: ReadPlans,
        entities: Sequence[EntityRef],
        selection: Selection,
        as_of_ms: int,
    ) -> None:
        """Of entities that check_entities() let through. Raises InvalidInput: the selection."""
        places: dict[str, list[int]] = {}
        for i, ref in enumerate(entities):
            places.setdefault(ref.entity, []).append(i)
        self.as_of_ms = as_of_ms
        self.names = plans.names(selection, tuple(places))
        self._size = len(entities)
        self._groups = [_Group(plans.plan(self.names, entity), at) for entity, at in places.items()]
        self._folded: list[FeatureTable] = []
        self._entity_keys: dict[int, bytes] = {}
        self.commands: list[Command] = []
        for group in self._groups:
            for i in group.places:
                key, command = group.plan.command(entities[i].id)
                self._entity_keys[i] = key
                self.commands.append(command)

    @property
    def keys(self) -> list[bytes]:
        """One a command."""
        return list(self._entity_keys.values())

    def fold(self, replies: Sequence[Reply]) -> None:
        """Take replies in the order of `commands`, none of them an error."""
        at = 0
        for group in self._groups:
            size = len(group.places)
            self._folded.append(_fold_group(group.plan, replies[at : at + size], self.as_of_ms))
            at += size

    def sketches(self) -> list["Sketch"]:
        """Distinct counts that passed their exact cap: each is one PFCOUNT more."""
        found = []
        for group, folded in zip(self._groups, self._folded, strict=True):
            for row, feature in group.plan.distinct:
                for column in np.flatnonzero(folded.statuses[row] == FeatureStatus.SATURATED):
                    key = self._entity_keys[group.places[column]]
                    found.append(
                        Sketch(key, feature, self.as_of_ms, folded.values[row], int(column))
                    )
        return found

    def table(self) -> FeatureTable:
        """Derived features computed, columns and rows in the order of the request."""
        for group, folded in zip(self._groups, self._folded, strict=True):
            plan = group.plan
            if len(plan.derive_defaults):
                derive(
                    plan.derive_ops, plan.derive_arguments, plan.derive_starts,
                    plan.derive_defaults, plan.windowed, folded.values, folded.statuses,
                )  # fmt: skip
        values = np.empty((len(self.names), self._size))
        statuses = np.empty(values.shape, np.uint8)
        freshness_ms = np.empty(self._size, np.int64)
        for group, folded in zip(self._groups, self._folded, strict=True):
            rows = group.plan.rows
            # All entities are of one kind more often than not: no need to sort them in.
            places = slice(None) if len(self._groups) == 1 else group.places
            values[:, places] = folded.values[rows]
            statuses[:, places] = folded.statuses[rows]
            freshness_ms[places] = folded.freshness_ms
        return FeatureTable(self.names, values, statuses, freshness_ms, self.as_of_ms)


class Sketch:
    """One distinct count that is to be estimated, and the cell it goes to."""

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

    def settle(self, reply: Reply) -> None:
        """The members that are still listed are a lower bound."""
        self._row[self._column] = max(self._row[self._column], cast(int, reply))


def _fold_group(plan: ReadPlan, replies: Sequence[Reply], as_of_ms: int) -> FeatureTable:
    """All rows of the plan, and one that holds none; derived features are left for later."""
    parts = [part or b"" for reply in replies for part in cast(list[bytes | None], reply)]
    packed = b"".join(parts)
    if len(packed) & 3:
        raise _not_ours(plan)
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    words = np.frombuffer(packed, "<u4")
    values = np.empty((plan.windowed + len(plan.derive_defaults) + 1, len(replies)))
    statuses = np.empty(values.shape, np.uint8)
    values[-1], statuses[-1] = np.nan, FeatureStatus.NOT_FOUND
    freshness_ms = np.empty(len(replies), np.int64)
    if not fold(
        words, lengths, plan.folding, plan.defaults, as_of_ms,
        values[: plan.windowed], statuses[: plan.windowed], freshness_ms,
    ):  # fmt: skip
        raise _not_ours(plan)
    return FeatureTable((), values, statuses, freshness_ms, as_of_ms)


def _not_ours(plan: ReadPlan) -> DataCorrupt:
    return DataCorrupt(
        f"Redis: the state of an entity of kind {plan.entity!r} is not ours; is the namespace "
        "shared with something else?"
    )


def warm() -> None:
    """Load the kernels, so that the first read does not wait for them."""
    nothing = np.zeros(0, np.int64)
    empty = np.zeros((0, 0)), np.zeros((0, 0), np.uint8)
    fold(
        np.zeros(0, np.uint32),
        nothing,
        np.zeros((0, PLAN_COLUMNS), np.int64),
        np.zeros(0),
        0,
        *empty,
        nothing,
    )
    derive(nothing, np.zeros(0), np.zeros(1, np.int64), np.zeros(0), 0, *empty)
