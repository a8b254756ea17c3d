"""Engines of vectors: all values within a cosine distance of each query, exactly.

A value's bytes are its float32 numbers, of Euclidean length 1, so that an inner product is a
cosine. What an engine finds is scored again from the values themselves, so that all give the same
distances. Neither engine is approximate: see docs/adr for what was passed over, and why.
"""

import numpy as np
from featsvc_kernels import projection as kernels
from numpy.typing import NDArray

from featsvc.matching.hits import (
    MAX_HITS,
    Arrays,
    Engine,
    RawHits,
    as_rows,
    check_room,
    ends_of,
    faiss_on_this_thread,
)
from featsvc.matching.values import Values
from featsvc.signals.vectors import FLOAT32, cosine_distances

Vectors = NDArray[np.float32]

_ROUNDING = 2e-5
"""Float32 sums of other orders differ by less: what lies on the threshold is scored again."""
PROJECTED_ROWS = 16_384
"""From so many on the projection is faster by more than its build is worth."""
MAX_PROJECTED = 128
GIVE_UP_SHARE = 16
"""Above 1/16 of all rows to be scored, comparing all of them is faster."""
_LEAST_ROOM = 4_096
_SAMPLED_ROWS = 16_384
_ITERATIONS = 3
_BUILT_ROWS = 1 << 16


def as_vectors(values: NDArray[np.uint8]) -> Vectors:
    """Rows of bytes (n, 4 d) as float32 (n, d); a view where it can be one."""
    return np.ascontiguousarray(values).view(FLOAT32)


class FlatVectorEngine:
    """Every vector is compared, by FAISS. Arrays: `vectors` float32 (n, d), read where they lie."""

    name = "flat"

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self._vectors = np.ascontiguousarray(arrays["vectors"], FLOAT32)

    def search(self, queries: Values, radius: float) -> RawHits:
        vectors, count = self._vectors, len(queries)
        if radius < 0 or not len(vectors) or not count:
            return RawHits.none(count)
        wanted = as_vectors(as_rows(queries))
        # Blocks of rows, so that what a loose radius hits is noticed before it fills the memory.
        step = max(1, MAX_HITS // count)
        query, rows = [], []
        found = 0
        for first in range(0, len(vectors), step):
            q, r = _inner_products_above(
                wanted, vectors[first : first + step], 1 - radius - _ROUNDING
            )
            query.append(q)
            rows.append(r + first)
            found += len(q)
            check_room(found, count)
        return score(wanted, vectors, np.concatenate(query), np.concatenate(rows), radius)


class ProjectionEngine:
    """A projection of each vector rules nearly all of them out; the rest are scored.

    Arrays: `vectors` float32 (n, d); `basis` float32 (d, k), orthonormal columns; `scale` float32
    (k,) and `codes` int8, `tails` uint8 as `featsvc_kernels.projection` lays them out; `errors`
    float32 (blocks,) the most that int8 loses of a vector's length up to each block.
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
            raise ValueError("arrays of a projection that do not fit each other")
        self._flat = FlatVectorEngine({"vectors": self._vectors})

    @classmethod
    def build(cls, vectors: Vectors) -> "ProjectionEngine":
        """O(n d k), in two passes over blocks of rows."""
        basis = _principal_basis(vectors)
        parts = [vectors[at : at + _BUILT_ROWS] for at in range(0, len(vectors), _BUILT_ROWS)]
        largest = np.max([np.abs(part @ basis).max(axis=0) for part in parts], axis=0)
        scale = np.maximum(largest / 127, np.finfo(np.float32).tiny).astype(np.float32)
        made = [_encode(part, basis, scale) for part in parts]
        return cls(
            {
                "vectors": vectors,
                "basis": basis,
                "scale": scale,
                "errors": np.max([errors for _, _, errors in made], axis=0).astype(np.float32),
                "codes": np.concatenate([codes for codes, _, _ in made], axis=1),
                "tails": np.concatenate([tails for _, tails, _ in made], axis=1),
            }
        )

    def search(self, queries: Values, radius: float) -> RawHits:
        count = len(queries)
        if radius < 0 or not count:
            return RawHits.none(count)
        wanted = as_vectors(as_rows(queries))
        room = np.empty(max(_LEAST_ROOM, len(self._vectors) // GIVE_UP_SHARE), np.int64)
        query, rows = [], []
        found = 0
        for number, vector in enumerate(wanted):
            near = self._sift(vector, radius, room)
            if near is None:
                # So loose a radius, or so dense a place: to compare all of them is faster.
                return self._flat.search(queries, radius)
            query.append(np.full(len(near), number, np.int64))
            rows.append(near)
            found += len(near)
            check_room(found, count)
        return score(wanted, self._vectors, np.concatenate(query), np.concatenate(rows), radius)

    def _sift(
        self, vector: Vectors, radius: float, room: NDArray[np.int64]
    ) -> NDArray[np.int64] | None:
        """Rows that may be within `radius`; None where there is no room for them."""
        projected = vector @ self._basis
        blocks = len(self._tails)
        energy = np.cumsum((projected.astype(np.float64) ** 2).reshape(blocks, -1).sum(axis=1))
        left = _tail(energy)
        slack = float((np.sqrt(energy) * self._errors).max()) + _ROUNDING
        weights = (projected * self._scale).reshape(blocks, kernels.BLOCK)
        tail_weights = (left / 255).astype(np.float32)
        found = kernels.sift(
            self._codes, self._tails, weights, tail_weights, 1 - radius - slack, room
        )
        if found == kernels.TOO_MANY:
            return None
        rows = room[:found].copy()
        # Zeros fill up the last group.
        return rows[: np.searchsorted(rows, len(self._vectors))]


def build_vector_engine(vectors: Vectors, choice: str = "auto") -> Engine:
    """By size, or as a bank chose it: `scan` and `faiss` compare every vector."""
    if choice != "auto" or len(vectors) < PROJECTED_ROWS:
        return FlatVectorEngine({"vectors": vectors})
    return ProjectionEngine.build(vectors)


def _principal_basis(vectors: Vectors) -> Vectors:
    """float32 (d, k): about the directions that hold the most of a sample, most first.

    Any orthonormal basis gives the same answers; this one rules most out. By subspace iteration,
    since only k of d directions are wanted (Halko, Martinsson and Tropp, "Finding structure with
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
    turned = basis @ np.linalg.eigh(projected.T @ projected)[1][:, ::-1]
    padded = np.zeros((dimensions, -(-kept // kernels.BLOCK) * kernels.BLOCK), np.float32)
    padded[:, :kept] = turned
    return padded


def _encode(
    vectors: Vectors, basis: Vectors, scale: Vectors
) -> tuple[NDArray[np.int8], NDArray[np.uint8], NDArray[np.float64]]:
    """`codes`, `tails` and `errors` of some rows; the last group is filled up with zeros."""
    blocks, group = basis.shape[1] // kernels.BLOCK, kernels.GROUP
    groups = -(-len(vectors) // group)
    projected = np.zeros((groups * group, basis.shape[1]), np.float32)
    projected[: len(vectors)] = vectors @ basis
    codes = np.rint(projected / scale).astype(np.int8)
    lost = _energy(projected - codes * scale, blocks)
    tails = np.ceil(_tail(_energy(projected, blocks)) * 255)
    laid_out = np.minimum(tails, 255).astype(np.uint8).reshape(groups, group, blocks)
    return (
        np.ascontiguousarray(codes.reshape(groups, group, blocks, -1).transpose(2, 0, 3, 1)),
        np.ascontiguousarray(laid_out.transpose(2, 0, 1)),
        np.sqrt(lost.max(axis=0)),
    )


def _energy(projected: Vectors, blocks: int) -> NDArray[np.float64]:
    """float64 (n, blocks): squared length of each row up to and with each block."""
    parts = projected.reshape(len(projected), blocks, -1)
    return np.cumsum(np.einsum("nbk,nbk->nb", parts, parts), axis=1, dtype=np.float64)


def _tail(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Length of what is left of a vector of length 1, never too short for float32's rounding."""
    tail: NDArray[np.float64] = np.sqrt(np.maximum(0, 1 + _ROUNDING - energy))
    return tail


def score(
    queries: Vectors,
    vectors: Vectors,
    query: NDArray[np.int64],
    rows: NDArray[np.int64],
    radius: float,
) -> RawHits:
    """Of pairs (number of a query, row), those within `radius` by their exact distance."""
    order = np.argsort(query, kind="stable")
    query, rows = query[order], rows[order]
    distances = np.empty(len(rows), np.float64)
    bounds = np.searchsorted(query, np.arange(len(queries) + 1))
    for number in np.unique(query):
        mine = slice(bounds[number], bounds[number + 1])
        distances[mine] = cosine_distances(queries[number], vectors, rows[mine])
    within = distances <= radius
    return RawHits(ends_of(query[within], len(queries)), rows[within], distances[within])


def _inner_products_above(
    queries: Vectors, vectors: Vectors, least: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of the query and row of every pair whose inner product is larger than `least`.

    FAISS's own function on arrays: an index would keep a copy of the vectors.
    """
    faiss = faiss_on_this_thread()
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
