"""Measures: distances from samples to the values of a bank, in steps.

Thresholds are tried in the same steps. A distance of i steps is at most i and more than i - 1 times
the step: a bit for hashes, VECTOR_STEP for vectors, TEXT_STEP for texts.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import numpy as np
from featsvc_kernels import tlsh as tlsh_kernels
from numpy.typing import NDArray

from featsvc.banks.interruption import check
from featsvc.signals.algorithms import Algorithm
from featsvc.signals.bits import to_words
from featsvc.signals.distance import CONTAINMENT, COSINE, HAMMING, TLSH, Distance
from featsvc.signals.text_grams import grams_of
from featsvc.signals.text_index import TextIndex
from featsvc.signals.vectors import FLOAT32, cosine_distances

Values: TypeAlias = Any
"""uint8 (n, bytes); a list of bytes for texts, which have different lengths."""
Rows: TypeAlias = NDArray[np.int64]
"""Numbers of rows of the values."""

VECTOR_STEP = 0.0025
TEXT_STEP = 0.01
_MAX_BITS_SHOWN = 96
_MAX_TLSH_SHOWN = 150
_MAX_TEXT_SHOWN = 0.8
"""At larger distances MinHash finds few of the texts that share so little."""
_MAX_COSINE_SHOWN = 0.5
_BLOCK_QUERIES = 128


class Measure(Protocol):
    """`step` is the distance of a step. `none` steps mean that there is no value; thresholds are
    tried up to `shown` steps."""

    step: float
    none: int
    shown: int

    def nearest(self, queries: Values, values: Values) -> NDArray[np.int64]:
        """Return int64 (n,): steps from each of n queries to the nearest value."""
        ...

    def within(self, queries: Values, values: Values, threshold: float) -> Iterator[Rows]:
        """Yield for each query the rows of the values within the threshold (inclusive)."""
        ...


class _Hamming:
    step = 1.0

    def __init__(self, bits: int) -> None:
        self.none = bits + 1
        self.shown = min(bits, _MAX_BITS_SHOWN)

    def nearest(self, queries: Values, values: Values) -> NDArray[np.int64]:
        index = _indexed(values)
        nearest = np.empty(len(queries), np.int64)
        for first in _first_rows(queries):
            distances, _ = index.search(queries[first : first + _BLOCK_QUERIES], 1)
            nearest[first : first + _BLOCK_QUERIES] = distances[:, 0]
        return nearest

    def within(self, queries: Values, values: Values, threshold: float) -> Iterator[Rows]:
        # FAISS returns distances below its radius, not equal to it.
        index = _indexed(values)
        for start in _first_rows(queries):
            block = queries[start : start + _BLOCK_QUERIES]
            limits, _, rows = index.range_search(block, int(threshold) + 1)
            for first, after in pairwise(limits):
                yield rows[first:after]


def _indexed(values: Values) -> Any:
    # Imported here: only evaluations need FAISS, and it would slow down the start.
    faiss = importlib.import_module("faiss")
    index = faiss.IndexBinaryFlat(values.shape[1] * 8)
    index.add(values)
    return index


class _Cosine:
    step = VECTOR_STEP
    none = round(2 / VECTOR_STEP) + 1
    shown = round(_MAX_COSINE_SHOWN / VECTOR_STEP)

    def nearest(self, queries: Values, values: Values) -> NDArray[np.int64]:
        samples, vectors = queries.view(FLOAT32), values.view(FLOAT32)
        nearest = np.empty(len(samples), np.float64)
        for first, products in _products(samples, vectors):
            best = products.argmax(axis=1)
            for i in range(len(best)):
                (distance,) = cosine_distances(samples[first + i], vectors, best[i : i + 1])
                nearest[first + i] = distance
        # A distance equal to a threshold is within it: allow for rounding in the division.
        steps: NDArray[np.int64] = np.ceil(nearest / self.step - 1e-6).astype(np.int64)
        return steps

    def within(self, queries: Values, values: Values, threshold: float) -> Iterator[Rows]:
        for _, products in _products(queries.view(FLOAT32), values.view(FLOAT32)):
            for row in products:
                yield np.flatnonzero(1 - row <= threshold + 5e-7)


def _products(
    queries: NDArray[np.float32], vectors: NDArray[np.float32]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the inner products of a block of queries, and the row of its first query."""
    for first in _first_rows(queries):
        yield first, queries[first : first + _BLOCK_QUERIES] @ vectors.T


def _first_rows(queries: Values) -> Iterator[int]:
    """Yield the first row of each block of queries, between which a call can be cancelled."""
    for first in range(0, len(queries), _BLOCK_QUERIES):
        check()
        yield first


class _Tlsh:
    step = 1.0
    none = tlsh_kernels.LARGEST_DISTANCE + 1
    shown = _MAX_TLSH_SHOWN

    def nearest(self, queries: Values, values: Values) -> NDArray[np.int64]:
        scans = _scanned(queries, values, self.none)
        return np.array([distances.min() for _, distances in scans], np.int64)

    def within(self, queries: Values, values: Values, threshold: float) -> Iterator[Rows]:
        return (rows for rows, _ in _scanned(queries, values, int(threshold)))


def _scanned(
    queries: Values, values: Values, radius: int
) -> Iterator[tuple[Rows, NDArray[np.int64]]]:
    """Yield for each query the rows within the radius and their distances."""
    digests = to_words(values)
    ends, rows = np.empty(1, np.int64), np.empty(len(digests), np.int64)
    distances = np.empty(len(digests), np.int64)
    for query in to_words(queries):
        check()
        tlsh_kernels.scan_tlsh(digests, query[None], radius, 0, ends, rows, distances)
        yield rows[: ends[0]].copy(), distances[: ends[0]]


class _Containment:
    step = TEXT_STEP
    none = round(1 / TEXT_STEP) + 1
    shown = round(_MAX_TEXT_SHOWN / TEXT_STEP)

    def nearest(self, queries: Values, values: Values) -> NDArray[np.int64]:
        searches = _searched(queries, values, 1.0)
        nearest = np.array([distances.min(initial=2.0) for _, distances in searches])
        steps = np.ceil(nearest / self.step - 1e-6).astype(np.int64)
        return np.minimum(steps, self.none)

    def within(self, queries: Values, values: Values, threshold: float) -> Iterator[Rows]:
        return (rows for rows, _ in _searched(queries, values, threshold))


def _searched(
    queries: Values, values: Values, radius: float
) -> Iterator[tuple[Rows, NDArray[np.float64]]]:
    """Yield for each query the rows within the radius and their distances."""
    grams = [grams_of(np.frombuffer(value, np.uint8)) for value in values]
    index = TextIndex.build(np.concatenate(grams), np.cumsum([len(g) for g in grams]))
    for query in queries:
        check()
        yield index.search(grams_of(np.frombuffer(query, np.uint8)), radius)


MEASURES: Mapping[Distance, Callable[[Algorithm], Measure]] = MappingProxyType(
    {
        HAMMING: lambda kind: _Hamming(kind.bits),
        COSINE: lambda _: _Cosine(),
        TLSH: lambda _: _Tlsh(),
        CONTAINMENT: lambda _: _Containment(),
    }
)
"""Distances without a measure are either 0 or not a match."""


def measure_of(kind: Algorithm) -> Measure | None:
    """Return the measure of an algorithm; None if its values are only equal or not."""
    make = MEASURES.get(kind.distance)
    return make(kind) if make else None
