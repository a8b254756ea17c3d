"""Engines of vectors: all values within a cosine distance of each query.

A value's bytes are its float32 numbers, of Euclidean length 1, so that an inner product is a
cosine. FAISS searches; what it finds is scored again from the values themselves.
"""

import faiss
import numpy as np
from numpy.typing import NDArray

from featsvc.hashing.vectors import FLOAT32, cosine_distances
from featsvc.matching.hits import (
    MAX_HITS,
    Arrays,
    Hits,
    as_rows,
    check_room,
    ends_of,
    keep_to_one_thread,
)
from featsvc.matching.values import Values

Vectors = NDArray[np.float32]

_SLACK = 1e-5
"""Float32 sums of other orders differ by less: what lies on the threshold is scored again."""


def as_vectors(values: NDArray[np.uint8]) -> Vectors:
    """Rows of bytes (n, 4 d) as float32 (n, d); a view where it can be one."""
    return np.ascontiguousarray(values).view(FLOAT32)


class FlatVectorEngine:
    """Exact: every vector is compared. Arrays: `vectors` float32 (n, d), read where they lie."""

    name = "flat"

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self._vectors = np.ascontiguousarray(arrays["vectors"], FLOAT32)

    def search(self, queries: Values, radius: float) -> Hits:
        vectors, count = self._vectors, len(queries)
        if radius < 0 or not len(vectors) or not count:
            return Hits.none(count)
        wanted = as_vectors(as_rows(queries))
        # Blocks of rows, so that what a loose radius hits is noticed before it fills the memory.
        step = max(1, MAX_HITS // count)
        query, rows = [], []
        found = 0
        for first in range(0, len(vectors), step):
            q, r = _inner_products_above(wanted, vectors[first : first + step], 1 - radius - _SLACK)
            query.append(q)
            rows.append(r + first)
            found += len(q)
            check_room(found, count)
        return score(wanted, vectors, np.concatenate(query), np.concatenate(rows), radius)


def score(
    queries: Vectors,
    vectors: Vectors,
    query: NDArray[np.int64],
    rows: NDArray[np.int64],
    radius: float,
) -> Hits:
    """Of pairs (number of a query, row), those within `radius` by their exact distance."""
    order = np.argsort(query, kind="stable")
    query, rows = query[order], rows[order]
    distances = np.empty(len(rows), np.float64)
    bounds = np.searchsorted(query, np.arange(len(queries) + 1))
    for number in np.unique(query):
        mine = slice(bounds[number], bounds[number + 1])
        distances[mine] = cosine_distances(queries[number], vectors, rows[mine])
    within = distances <= radius
    return Hits(ends_of(query[within], len(queries)), rows[within], distances[within])


def _inner_products_above(
    queries: Vectors, vectors: Vectors, least: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of the query and row of every pair whose inner product is larger than `least`.

    FAISS's own function on arrays: an index would keep a copy of the vectors.
    """
    keep_to_one_thread()
    queries = np.ascontiguousarray(queries)
    result = faiss.RangeSearchResult(len(queries))
    faiss.range_search_inner_product(
        faiss.swig_ptr(queries), faiss.swig_ptr(vectors), vectors.shape[1], len(queries),
        len(vectors), least, result,
    )  # fmt: skip
    limits = faiss.rev_swig_ptr(result.lims, len(queries) + 1).astype(np.int64)
    found = int(limits[-1])
    rows = faiss.rev_swig_ptr(result.labels, found).astype(np.int64) if found else limits[:0]
    return np.repeat(np.arange(len(queries)), np.diff(limits)), rows
