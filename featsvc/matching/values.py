"""The values of an index: rows of one width, or values of any length, one after another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.uint8]
"""uint8 (n, bytes)."""


@dataclass(frozen=True, slots=True, eq=False)
class RaggedArray:
    """n values of any length: value i is `data[ends[i - 1]:ends[i]]` (from 0 for the first).

    `data` uint8; `ends` int64 (n,), ascending, the last one the length of `data`. Raises ValueError
    where they do not fit.
    """

    data: NDArray[np.uint8]
    ends: NDArray[np.int64]

    def __post_init__(self) -> None:
        length = int(self.ends[-1]) if len(self.ends) else 0
        if length != len(self.data) or (np.diff(self.ends, prepend=0) < 0).any():
            raise ValueError("the ends of values do not fit their data")

    @classmethod
    def of(cls, values: Sequence[bytes]) -> "RaggedArray":
        """Join `values`."""
        ends = np.cumsum([len(value) for value in values], dtype=np.int64)
        return cls(np.frombuffer(b"".join(values), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        begin = int(self.ends[row - 1]) if row else 0
        return self.data[begin : int(self.ends[row])]


Values: TypeAlias = Rows | RaggedArray


def take(values: Values, rows: NDArray[np.int64]) -> Values:
    """Return the values of `rows`, in that order."""
    if isinstance(values, RaggedArray):
        return RaggedArray.of([values[row].tobytes() for row in rows.tolist()])
    return values[rows]


def as_rows(values: Values) -> Rows:
    """Return `values` as rows. Raises TypeError for a RaggedArray."""
    if isinstance(values, RaggedArray):
        raise TypeError("expected rows of one width, not a RaggedArray")
    return values


def as_ragged(values: Values) -> RaggedArray:
    """Return `values` as a RaggedArray. Raises TypeError for rows of one width."""
    if not isinstance(values, RaggedArray):
        raise TypeError("expected a RaggedArray, not rows of one width")
    return values
