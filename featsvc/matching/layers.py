"""The layers of a growing index: a base, ever smaller layers of later changes, and withdrawn rows.

Every change of the store adds one layer. Two neighbours are joined when the newer one exceeds a
quarter of the older one's size, so that there are O(log n) layers and an entry is copied O(log n)
times; the base is never joined. Nothing changes in place: a snapshot keeps the layers that it was
built from.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import Bank
from featsvc.banks.sql.stored import SignalRow
from featsvc.matching.agreement import BankCounts
from featsvc.matching.building import build_part
from featsvc.matching.holdings import PartHoldings, groups_of_rows
from featsvc.matching.part_search import PartView
from featsvc.matching.parts import Part
from featsvc.matching.segments import Segment
from featsvc.matching.set_aside import SetAside, SetAsideColumns, summed
from featsvc.matching.snapshot import AlgorithmStatus

_GROWTH = 4
_NO_ROWS = np.empty(0, np.int64)
_ANY_LENGTH: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Layer:
    """A part and the rows of its entries that were withdrawn since.

    - `rows`: the rows it was built from, which joining needs; empty for the base.
    - `holdings`: what the part holds, withdrawn entries included.
    - `counts`: its live entries and their signals.
    - `withdrawn`: rows of withdrawn entries, ascending.
    - `set_aside`: the signals of the part that are set aside, without those of withdrawn entries.
    """

    part: Part
    rows: tuple[SignalRow, ...]
    holdings: PartHoldings
    counts: BankCounts
    withdrawn: NDArray[np.int64]
    set_aside: SetAsideColumns

    @classmethod
    def of(cls, part: Part, rows: tuple[SignalRow, ...] = ()) -> "Layer":
        holdings = PartHoldings.of(part)
        counts = BankCounts.of(part, holdings)
        return cls(part, rows, holdings, counts, _NO_ROWS, part.set_aside)

    def without(self, versions: Sequence[int]) -> "Layer":
        """Return the layer with those of `versions` withdrawn that it has."""
        layer = self
        rows = np.setdiff1d(self.part.rows_of(versions), self.withdrawn)
        set_aside, aside_rows = self.set_aside.split(versions)
        if len(rows) or len(aside_rows):
            gone_counts = BankCounts.of_rows(self.part, rows, aside_rows)
            layer = replace(layer, counts=self.counts.without(gone_counts))
        if len(rows):
            layer = replace(layer, withdrawn=np.union1d(self.withdrawn, rows))
        if len(aside_rows):
            # The part has no row of a damaged entry, so `withdrawn` cannot name it.
            gone = frozenset(versions)
            kept = tuple(row for row in self.rows if row.version not in gone)
            layer = replace(layer, set_aside=set_aside, rows=kept)
        return layer

    def live_rows(self) -> Iterable[SignalRow]:
        withdrawn = set(self.part.entries.version[self.withdrawn].tolist())
        return (row for row in self.rows if row.version not in withdrawn)

    def entries(self, algorithm: str) -> int:
        """Return the number of entries with a signal of the algorithm, withdrawn ones included."""
        groups = self.holdings.groups.get(algorithm)
        return 0 if groups is None else int(groups.entries.sum())

    def withdrawn_counts(self, algorithm: str) -> tuple[int, int]:
        """Return the numbers of withdrawn signals and entries of the algorithm."""
        index = self.part.indexes.get(algorithm)
        if index is None or not len(self.withdrawn):
            return 0, 0
        groups = groups_of_rows(self.part, index, self.withdrawn)
        return int(groups.signals.sum()), int(groups.entries.sum())


@dataclass(frozen=True, slots=True)
class Layers:
    """The base (a segment, or all entries read from the store) and the later layers."""

    base: Layer
    segment: Segment | None
    built_at: datetime
    newer: tuple[Layer, ...] = ()

    @classmethod
    def on_segment(cls, segment: Segment) -> "Layers":
        return cls(Layer.of(segment.part), segment, datetime.now(UTC))

    @classmethod
    def on_rows(
        cls, rows: Iterable[SignalRow], dimensions: Mapping[str, int] = _ANY_LENGTH
    ) -> "Layers":
        """Build the base of rows; `dimensions` as in `build_part`."""
        part = build_part(rows, dimensions=dimensions)
        return cls(Layer.of(part), None, datetime.now(UTC))

    @property
    def delta_signals(self) -> int:
        """Signals outside the base, withdrawn ones included."""
        return sum(len(index.entry) for la in self.newer for index in la.part.indexes.values())

    def advance(
        self,
        added: Iterable[SignalRow],
        removed: Sequence[int],
        dimensions: Mapping[str, int] = _ANY_LENGTH,
    ) -> "Layers":
        """Return the layers with these signals added and these versions withdrawn.

        `dimensions` as in `build_part`.
        """
        base = self.base.without(removed) if removed else self.base
        newer = [layer.without(removed) for layer in self.newer] if removed else list(self.newer)
        if rows := tuple(added):
            newer.append(Layer.of(build_part(rows, dimensions=dimensions), rows))
        while len(newer) > 1 and len(newer[-1].rows) * _GROWTH > len(newer[-2].rows):
            second, first = newer.pop(), newer.pop()
            # Versions ascend from layer to layer, as `build_part` needs them.
            joined = (*first.live_rows(), *second.live_rows())
            if joined:
                newer.append(Layer.of(build_part(joined, dimensions=dimensions), joined))
        return replace(self, base=base, newer=tuple(newer))

    def views(self, banks: Sequence[Bank]) -> tuple[PartView, ...]:
        """Return the parts for a snapshot with these banks."""
        layers = (self.base, *self.newer)
        return tuple(
            PartView.of(la.part, la.withdrawn, banks, la.holdings, la.set_aside) for la in layers
        )

    def counts(self) -> BankCounts:
        """Return the live entries and their signals, by bank."""
        return BankCounts.total(layer.counts for layer in (self.base, *self.newer))

    def status(self) -> tuple[AlgorithmStatus, ...]:
        """Return the state of each algorithm, sorted by name."""
        layers = (self.base, *self.newer)
        names = sorted({name for layer in layers for name in layer.part.indexes})
        return tuple(self._status(name, layers) for name in names)

    def set_aside(self) -> tuple[SetAside, ...]:
        """Return the signals of live entries that are not searched, by algorithm and reason."""
        return summed(
            (la.set_aside, la.part.strings.banks, la.part.strings.causes)
            for la in (self.base, *self.newer)
        )

    def _status(self, name: str, layers: Sequence[Layer]) -> AlgorithmStatus:
        signals = [
            len(la.part.indexes[name].entry) if name in la.part.indexes else 0 for la in layers
        ]
        withdrawn = [layer.withdrawn_counts(name) for layer in layers]
        withdrawn_signals = sum(count for count, _ in withdrawn)
        withdrawn_entries = sum(count for _, count in withdrawn)
        index = next(la.part.indexes[name] for la in layers if name in la.part.indexes)
        return AlgorithmStatus(
            algorithm=name,
            entries=sum(layer.entries(name) for layer in layers) - withdrawn_entries,
            signals=sum(signals) - withdrawn_signals,
            engine=index.engine.name,
            segment_revision=self.segment.revision if self.segment else 0,
            delta_signals=sum(signals[1:]),
            withdrawn_signals=withdrawn_signals,
            bytes_mapped=self.segment.bytes_mapped.get(name, 0) if self.segment else 0,
            built_at=self.built_at,
        )
