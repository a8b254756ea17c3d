"""An index of texts by their grams, as plain arrays (layout: `featsvc_kernels.near_copies`).

What it finds is a near copy, exactly judged by containment. It may miss one near the threshold:
MinHash proposes the candidates by chance, and no window may lie just where the copy does. Of random
texts of 18 to 500 letters hidden in longer ones, whole copies were all found, of those that kept
70 % of their grams and more one in 1,200 was missed, of 65 % one in 34, of 62 % one in 14.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from featsvc_kernels import minhash, near_copies
from numpy.typing import NDArray

from featsvc.signals.text_grams import Grams

_POSTINGS_A_LIST = 4
"""As many lie in one line of the cache."""


@dataclass(frozen=True, slots=True, eq=False)
class TextIndex:
    """Immutable: any number of threads may search it. Raises ValueError where arrays do not fit."""

    sets: Grams
    set_ends: NDArray[np.int64]
    owners: NDArray[np.uint32]
    starts: NDArray[np.uint32]
    postings: NDArray[np.uint32]

    def __post_init__(self) -> None:
        passages = len(self.owners)
        lists = len(self.starts) - 1
        whole = int(self.set_ends[-1]) if passages else 0
        fits = (
            len(self.set_ends) == passages
            and whole == len(self.sets)
            and not (np.diff(self.set_ends, prepend=0) < near_copies.MIN_GRAMS).any()
            and self.postings.shape == (passages * minhash.BANDS, 2)
            and lists > 1
            and lists & (lists - 1) == 0
            and int(self.starts[-1]) == len(self.postings)
            and not (self.starts[1:] < self.starts[:-1]).any()
            and (not passages or int(self.postings[:, near_copies.PASSAGE].max()) < passages)
        )
        if not fits:
            raise ValueError("arrays of a text index that do not fit each other")

    @classmethod
    def build(cls, grams: Grams, ends: NDArray[np.int64]) -> "TextIndex":
        """Of texts whose grams end at `ends` (n,). O(grams)."""
        sizes = np.diff(ends, prepend=0)
        most = near_copies.count_passages(sizes)
        room = int(np.minimum(sizes, near_copies.PASSAGE_BLOCKS * near_copies.BLOCK) @ most)
        count = int(most.sum())
        sets, set_ends = np.empty(room, np.uint32), np.empty(count, np.int64)
        owners, keys = np.empty(count, np.uint32), np.empty((count, minhash.BANDS), np.uint32)
        passages = near_copies.cut_passages(grams, ends, sets, set_ends, owners, keys)
        keys = keys[:passages]
        bits = max(1, (passages * minhash.BANDS // _POSTINGS_A_LIST).bit_length())
        starts = np.empty((1 << bits) + 1, np.uint32)
        postings = np.empty((passages * minhash.BANDS, 2), np.uint32)
        near_copies.post_keys(keys, bits, starts, postings)
        filled = int(set_ends[passages - 1]) if passages else 0
        return cls(
            sets[:filled].copy(), set_ends[:passages].copy(), owners[:passages].copy(),
            starts, postings,
        )  # fmt: skip

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> "TextIndex":
        """From `arrays` again. Raises KeyError where one is missing, ValueError as above."""
        return cls(
            arrays["sets"], arrays["set_ends"], arrays["owners"], arrays["starts"],
            arrays["postings"],
        )  # fmt: skip

    @property
    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for name in self.__slots__:
            yield name, getattr(self, name)

    def search(self, grams: Grams, radius: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Texts within `radius` (0 to 1, inclusive) of a query's grams, each once, and how far."""
        passages = len(self.owners)
        if not passages or len(grams) < near_copies.MIN_GRAMS:
            return np.empty(0, np.int64), np.empty(0)
        # Zeroed pages are had for nothing until they are written to, and few are.
        scratch = np.zeros((3, passages), np.uint32)
        found, distances = np.empty(passages, np.uint32), np.empty(passages)
        count = near_copies.find_near_copies(
            grams, radius, self.sets, self.set_ends, self.starts, self.postings, scratch, found,
            distances,
        )  # fmt: skip
        return nearest_of_each(self.owners[found[:count]].astype(np.int64), distances[:count])


def nearest_of_each(
    rows: NDArray[np.int64], distances: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Each row once, at its least distance."""
    order = np.lexsort((distances, rows))
    rows, distances = rows[order], distances[order]
    first = np.diff(rows, prepend=-1) != 0
    return rows[first], distances[first]
