"""The engine of texts, which finds the values that a query contains most of.

`featsvc.signals.text_index` describes what it finds and what it may miss.
"""

import time

import numpy as np
from featsvc_kernels import near_copies
from numpy.typing import NDArray

from featsvc.errors import TimedOut
from featsvc.matching.hits import Arrays, RawHits, check_hits
from featsvc.matching.values import RaggedArray, Values, as_ragged
from featsvc.signals.text_grams import Grams, grams_of
from featsvc.signals.text_index import TextIndex, nearest_of_each

MAX_SEARCH_S = 10.0
"""The time limit of one query, that of decoding a picture. A post takes under a millisecond."""
_SPAN = 512 * near_copies.BLOCK
_SPAN_STEP = _SPAN - near_copies.PASSAGE_BLOCKS * near_copies.BLOCK


class MinHashEngine:
    """Finds near copies of texts by their grams.

    Arrays: `values` and `ends`, the `data` and `ends` of a RaggedArray, and those of a `TextIndex`.
    An entry of 150 letters takes 1.8 KB. Raises ValueError where the arrays do not fit each other.
    """

    name = "minhash"

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self._index = TextIndex.of(arrays)
        if len(self._index.owners) and int(self._index.owners.max()) >= len(arrays["ends"]):
            raise ValueError("passages of texts that do not exist")

    @classmethod
    def build(cls, values: Values) -> "MinHashEngine":
        """Index `values`. O(bytes)."""
        texts = as_ragged(values)
        index = TextIndex.build(*_all_grams(texts))
        return cls({"values": texts.data, "ends": texts.ends, **index.arrays})

    def search(self, queries: Values, radius: float) -> RawHits:
        """Search as every engine does. Raises TimedOut for a query longer than MAX_SEARCH_S."""
        texts = as_ragged(queries)
        if radius < 0 or not len(texts):
            return RawHits.none(len(texts))
        rows: list[NDArray[np.int64]] = []
        distances: list[NDArray[np.float64]] = []
        ends = np.empty(len(texts), np.int64)
        hits = 0
        for number in range(len(texts)):
            text_rows, text_distances = self._search_spans(grams_of(texts[number]), radius)
            rows.append(text_rows)
            distances.append(text_distances)
            hits += len(text_rows)
            check_hits(hits, len(texts))
            ends[number] = hits
        return RawHits(ends, np.concatenate(rows), np.concatenate(distances))

    def _search_spans(
        self, grams: Grams, radius: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return rows and distances. A long text is searched span by span, with a time limit.

        Spans overlap, so that every window lies within one.
        """
        spans = [self._index.search(grams[:_SPAN], radius)]
        deadline = time.monotonic() + MAX_SEARCH_S
        for first in range(_SPAN_STEP, max(len(grams) - _SPAN + _SPAN_STEP, 0), _SPAN_STEP):
            if time.monotonic() > deadline:
                raise TimedOut(
                    f"text: searching {len(grams):,} letters took longer than {MAX_SEARCH_S:g} s; "
                    "send it in pieces"
                )
            spans.append(self._index.search(grams[first : first + _SPAN], radius))
        if len(spans) == 1:
            return spans[0]
        rows, distances = (np.concatenate(column) for column in zip(*spans, strict=True))
        return nearest_of_each(rows, distances)


def _all_grams(values: RaggedArray) -> tuple[Grams, NDArray[np.int64]]:
    """Return the grams of all values and where those of each end. The first bytes are dropped."""
    lengths = np.diff(values.ends, prepend=0)
    kept = np.ones(len(values.data), bool)
    kept[(values.ends - lengths)[lengths > 0]] = False
    ends = np.cumsum(np.maximum(lengths - 1, 0) // 4)
    return values.data[kept].view("<u4"), ends
