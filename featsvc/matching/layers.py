"""The index as it grows: a base, thinner and thinner layers of what came since, and tombstones.

Every change of the store adds one layer. Two neighbours are joined when the newer one has come to
a quarter of the older one's size, so that there are O(log n) layers and an entry is copied
O(log n) times; the base is left alone. Nothing is changed in place: a snapshot keeps the layers
that it was made from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import Bank
from featsvc.banks.sql.stored import SignalRow
from featsvc.matching.part_search import PartView
from featsvc.matching.parts import Part, build_part
from featsvc.matching.segments import Segment
from featsvc.matching.snapshot import AlgorithmStatus

_GROWTH = 4
_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Layer:
    """A part and the rows of its entries that were withdrawn since, ascending.

    `rows` is what it was built from, so that it can be joined to another; none for the base.
    """

    part: Part
    rows: tuple[SignalRow, ...]
    entries: tuple[tuple[str, int], ...]
    """Algorithm -> entries that have a signal of it, withdrawn ones included."""
    dead: NDArray[np.int64]

    @classmethod
    def of(cls, part: Part, rows: tuple[SignalRow, ...] = ()) -> "Layer":
        counts = tuple(
            (name, int(np.count_nonzero(np.diff(index.entry, prepend=np.uint32(2**32 - 1)))))
            for name, index in part.indexes.items()
        )
        return cls(part, rows, counts, _NO_ROWS)

    def without(self, versions: Sequence[int]) -> "Layer":
        """The same with these versions withdrawn, where it has them."""
        gone = self.part.rows_of(versions)
        return replace(self, dead=np.union1d(self.dead, gone)) if len(gone) else self

    def live_rows(self) -> Iterable[SignalRow]:
        dead = set(self.part.entries.version[self.dead].tolist())
        return (row for row in self.rows if row.version not in dead)

    def dead_signals(self, algorithm: str) -> tuple[int, int]:
        """Signals and entries of the algorithm that are withdrawn."""
        index = self.part.indexes.get(algorithm)
        if index is None or not len(self.dead):
            return 0, 0
        counts = np.searchsorted(index.entry, self.dead, "right") - np.searchsorted(
            index.entry, self.dead, "left"
        )
        return int(counts.sum()), int(np.count_nonzero(counts))


@dataclass(frozen=True, slots=True)
class Layers:
    """The base (a segment, or read from the store) and what came since."""

    base: Layer
    segment: Segment | None
    built_at: datetime
    newer: tuple[Layer, ...] = ()

    @classmethod
    def on_segment(cls, segment: Segment) -> "Layers":
        base = Layer.of(segment.part)
        return cls(base, segment, datetime.now(UTC))

    @classmethod
    def on_rows(cls, rows: Iterable[SignalRow]) -> "Layers":
        return cls(Layer.of(build_part(rows)), None, datetime.now(UTC))

    @property
    def delta_signals(self) -> int:
        """Signals outside the base, withdrawn ones included."""
        return sum(len(index.entry) for la in self.newer for index in la.part.indexes.values())

    def advance(self, added: Iterable[SignalRow], removed: Sequence[int]) -> "Layers":
        """With these signals added and these versions withdrawn."""
        base = self.base.without(removed) if removed else self.base
        newer = [layer.without(removed) for layer in self.newer] if removed else list(self.newer)
        if rows := tuple(added):
            newer.append(Layer.of(build_part(rows), rows))
        while len(newer) > 1 and len(newer[-1].rows) * _GROWTH > len(newer[-2].rows):
            second, first = newer.pop(), newer.pop()
            # Versions ascend from layer to layer, as `build_part` wants them.
            joined = (*first.live_rows(), *second.live_rows())
            if joined:
                newer.append(Layer.of(build_part(joined), joined))
        return replace(self, base=base, newer=tuple(newer))

    def searched(self, banks: Sequence[Bank]) -> tuple[PartView, ...]:
        return tuple(PartView.of(la.part, la.dead, banks) for la in (self.base, *self.newer))

    def status(self) -> tuple[AlgorithmStatus, ...]:
        """Per algorithm, by name."""
        layers = (self.base, *self.newer)
        names = sorted({name for layer in layers for name in layer.part.indexes})
        return tuple(self._status(name, layers) for name in names)

    def _status(self, name: str, layers: Sequence[Layer]) -> AlgorithmStatus:
        signals = [
            len(la.part.indexes[name].entry) if name in la.part.indexes else 0 for la in layers
        ]
        entries = sum(dict(layer.entries).get(name, 0) for layer in layers)
        dead = [layer.dead_signals(name) for layer in layers]
        dead_signals = sum(count for count, _ in dead)
        index = next(la.part.indexes[name] for la in layers if name in la.part.indexes)
        return AlgorithmStatus(
            algorithm=name,
            entries=entries - sum(count for _, count in dead),
            signals=sum(signals) - dead_signals,
            engine=index.engine.name,
            segment_revision=self.segment.revision if self.segment else 0,
            delta_signals=sum(signals[1:]),
            withdrawn_signals=dead_signals,
            bytes_mapped=self.segment.bytes_mapped.get(name, 0) if self.segment else 0,
            built_at=self.built_at,
        )
