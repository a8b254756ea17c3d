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
_BLOCK = 1 << 18
_NO_ENTRY = 2**32 - 1


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
    label_sets = int(entries.labels.max(initial=0)) + 1
    keys = (int(entries.bank.max(initial=0)) + 1) * label_sets * _FLAGS
    count = len(index.entry)
    if keys > _FEW_GROUPS + count // 8:
        # The signals of an entry are side by side.
        first = np.flatnonzero(np.diff(index.entry, prepend=np.uint32(_NO_ENTRY)))
        return _grouped(entries, index.entry[first], np.diff(first, append=count))
    # In blocks that stay in the cache, without sorting.
    of_entries, of_signals = np.zeros((2, keys), np.int64)
    last = _NO_ENTRY
    for begin in range(0, count, _BLOCK):
        rows = index.entry[begin : begin + _BLOCK]
        key = _keys(entries, rows, label_sets)
        of_signals += np.bincount(key, minlength=keys)
        is_first = np.diff(rows, prepend=rows.dtype.type(last)) != 0
        of_entries += np.bincount(key[is_first], minlength=keys)
        last = int(rows[-1])
    held = np.flatnonzero(of_entries)
    return _groups(held, label_sets, of_entries[held], of_signals[held])


def _grouped(
    entries: EntryColumns, rows: NDArray[np.integer], signals: NDArray[np.int64]
) -> Groups:
    """Group entries, of which entry `rows[i]` has `signals[i]` signals."""
    label_sets = int(entries.labels.max(initial=0)) + 1
    key = _keys(entries, rows, label_sets)
    held, number, counts = np.unique(key, return_inverse=True, return_counts=True)
    sums = np.bincount(number.reshape(-1), signals, len(held))
    return _groups(held, label_sets, counts.astype(np.int64), sums.astype(np.int64))


def _keys(entries: EntryColumns, rows: NDArray[np.integer], label_sets: int) -> NDArray[np.int64]:
    """Return one number for bank, label set and flags of each entry."""
    bank = entries.bank[rows].astype(np.int64)
    key: NDArray[np.int64] = (bank * label_sets + entries.labels[rows]) * _FLAGS
    key += entries.flags[rows]
    return key


def _groups(
    keys: NDArray[np.int64],
    label_sets: int,
    entries: NDArray[np.int64],
    signals: NDArray[np.int64],
) -> Groups:
    both, flags = np.divmod(keys, _FLAGS)
    bank, labels = np.divmod(both, label_sets)
    return Groups(bank, labels, flags, entries, signals)
