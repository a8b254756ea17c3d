"""Engines: all values within a distance of a query, exactly.

A value is a row of a C-contiguous `uint8[n, bytes]`; its row number names it in an answer.
"""

from typing import Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

Hits = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Row numbers and distances, of equal length, in no particular order."""

_NONE = np.empty(0, np.int64)

# A request runs on one thread of a bounded pool: FAISS must not start more underneath.
faiss.omp_set_num_threads(1)


class Engine(Protocol):
    @property
    def name(self) -> str:
        """As `GetIndexStatus` shows it."""
        ...

    def search(self, value: bytes, radius: int) -> Hits:
        """Every row within `radius` (inclusive)."""
        ...


class ExactEngine:
    """Byte hashes: equal or not. O(log n) by binary search in the sorted rows."""

    name = "exact"

    def __init__(self, values: NDArray[np.uint8]) -> None:
        keys = _keys(values)
        self._order = np.argsort(keys, kind="stable").astype(np.int64)
        self._keys = keys[self._order]

    def search(self, value: bytes, radius: int) -> Hits:
        key = _keys(np.frombuffer(value, np.uint8)[None, :])[0]
        low = np.searchsorted(self._keys, key, "left")
        high = np.searchsorted(self._keys, key, "right")
        rows = self._order[low:high]
        return rows, np.zeros(len(rows), np.int64)


class FaissFlatEngine:
    """Hamming distance by FAISS `IndexBinaryFlat`: every row compared. O(n)."""

    name = "faiss-flat"

    def __init__(self, values: NDArray[np.uint8]) -> None:
        self._index = faiss.IndexBinaryFlat(values.shape[1] * 8)
        self._index.add(values)

    def search(self, value: bytes, radius: int) -> Hits:
        if radius < 0 or self._index.ntotal == 0:
            return _NONE, _NONE
        query = np.frombuffer(value, np.uint8)[None, :]
        # FAISS returns what is strictly nearer than its radius.
        _, distances, rows = self._index.range_search(query, radius + 1)
        return rows, distances.astype(np.int64)


def _keys(values: NDArray[np.uint8]) -> NDArray[np.void]:
    """Each row as one item that sorts and compares as a whole."""
    return np.ascontiguousarray(values).view(f"V{values.shape[1]}")[:, 0]
