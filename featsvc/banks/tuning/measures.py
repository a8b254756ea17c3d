"""How far samples are from the values of a bank, in the steps that thresholds are tried in.

Distance i is "i steps or less, and more than i - 1": a bit for hashes, VECTOR_STEP for vectors,
TEXT_STEP for texts.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import numpy as np
from featsvc_kernels import tlsh as tlsh_kernels
from numpy.typing import NDArray

from featsvc.signals.algorithms import Algorithm
from featsvc.signals.bits import to_words
from featsvc.signals.distance import CONTAINMENT, COSINE, HAMMING, TLSH, Distance
from featsvc.signals.text_grams import grams_of
from featsvc.signals.text_index import TextIndex
from featsvc.signals.vectors import FLOAT32, cosine_distances

Values: TypeAlias = Any
"""uint8 (n, bytes); of texts, which have different lengths, a list of bytes."""

VECTOR_STEP = 0.0025
TEXT_STEP = 0.01
_MAX_BITS_SHOWN = 96
_MAX_TLSH_SHOWN = 150
_MAX_TEXT_SHOWN = 0.8
"""Beyond, MinHash finds few of those that share so little."""
_MAX_COSINE_SHOWN = 0.5
_BLOCK_QUERIES = 128


class Measure(Protocol):
    """`step` is the width of one; `none` steps stand for "nothing is there", thresholds are tried
    up to `shown` of them."""

    step: float
    none: int
    shown: int

    def nearest(self, queries: Values, values: Values) -> NDArray[np.int64]:
        """Steps from each query to the nearest value."""
        ...

    def within(
        self, queries: Values, values: Values, threshold: float
    ) -> Iterator[NDArray[np.int64]]:
        """Of each query, the rows of the values within the threshold."""
        ...


class _Hamming:
    step = 1.0

    def __init__(self, bits: int) -> None:
        self.none = bits + 1
        self.shown = min(bits, _MAX_BITS_SHOWN)

    def nearest(self, queries: Values, values: Values) -> NDArray[np.int64]:
        distances, _ = _indexed(values).search(queries, 1)
        nearest: NDArray[np.int64] = distances[:, 0].astype(np.int64)
        return nearest

    def within(
        self, queries: Values, values: Values, threshold: float
    ) -> Iterator[NDArray[np.int64]]:
        # FAISS returns what is strictly nearer than its radius.
        limits, _, rows = _indexed(values).range_search(queries, int(threshold) + 1)
        for first, after in pairwise(limits):
            yield rows[first:after]


def _indexed(values: Values) -> Any:
    # Here, not above: a curator's question needs it, a start does not.
    faiss = importlib.import_module("faiss")
    index = faiss.IndexBinaryFlat(values.shape[1] * 8)
    index.add(values)
    return index


class _Cosine:
    step = VECTOR_STEP
    none = round(2 / VECTOR_STEP) + 1
    shown = round(_MAX_COSINE_SHOWN / VECTOR_STEP)

    def nearest(self, queries: Values, values: Values) -> NDArray[np.int64]:
        wanted, vectors = queries.view(FLOAT32), values.view(FLOAT32)
        nearest = np.empty(len(wanted), np.float64)
        for first, products in _products(wanted, vectors):
            best = products.argmax(axis=1)
            for i in range(len(best)):
                (apart,) = cosine_distances(wanted[first + i], vectors, best[i : i + 1])
                nearest[first + i] = apart
        # What lies on a threshold is within it, whatever the division rounds to.
        steps: NDArray[np.int64] = np.ceil(nearest / self.step - 1e-6).astype(np.int64)
        return steps

    def within(
        self, queries: Values, values: Values, threshold: float
    ) -> Iterator[NDArray[np.int64]]:
        wanted, vectors = queries.view(FLOAT32), values.view(FLOAT32)
        for _, products in _products(wanted, vectors):
            for row in products:
                yield np.flatnonzero(1 - row <= threshold + 5e-7)


def _products(
    queries: NDArray[np.float32], vectors: NDArray[np.float32]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Inner products of so many queries at a time that they fit the memory; the first's number."""
    for first in range(0, len(queries), _BLOCK_QUERIES):
        yield first, queries[first : first + _BLOCK_QUERIES] @ vectors.T


class _Tlsh:
    step = 1.0
    none = tlsh_kernels.LARGEST_DISTANCE + 1
    shown = _MAX_TLSH_SHOWN

    def nearest(self, queries: Values, values: Values) -> NDArray[np.int64]:
        every = (distances for _, distances in _scanned(queries, values, self.none))
        return np.array([distances.min() for distances in every], np.int64)

    def within(
        self, queries: Values, values: Values, threshold: float
    ) -> Iterator[NDArray[np.int64]]:
        return (rows for rows, _ in _scanned(queries, values, int(threshold)))


def _scanned(
    queries: Values, values: Values, radius: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows within the radius and their distances, of each query."""
    wanted, digests = to_words(queries), to_words(values)
    ends, rows = np.empty(1, np.int64), np.empty(len(digests), np.int64)
    distances = np.empty(len(digests), np.int64)
    for query in wanted:
        tlsh_kernels.scan_tlsh(digests, query[None], radius, 0, ends, rows, distances)
        yield rows[: ends[0]].copy(), distances[: ends[0]]


class _Containment:
    step = TEXT_STEP
    none = round(1 / TEXT_STEP) + 1
    shown = round(_MAX_TEXT_SHOWN / TEXT_STEP)

    def nearest(self, queries: Values, values: Values) -> NDArray[np.int64]:
        found = [apart.min(initial=2.0) for _, apart in _searched(queries, values, 1.0)]
        steps = np.ceil(np.array(found) / self.step - 1e-6).astype(np.int64)
        return np.minimum(steps, self.none)

    def within(
        self, queries: Values, values: Values, threshold: float
    ) -> Iterator[NDArray[np.int64]]:
        return (rows for rows, _ in _searched(queries, values, threshold))


def _searched(
    queries: Values, values: Values, radius: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    grams = [grams_of(np.frombuffer(value, np.uint8)) for value in values]
    index = TextIndex.build(np.concatenate(grams), np.cumsum([len(one) for one in grams]))
    for query in queries:
        yield index.search(grams_of(np.frombuffer(query, np.uint8)), radius)


MEASURES: Mapping[Distance, Callable[[Algorithm], Measure]] = MappingProxyType(
    {
        HAMMING: lambda kind: _Hamming(kind.bits),
        COSINE: lambda _: _Cosine(),
        TLSH: lambda _: _Tlsh(),
        CONTAINMENT: lambda _: _Containment(),
    }
)
"""Of the distances that are more than equal or not."""


def measure_of(kind: Algorithm) -> Measure | None:
    """None where values are equal or not, and nothing between."""
    make = MEASURES.get(kind.distance)
    return make(kind) if make else None
