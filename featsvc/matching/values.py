"""The values of an index: rows of one width, or of any lengths one after another."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.uint8]
"""uint8 (n, bytes)."""


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """n values of any lengths: value i is `data[ends[i - 1]:ends[i]]` (from 0 for the first).

    `data` uint8, `ends` int64 (n,), never descending, the last one the length of `data`. Raises
    ValueError where they do not fit.
    """

    data: NDArray[np.uint8]
    ends: NDArray[np.int64]

    def __post_init__(self) -> None:
        whole = int(self.ends[-1]) if len(self.ends) else 0
        if whole != len(self.data) or (np.diff(self.ends, prepend=0) < 0).any():
            raise ValueError("ends that do not fit the data")

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        begin = int(self.ends[row - 1]) if row else 0
        return self.data[begin : int(self.ends[row])]

    def take(self, rows: NDArray[np.int64]) -> "Ragged":
        """Those rows, in that order."""
        taken = [self[int(row)] for row in rows]
        ends = np.cumsum([len(value) for value in taken], dtype=np.int64)
        return Ragged(np.concatenate([*taken, np.empty(0, np.uint8)]), ends)


Values: TypeAlias = Rows | Ragged


def take(values: Values, rows: NDArray[np.int64]) -> Values:
    """Those rows, in that order."""
    return values.take(rows) if isinstance(values, Ragged) else values[rows]
