"""What a part holds: its entries and signals, counted in groups.

A part never changes, so it is counted once, when its layer is made. A scope
(`featsvc.matching.scope`) adds the groups up, without walking the entries again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featsvc.matching.parts import NEVER_US, EntryColumns, Part, SignalIndex

_FLAGS = 4
"""The number of values that the flags of an entry have."""
_FEW_GROUPS = 1 << 16


class Groups(NamedTuple):
    """Entries with signals of one algorithm, counted by bank, label set and flags, in columns.

    `bank` and `labels` are indexes into the SharedStrings of the part, `flags` those of the part;
    `entries` and `signals` int64.
    """

    bank: NDArray[np.int64]
    labels: NDArray[np.int64]
    flags: NDArray[np.int64]
    entries: NDArray[np.int64]
    signals: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PartHoldings:
    """The groups of a part by algorithm, and the rows of entries that expire at some time."""

    groups: Mapping[str, Groups]
    expiring: NDArray[np.int64]

    @classmethod
    def of(cls, part: Part) -> "PartHoldings":
        expiring = np.flatnonzero(part.entries.expire_us != NEVER_US)
        groups = {name: _of_index(part.entries, index) for name, index in part.indexes.items()}
        return cls(groups, expiring)


def groups_of_rows(part: Part, index: SignalIndex, rows: NDArray[np.int64]) -> Groups:
    """Return the groups of some entries: `rows` are theirs, distinct."""
    # Of the same type, or NumPy would convert the whole column.
    sought = rows.astype(index.entry.dtype)
    first = np.searchsorted(index.entry, sought, "left")
    signals = np.searchsorted(index.entry, sought, "right") - first
    having = signals > 0
    return _grouped(part.entries, rows[having], signals[having])


def _of_index(entries: EntryColumns, index: SignalIndex) -> Groups:
    # The signals of an entry are side by side.
    first = np.flatnonzero(np.diff(index.entry, prepend=np.uint32(2**32 - 1)))
    signals = np.diff(first, append=len(index.entry))
    return _grouped(entries, index.entry[first].astype(np.int64), signals)


def _grouped(entries: EntryColumns, rows: NDArray[np.int64], signals: NDArray[np.int64]) -> Groups:
    """Group entries, of which entry `rows[i]` has `signals[i]` signals."""
    bank = entries.bank[rows].astype(np.int64)
    labels = entries.labels[rows].astype(np.int64)
    label_sets = int(labels.max(initial=0)) + 1
    key = (bank * label_sets + labels) * _FLAGS + entries.flags[rows]
    if int(key.max(initial=0)) < len(rows) + _FEW_GROUPS:
        # Without sorting.
        of_key = np.bincount(key)
        keys = np.flatnonzero(of_key)
        counts, sums = of_key[keys], np.bincount(key, signals)[keys]
    else:
        keys, number, counts = np.unique(key, return_inverse=True, return_counts=True)
        sums = np.bincount(number.reshape(-1), signals, len(keys))
    both, flags = np.divmod(keys, _FLAGS)
    bank, labels = np.divmod(both, label_sets)
    return Groups(bank, labels, flags, counts.astype(np.int64), sums.astype(np.int64))
