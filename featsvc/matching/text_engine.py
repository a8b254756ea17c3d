"""The engine of texts: values that a query holds most of, however it is edited.

What it finds, and what it may miss: `featsvc.signals.text_index`.
"""

import time

import numpy as np
from featsvc_kernels import near_copies
from numpy.typing import NDArray

from featsvc.errors import TimedOut
from featsvc.matching.hits import Arrays, RawHits, check_room
from featsvc.matching.values import Ragged, Values
from featsvc.signals.text_grams import Grams, grams_of
from featsvc.signals.text_index import TextIndex, nearest_of_each

MAX_SEARCH_S = 10.0
"""Of one query; as long as a picture may take to decode. A post takes less than a millisecond."""
_SPAN = 512 * near_copies.BLOCK
_SPAN_STEP = _SPAN - near_copies.PASSAGE_BLOCKS * near_copies.BLOCK

_Rows = NDArray[np.int64]
_Apart = NDArray[np.float64]


class MinHashEngine:
    """Arrays: `values` and `ends` as `Ragged` has them, and those of a `TextIndex`.

    An entry of 150 letters takes 1.8 KB. Raises ValueError where arrays do not fit.
    """

    name = "minhash"

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self._index = TextIndex.of(arrays)
        if len(self._index.owners) and int(self._index.owners.max()) >= len(arrays["ends"]):
            raise ValueError("passages of texts that are not there")

    @classmethod
    def build(cls, values: Values) -> "MinHashEngine":
        """O(bytes)."""
        ragged = _ragged(values)
        index = TextIndex.build(*_all_grams(ragged))
        return cls({"values": ragged.data, "ends": ragged.ends, **index.arrays})

    def search(self, queries: Values, radius: float) -> RawHits:
        """Raises TimedOut where one query takes longer than MAX_SEARCH_S."""
        wanted = _ragged(queries)
        if radius < 0:
            return RawHits.none(len(wanted))
        rows: list[NDArray[np.int64]] = []
        distances: list[NDArray[np.float64]] = []
        ends = np.empty(len(wanted), np.int64)
        found = 0
        for number in range(len(wanted)):
            mine, apart = self._search_spans(grams_of(wanted[number]), radius)
            rows.append(mine)
            distances.append(apart)
            found += len(mine)
            check_room(found, len(wanted))
            ends[number] = found
        if len(wanted) == 1:
            return RawHits(ends, rows[0], distances[0])
        return RawHits(
            ends,
            np.concatenate([*rows, np.empty(0, np.int64)]),
            np.concatenate([*distances, np.empty(0)]),
        )

    def _search_spans(self, grams: Grams, radius: float) -> tuple[_Rows, _Apart]:
        """A long text span by span, looking at the clock between two; windows lie within one."""
        found = [self._index.search(grams[:_SPAN], radius)]
        deadline = time.monotonic() + MAX_SEARCH_S
        for first in range(_SPAN_STEP, max(len(grams) - _SPAN + _SPAN_STEP, 0), _SPAN_STEP):
            if time.monotonic() > deadline:
                raise TimedOut(
                    f"text: searching {len(grams):,} letters took longer than {MAX_SEARCH_S:g} s; "
                    "send it in pieces"
                )
            found.append(self._index.search(grams[first : first + _SPAN], radius))
        if len(found) == 1:
            return found[0]
        rows, apart = (np.concatenate(column) for column in zip(*found, strict=True))
        return nearest_of_each(rows, apart)


def _ragged(values: Values) -> Ragged:
    if not isinstance(values, Ragged):
        raise TypeError("rows of one width, where texts were wanted")
    return values


def _all_grams(values: Ragged) -> tuple[Grams, NDArray[np.int64]]:
    """The grams of all values, and where each one's end: what is left without the first bytes."""
    lengths = np.diff(values.ends, prepend=0)
    kept = np.ones(len(values.data), bool)
    kept[(values.ends - lengths)[lengths > 0]] = False
    ends = np.cumsum(np.maximum(lengths - 1, 0) // 4)
    return values.data[kept].view("<u4"), ends
