"""Chooses the hits of which matches consist, among any number of hits, without a loop over them.

An entry has a hit for each of its signals and each query signal that is near enough. A limit counts
entries, so that it can be applied only where the hits of an entry are known to belong together.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_READ = 8
"""Entries are looked for among 8 times as many hits, then 64 times as many, and so on."""


@dataclass(frozen=True, slots=True)
class HitColumns:
    """Hits of all query signals of ONE piece of content, in columns of n.

    They are ordered by `share` float64 of the largest distance, so that algorithms compare, then by
    `rank` int64, which is different for each hit. `entry` int64 and `algorithm` uint16 are numbers,
    the same ones for the hits of an entry and of an algorithm. `number` int64 is that of the hit.
    """

    share: NDArray[np.float64]
    rank: NDArray[np.int64]
    entry: NDArray[np.int64]
    algorithm: NDArray[np.uint16]
    number: NDArray[np.int64]

    @classmethod
    def empty(cls, count: int) -> "HitColumns":
        """Allocate columns of `count` hits, numbered from 0, and without other values yet."""
        return cls(
            np.empty(count, np.float64),
            np.empty(count, np.int64),
            np.empty(count, np.int64),
            np.empty(count, np.uint16),
            np.arange(count),
        )

    def __len__(self) -> int:
        return len(self.number)

    def returned(self, limit: int, top_k: int, each: int) -> NDArray[np.int64]:
        """Return the numbers of the `each` nearest hits of the `limit` nearest entries.

        They are int64, nearest first. With `top_k`, only hits of the nearest `top_k` entries of
        their algorithm count; 0 for all. O(n) besides sorting what is returned.
        """
        hits = self
        if top_k:
            kept = np.zeros(len(self), bool)
            for algorithm in range(int(self.algorithm.max(initial=0)) + 1):
                rows = np.flatnonzero(self.algorithm == algorithm)
                kept[rows[self._take(rows)._of_nearest(top_k)]] = True
            hits = self._take(np.flatnonzero(kept))
        hits = hits._take(hits._of_nearest(limit))
        hits = hits._take(hits._nearest(len(hits)))
        by_entry = np.argsort(hits.entry, kind="stable")
        firsts = np.flatnonzero(np.diff(hits.entry[by_entry], prepend=-1))
        of_entry = np.repeat(firsts, np.diff(firsts, append=len(hits)))
        shown = by_entry[np.arange(len(hits)) - of_entry < each]
        return hits.number[np.sort(shown)]

    def _take(self, rows: NDArray[np.int64]) -> "HitColumns":
        return HitColumns(
            self.share[rows],
            self.rank[rows],
            self.entry[rows],
            self.algorithm[rows],
            self.number[rows],
        )

    def _of_nearest(self, count: int) -> NDArray[np.int64]:
        """Return the rows of all hits of the nearest `count` entries."""
        read = _READ * count
        while True:
            entries, first = np.unique(self.entry[self._nearest(read)], return_index=True)
            if len(entries) >= count or read >= len(self):
                break
            read *= _READ
        nearest = entries[np.argsort(first)[:count]]
        return np.flatnonzero(np.isin(self.entry, nearest))

    def _nearest(self, count: int) -> NDArray[np.int64]:
        """Return the rows of the nearest `count` hits, nearest first."""
        if count >= len(self):
            return np.lexsort((self.rank, self.share))
        last = np.partition(self.share, count - 1)[count - 1]
        nearer, equal = np.flatnonzero(self.share < last), np.flatnonzero(self.share == last)
        missing = count - len(nearer)
        if missing < len(equal):
            equal = equal[np.argpartition(self.rank[equal], missing - 1)[:missing]]
        rows = np.concatenate([nearer, equal])
        return rows[np.lexsort((self.rank[rows], self.share[rows]))]
