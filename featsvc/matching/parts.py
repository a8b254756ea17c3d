"""Parts of an index: entries as columns, and for each algorithm their signals and an engine.

A segment is a part on disk, the delta is parts in memory; a snapshot searches all of them. A part
never changes: a list beside it has the rows of entries that were withdrawn later
(`part_search.PartView`).

Strings that many entries share (sources, label sets, variants, bank ids) are stored once. The row
of an entry takes 43 bytes and its external id, the row of a signal 8 bytes, without the engine's
arrays. `building` makes parts of rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featsvc.matching.engines import build_engine
from featsvc.matching.hits import Engine
from featsvc.matching.set_aside import SetAsideColumns
from featsvc.matching.values import Values, take
from featsvc.signals.algorithms import Algorithm

NEVER_US = np.iinfo(np.int64).max
QUARANTINED = 1
NEGATIVE = 2


@dataclass(frozen=True, slots=True)
class EntryColumns:
    """One row for each entry, ascending by `version`.

    `bank`, `source` and `labels` are indexes into the SharedStrings of the part. External id i is
    `names[name_ends[i - 1]:name_ends[i]]` (from 0 for the first), in UTF-8.
    """

    version: NDArray[np.int64]
    id: NDArray[np.int64]
    expire_us: NDArray[np.int64]
    name_ends: NDArray[np.int64]
    source: NDArray[np.uint32]
    labels: NDArray[np.uint32]
    bank: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    names: NDArray[np.uint8]

    def external_id(self, row: int) -> str:
        begin = int(self.name_ends[row - 1]) if row else 0
        return self.names[begin : int(self.name_ends[row])].tobytes().decode()


@dataclass(frozen=True, slots=True)
class SharedStrings:
    """The strings that rows refer to by index.

    `causes` are the algorithms, and the reasons, of signals that are set aside.
    """

    banks: tuple[str, ...]
    sources: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    variants: tuple[str, ...]
    causes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SignalIndex:
    """Signals of one algorithm, with the row of the entry and the index of the variant of each.

    `values` are uint8 (n, bytes), for vectors the bytes of float32 numbers; a RaggedArray where
    values may have any length.
    """

    kind: Algorithm
    values: Values
    entry: NDArray[np.uint32]
    variant: NDArray[np.uint32]
    engine: Engine


@dataclass(frozen=True, slots=True)
class Part:
    """Entries, the strings that they share, and a signal index for each algorithm by name.

    `set_aside` are the signals of its entries that no index holds.
    """

    entries: EntryColumns
    strings: SharedStrings
    indexes: Mapping[str, SignalIndex]
    set_aside: SetAsideColumns
    subsets: dict[tuple[str, str, tuple[str, ...]], tuple[NDArray[np.int64], Engine]] = field(
        default_factory=dict
    )
    """Engines that banks chose, built on first use."""

    def __len__(self) -> int:
        return len(self.entries.version)

    def rows_of(self, versions: Sequence[int]) -> NDArray[np.int64]:
        """Return the rows of those of `versions` that the part has."""
        ascending = np.array(sorted(versions), np.int64)
        at = np.searchsorted(self.entries.version, ascending)
        inside = at < len(self)
        rows = at[inside].astype(np.int64)
        found: NDArray[np.int64] = rows[self.entries.version[rows] == ascending[inside]]
        return found

    def subset(
        self, algorithm: str, choice: str, banks: tuple[str, ...]
    ) -> tuple[NDArray[np.int64], Engine]:
        """Return the rows of the signals of these banks, and an engine `choice` over them."""
        key = algorithm, choice, banks
        if key not in self.subsets:
            index = self.indexes[algorithm]
            numbers = [i for i, bank in enumerate(self.strings.banks) if bank in banks]
            rows = np.flatnonzero(np.isin(self.entries.bank[index.entry], numbers))
            engine = build_engine(index.kind, take(index.values, rows), choice=choice)
            self.subsets[key] = rows, engine
        return self.subsets[key]
