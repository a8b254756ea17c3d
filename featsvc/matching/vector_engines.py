"""Engines of vectors: each finds exactly the values within a cosine distance of each query.

A value is the float32 numbers of a vector of Euclidean length 1, so that an inner product is a
cosine. Engines compute the distances of candidates from the values themselves, so that all engines
give the same distances. Neither engine is approximate; docs/adr/0013 says why.
"""

import numpy as np
from featsvc_kernels import projection as kernels
from numpy.typing import NDArray

from featsvc.matching.hits import (
    MAX_HITS,
    Arrays,
    Engine,
    RawHits,
    check_hits,
    faiss_on_this_thread,
    hit_ends,
)
from featsvc.matching.values import Values, as_rows
from featsvc.signals.vectors import FLOAT32, cosine_distances

Vectors = NDArray[np.float32]

_ROUNDING = 2e-5
"""The margin of float32 sums, whose order varies. Exact scores decide what lies on a threshold."""
PROJECTED_ROWS = 16_384
"""With this many rows, the projection saves more time than its build takes."""
MAX_PROJECTED = 128
GIVE_UP_SHARE = 16
"""With more than 1/16 of all rows to score, comparing all of them is faster."""
_MIN_CANDIDATES = 4_096
_SAMPLED_ROWS = 16_384
_ITERATIONS = 3
_BUILD_BLOCK_ROWS = 1 << 16


def as_vectors(values: NDArray[np.uint8]) -> Vectors:
    """Convert rows of bytes (n, 4 d) to float32 (n, d); a view of contiguous rows."""
    return np.ascontiguousarray(values).view(FLOAT32)


class FlatVectorEngine:
    """Compares every vector with FAISS. Arrays: `vectors` float32 (n, d), which is not copied."""

    name = "flat"

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self._vectors = np.ascontiguousarray(arrays["vectors"], FLOAT32)

    def search(self, queries: Values, radius: float) -> RawHits:
        vectors, count = self._vectors, len(queries)
        if radius < 0 or not len(vectors) or not count:
            return RawHits.none(count)
        query_vectors = as_vectors(as_rows(queries))
        # Blocks of rows, so that too many hits are noticed before they fill the memory.
        step = max(1, MAX_HITS // count)
        query, rows = [], []
        hits = 0
        for first in range(0, len(vectors), step):
            block_query, block_rows = _inner_products_above(
                query_vectors, vectors[first : first + step], 1 - radius - _ROUNDING
            )
            query.append(block_query)
            rows.append(block_rows + first)
            hits += len(block_query)
            check_hits(hits, count)
        return score(query_vectors, vectors, np.concatenate(query), np.concatenate(rows), radius)


class ProjectionEngine:
    """Excludes nearly all vectors by a projection, and scores the others.

    Arrays: `vectors` float32 (n, d); `basis` float32 (d, k), orthonormal columns; `scale` float32
    (k,); `codes` int8 and `tails` uint8, laid out as `featsvc_kernels.projection` describes;
    `errors` float32 (blocks,), the most that int8 loses of a vector's length up to each block.
    """

    name = "projection"

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self._vectors = np.ascontiguousarray(arrays["vectors"], FLOAT32)
        self._basis = np.asarray(arrays["basis"], np.float32)
        self._scale = np.asarray(arrays["scale"], np.float32)
        self._errors = np.asarray(arrays["errors"], np.float64)
        self._codes = np.asarray(arrays["codes"], np.int8)
        self._tails = np.asarray(arrays["tails"], np.uint8)
        # The kernel checks no bounds.
        count, dimensions = self._vectors.shape
        blocks, groups = self._tails.shape[:2]
        if not (
            blocks > 0
            and (groups - 1) * kernels.GROUP < count <= groups * kernels.GROUP
            and self._codes.shape == (blocks, groups, kernels.BLOCK, kernels.GROUP)
            and self._tails.shape == (blocks, groups, kernels.GROUP)
            and self._basis.shape == (dimensions, blocks * kernels.BLOCK)
            and self._scale.shape == self._basis.shape[1:]
            and self._errors.shape == (blocks,)
        ):
            raise ValueError("the arrays of a projection do not fit each other")
        self._flat = FlatVectorEngine({"vectors": self._vectors})

    @classmethod
    def build(cls, vectors: Vectors) -> "ProjectionEngine":
        """Project `vectors` in two passes over blocks of rows. O(n d k)."""
        basis = _principal_basis(vectors)
        step = _BUILD_BLOCK_ROWS
        blocks = [vectors[first : first + step] for first in range(0, len(vectors), step)]
        largest = np.max([np.abs(block @ basis).max(axis=0) for block in blocks], axis=0)
        scale = np.maximum(largest / 127, np.finfo(np.float32).tiny).astype(np.float32)
        encoded = [_encode(block, basis, scale) for block in blocks]
        return cls(
            {
                "vectors": vectors,
                "basis": basis,
                "scale": scale,
                "errors": np.max([errors for _, _, errors in encoded], axis=0).astype(np.float32),
                "codes": np.concatenate([codes for codes, _, _ in encoded], axis=1),
                "tails": np.concatenate([tails for _, tails, _ in encoded], axis=1),
            }
        )

    def search(self, queries: Values, radius: float) -> RawHits:
        count = len(queries)
        if radius < 0 or not count:
            return RawHits.none(count)
        vectors = as_vectors(as_rows(queries))
        buffer = np.empty(max(_MIN_CANDIDATES, len(self._vectors) // GIVE_UP_SHARE), np.int64)
        query, rows = [], []
        hits = 0
        for number, vector in enumerate(vectors):
            candidates = self._candidates(vector, radius, buffer)
            if candidates is None:
                # The radius is so large, or the vectors so dense, that comparing all is faster.
                return self._flat.search(queries, radius)
            query.append(np.full(len(candidates), number, np.int64))
            rows.append(candidates)
            hits += len(candidates)
            check_hits(hits, count)
        return score(vectors, self._vectors, np.concatenate(query), np.concatenate(rows), radius)

    def _candidates(
        self, vector: Vectors, radius: float, buffer: NDArray[np.int64]
    ) -> NDArray[np.int64] | None:
        """Return the rows that may be within `radius`; None where they do not fit `buffer`."""
        projected = vector @ self._basis
        blocks = len(self._tails)
        energy = np.cumsum((projected.astype(np.float64) ** 2).reshape(blocks, -1).sum(axis=1))
        tails = _tail(energy)
        slack = float((np.sqrt(energy) * self._errors).max()) + _ROUNDING
        weights = (projected * self._scale).reshape(blocks, kernels.BLOCK)
        tail_weights = (tails / 255).astype(np.float32)
        count = kernels.filter_rows(
            self._codes, self._tails, weights, tail_weights, 1 - radius - slack, buffer
        )
        if count == kernels.TOO_MANY:
            return None
        rows = buffer[:count].copy()
        # The last group is padded with zeros, which are not rows.
        return rows[: np.searchsorted(rows, len(self._vectors))]


def build_vector_engine(vectors: Vectors, choice: str = "auto") -> Engine:
    """Choose by number, or as a bank chose: `scan` and `faiss` compare every vector."""
    if choice != "auto" or len(vectors) < PROJECTED_ROWS:
        return FlatVectorEngine({"vectors": vectors})
    return ProjectionEngine.build(vectors)


def _principal_basis(vectors: Vectors) -> Vectors:
    """Return float32 (d, k): approximate principal directions of a sample, the strongest first.

    Any orthonormal basis gives the same results; this one excludes most. Subspace iteration finds
    only the k of d directions that are needed (Halko, Martinsson and Tropp, "Finding structure with
    randomness", 2011, algorithm 4.4). Columns beyond d are zero.
    """
    sample = vectors[:: max(1, len(vectors) // _SAMPLED_ROWS)].astype(np.float64)
    dimensions = vectors.shape[1]
    kept = min(dimensions, MAX_PROJECTED)
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((dimensions, kept)))[0]
    for _ in range(_ITERATIONS if kept < dimensions else 0):
        basis = np.linalg.qr(sample.T @ (sample @ basis))[0]
    projected = sample @ basis
    padded = np.zeros((dimensions, -(-kept // kernels.BLOCK) * kernels.BLOCK), np.float32)
    padded[:, :kept] = basis @ np.linalg.eigh(projected.T @ projected)[1][:, ::-1]
    return padded


def _encode(
    vectors: Vectors, basis: Vectors, scale: Vectors
) -> tuple[NDArray[np.int8], NDArray[np.uint8], NDArray[np.float64]]:
    """Return `codes`, `tails` and `errors` of a block of rows, padded with zeros to groups."""
    blocks, group = basis.shape[1] // kernels.BLOCK, kernels.GROUP
    groups = -(-len(vectors) // group)
    projected = np.zeros((groups * group, basis.shape[1]), np.float32)
    projected[: len(vectors)] = vectors @ basis
    codes = np.rint(projected / scale).astype(np.int8)
    lost = _energy(projected - codes * scale, blocks)
    tails = np.ceil(_tail(_energy(projected, blocks)) * 255)
    tail_codes = np.minimum(tails, 255).astype(np.uint8).reshape(groups, group, blocks)
    return (
        np.ascontiguousarray(codes.reshape(groups, group, blocks, -1).transpose(2, 0, 3, 1)),
        np.ascontiguousarray(tail_codes.transpose(2, 0, 1)),
        np.sqrt(lost.max(axis=0)),
    )


def _energy(projected: Vectors, blocks: int) -> NDArray[np.float64]:
    """Return float64 (n, blocks): the squared length of each row up to and including each block."""
    parts = projected.reshape(len(projected), blocks, -1)
    return np.cumsum(np.einsum("nbk,nbk->nb", parts, parts), axis=1, dtype=np.float64)


def _tail(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the length of the rest of a vector of length 1, rounded up against float32 errors."""
    tail: NDArray[np.float64] = np.sqrt(np.maximum(0, 1 + _ROUNDING - energy))
    return tail


def score(
    queries: Vectors,
    vectors: Vectors,
    query: NDArray[np.int64],
    rows: NDArray[np.int64],
    radius: float,
) -> RawHits:
    """Return as hits the pairs (number of a query, row) within `radius`, with exact distances."""
    order = np.argsort(query, kind="stable")
    query, rows = query[order], rows[order]
    distances = np.empty(len(rows), np.float64)
    bounds = np.searchsorted(query, np.arange(len(queries) + 1))
    for number in np.unique(query):
        pairs = slice(bounds[number], bounds[number + 1])
        distances[pairs] = cosine_distances(queries[number], vectors, rows[pairs])
    within = distances <= radius
    return RawHits(hit_ends(query[within], len(queries)), rows[within], distances[within])


def _inner_products_above(
    queries: Vectors, vectors: Vectors, least: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of the query and the rows of pairs with an inner product over `least`.

    It calls a FAISS function on arrays, because a FAISS index would keep a copy of the vectors.
    """
    faiss = faiss_on_this_thread()
    queries = np.ascontiguousarray(queries)
    result = faiss.RangeSearchResult(len(queries))
    arrays = faiss.swig_ptr(queries), faiss.swig_ptr(vectors)
    faiss.range_search_inner_product(
        *arrays, vectors.shape[1], len(queries), len(vectors), least, result
    )
    limits = faiss.rev_swig_ptr(result.lims, len(queries) + 1).astype(np.int64)
    hits = int(limits[-1])
    rows = faiss.rev_swig_ptr(result.labels, hits).astype(np.int64) if hits else limits[:0]
    return np.repeat(np.arange(len(queries)), np.diff(limits)), rows
