"""Engines: each finds all values within a distance of each query.

A hit names a value by its row in `uint8[n, bytes]` or in a `RaggedArray`. An engine consists of
named arrays, which `build` computes or a segment maps, so that an index on disk is the same as one
in memory. Engines are immutable: any number of threads may search one. The engines of vectors are
in `vector_engines`, that of texts in `text_engine`.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from featsvc_kernels import search as kernels
from featsvc_kernels.tlsh import scan_tlsh
from numpy.typing import NDArray

from featsvc.matching.hits import (
    NO_HITS,
    Arrays,
    Engine,
    RawHits,
    check_hits,
    faiss_on_this_thread,
    hit_ends,
)
from featsvc.matching.plans import GIVE_UP_SHARE, ChunkPlan, choose_plan, masks, worth_probing
from featsvc.matching.text_engine import MinHashEngine
from featsvc.matching.values import Values, as_rows
from featsvc.matching.vector_engines import (
    FlatVectorEngine,
    ProjectionEngine,
    as_vectors,
    build_vector_engine,
)
from featsvc.signals.algorithms import Algorithm
from featsvc.signals.bits import to_words
from featsvc.signals.distance import CONTAINMENT, COSINE, EQUALITY, HAMMING, TLSH, Distance

_FIRST_HITS = 1024
_CANDIDATES = 4096


class ExactEngine:
    """Finds equal byte hashes. O(log n): a binary search by the first 8 bytes, then a comparison.

    Arrays: `values` uint8 (n, bytes); `keys` uint64 (n,), the first 8 bytes as a big-endian number,
    ascending; `order` uint32 (n,), the row of each key.
    """

    name = "exact"

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self._values = np.asarray(arrays["values"], np.uint8)
        self._keys = np.asarray(arrays["keys"], np.uint64)
        self._order = np.asarray(arrays["order"], np.uint32)

    @classmethod
    def build(cls, values: NDArray[np.uint8]) -> "ExactEngine":
        keys = _leading_keys(values)
        order = np.argsort(keys, kind="stable").astype(np.uint32)
        return cls({"values": values, "keys": keys[order], "order": order})

    def search(self, queries: Values, radius: float) -> RawHits:
        queries = as_rows(queries)
        if radius < 0 or not len(self._keys):
            return RawHits.none(len(queries))
        keys = _leading_keys(queries)
        first = np.searchsorted(self._keys, keys, "left")
        counts = np.searchsorted(self._keys, keys, "right") - first
        check_hits(int(counts.sum()), len(queries))
        query = np.repeat(np.arange(len(queries)), counts)
        within = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = self._order[first[query] + within].astype(np.int64)
        equal = (self._values[rows] == queries[query]).all(axis=1)
        ends = hit_ends(query[equal], len(queries))
        return RawHits(ends, rows[equal], np.zeros(int(equal.sum()), np.int64))


class ScanEngine:
    """Compares every hash by Hamming distance. Arrays: `words` uint64 (n, w)."""

    name = "scan"
    _kernel = staticmethod(kernels.scan)

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self._words = np.asarray(arrays["words"], np.uint64)

    def search(self, queries: Values, radius: float) -> RawHits:
        if radius < 0:
            return RawHits.none(len(queries))
        words = to_words(as_rows(queries))
        return _collect(self._kernel, (self._words, words, int(radius)), len(queries))


class TlshEngine(ScanEngine):
    """Compares every digest by TLSH's distance: a million take 20 ms. Arrays: `words` (n, 5)."""

    name = "tlsh-scan"
    _kernel = staticmethod(scan_tlsh)


class MultiIndexEngine:
    """Searches by Hamming distance with multi-index hashing, or with a scan at a large radius.

    Arrays: `words` uint64 (n, w), `widths` int64 (c,), `starts` and `postings` uint32, laid out as
    `featsvc_kernels.search` describes.
    """

    name = "multi-index"

    def __init__(self, bits: int, arrays: Arrays) -> None:
        self.arrays = arrays
        self._words = np.asarray(arrays["words"], np.uint64)
        self._starts = np.asarray(arrays["starts"], np.uint32)
        self._postings = np.asarray(arrays["postings"], np.uint32)
        self._plan = ChunkPlan(bits, tuple(int(w) for w in arrays["widths"]))
        self._scan = ScanEngine({"words": self._words})
        self._give_up = len(self._words) // GIVE_UP_SHARE
        self._tables: dict[int, _ProbeTable | None] = {}

    @classmethod
    def build(cls, words: NDArray[np.uint64], plan: ChunkPlan) -> "MultiIndexEngine":
        """Build the tables of `plan`. O(n) for each chunk."""
        starts = np.empty(plan.table_rows, np.uint32)
        postings = np.empty(len(plan.widths) * len(words), np.uint32)
        bit = base = 0
        for chunk, width in enumerate(plan.widths):
            kernels.post(
                words,
                bit,
                width,
                starts[base : base + 2**width + 1],
                postings[chunk * len(words) : (chunk + 1) * len(words)],
            )
            bit += width
            base += 2**width + 1
        widths = np.array(plan.widths, np.int64)
        tables: Arrays = {"widths": widths, "starts": starts, "postings": postings}
        return cls(plan.bits, {"words": words, **tables})

    def search(self, queries: Values, radius: float) -> RawHits:
        if radius < 0:
            return RawHits.none(len(queries))
        radius = int(radius)
        table = self._tables[radius] if radius in self._tables else self._add_table(radius)
        if table is None:
            return self._scan.search(queries, radius)
        words = to_words(as_rows(queries))
        if len(words) == 1:
            return _collect(kernels.probe, self._arguments(words, radius, table), 1)
        # Similar queries one after another find postings and hashes in the cache.
        order = np.lexsort(words.T[::-1])
        hits = _collect(kernels.probe, self._arguments(words[order], radius, table), len(words))
        return _in_query_order(hits, order)

    def _arguments(
        self, words: NDArray[np.uint64], radius: int, table: "_ProbeTable"
    ) -> tuple[object, ...]:
        """Return the first arguments of the probe kernel."""
        spans = _scratch.spans
        if len(spans) < len(table.masks):
            spans = _scratch.grow_spans(len(table.masks))
        return (
            self._words,
            words,
            radius,
            table.chunks,
            self._starts,
            self._postings,
            table.masks,
            self._give_up,
            spans,
            _scratch.candidates,
        )

    def _add_table(self, radius: int) -> "_ProbeTable | None":
        """Build and keep the table of a radius; None where a scan is faster."""
        worth = worth_probing(self._plan, len(self._words), radius)
        table = self._tables[radius] = _ProbeTable.of(self._plan, radius) if worth else None
        return table


class FaissFlatEngine:
    """Compares every hash by Hamming distance with FAISS `IndexBinaryFlat`, as a cross-check.

    Arrays: `words` uint64 (n, w). FAISS keeps a copy of the hashes.
    """

    name = "faiss-flat"

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        values = np.ascontiguousarray(arrays["words"]).view(np.uint8)
        self._index = faiss_on_this_thread().IndexBinaryFlat(values.shape[1] * 8)
        self._index.add(values)

    def search(self, queries: Values, radius: float) -> RawHits:
        if radius < 0:
            return RawHits.none(len(queries))
        faiss_on_this_thread()
        # FAISS excludes its radius.
        limits, distances, rows = self._index.range_search(
            to_words(as_rows(queries)).view(np.uint8), int(radius) + 1
        )
        return RawHits(limits[1:].astype(np.int64), rows, distances.astype(np.int64))


@dataclass(frozen=True, slots=True)
class Family:
    """The engines of one distance.

    `build` makes an engine for values of an algorithm, by their number or by a bank's choice.
    `open` maps the name of an engine to the function that restores it from its arrays. `choices`
    are the engines that a bank may choose for this distance (`banks.records.ENGINES`). `quick`: a
    search at the default threshold is always short.
    """

    build: Callable[[Algorithm, Values, str], Engine]
    open: Mapping[str, Callable[[Algorithm, Arrays], Engine]]
    choices: tuple[str, ...] = ()
    quick: bool = False


def _build_hamming(kind: Algorithm, values: Values, choice: str) -> Engine:
    words = to_words(as_rows(values))
    if choice == "faiss":
        return FaissFlatEngine({"words": words})
    plan = choose_plan(kind.bits, len(words), int(kind.default_threshold))
    if choice == "multi-index" and plan is None:
        # The values are too few for an index to pay, but a curator chose it.
        plan = ChunkPlan.even(kind.bits, max(1, kind.bits // 8))
    if plan is None or choice == "scan":
        return ScanEngine({"words": words})
    return MultiIndexEngine.build(words, plan)


FAMILIES: Mapping[Distance, Family] = MappingProxyType(
    {
        HAMMING: Family(
            build=_build_hamming,
            open={
                ScanEngine.name: lambda _, arrays: ScanEngine(arrays),
                MultiIndexEngine.name: lambda kind, arrays: MultiIndexEngine(kind.bits, arrays),
                FaissFlatEngine.name: lambda _, arrays: FaissFlatEngine(arrays),
            },
            choices=("faiss", "scan", "multi-index"),
            quick=True,
        ),
        EQUALITY: Family(
            build=lambda _, values, choice: ExactEngine.build(as_rows(values)),
            open={ExactEngine.name: lambda _, arrays: ExactEngine(arrays)},
            quick=True,
        ),
        TLSH: Family(
            build=lambda _, values, choice: TlshEngine({"words": to_words(as_rows(values))}),
            open={TlshEngine.name: lambda _, arrays: TlshEngine(arrays)},
        ),
        CONTAINMENT: Family(
            build=lambda _, values, choice: MinHashEngine.build(values),
            open={MinHashEngine.name: lambda _, arrays: MinHashEngine(arrays)},
        ),
        COSINE: Family(
            build=lambda _, values, choice: build_vector_engine(
                as_vectors(as_rows(values)), choice
            ),
            open={
                FlatVectorEngine.name: lambda _, arrays: FlatVectorEngine(arrays),
                ProjectionEngine.name: lambda _, arrays: ProjectionEngine(arrays),
            },
            choices=("faiss", "scan"),
        ),
    }
)
"""The engines of every distance of a matched algorithm."""


def build_engine(kind: Algorithm, values: Values, *, choice: str = "auto") -> Engine:
    """Build the engine for `values`, by distance and number, or by a bank's choice."""
    return FAMILIES[kind.distance].build(kind, values, choice)


def open_engine(name: str, kind: Algorithm, arrays: Arrays) -> Engine:
    """Restore an engine from its `arrays`.

    Raises KeyError for a missing array or an engine that the distance does not have, ValueError
    where the arrays do not fit each other.
    """
    return FAMILIES[kind.distance].open[name](kind, arrays)


@dataclass(frozen=True, slots=True)
class _ProbeTable:
    """The arrays `chunks` and `masks` of the probe kernel for one radius."""

    chunks: NDArray[np.int64]
    masks: NDArray[np.uint32]

    @classmethod
    def of(cls, plan: ChunkPlan, radius: int) -> "_ProbeTable":
        chunks = np.empty((len(plan.widths), kernels.CHUNK_COLUMNS), np.int64)
        masks_of_chunks: list[NDArray[np.uint32]] = []
        bit = base = masks_base = 0
        for row, width, r in zip(chunks, plan.widths, plan.radii(radius), strict=True):
            chunk_masks = masks(width, r)
            row[kernels.FIRST_BIT] = bit
            row[kernels.WIDTH] = width
            row[kernels.STARTS_BASE] = base
            row[kernels.MASKS_BASE] = masks_base
            row[kernels.MASKS] = len(chunk_masks)
            row[kernels.RADIUS] = r
            masks_of_chunks.append(chunk_masks)
            bit += width
            base += 2**width + 1
            masks_base += len(chunk_masks)
        return cls(chunks, np.concatenate(masks_of_chunks))


class _Scratch(threading.local):
    """Buffers of each thread that kernels write to, so that a query allocates only its result."""

    def __init__(self) -> None:
        self.spans = np.empty((1024, 2), np.int64)
        self.candidates = np.empty(_CANDIDATES, np.uint32)
        self.rows = np.empty(_FIRST_HITS, np.int64)
        self.distances = np.empty(_FIRST_HITS, np.int64)
        self.end = np.empty(1, np.int64)

    def grow_spans(self, probes: int) -> NDArray[np.int64]:
        self.spans = np.empty((probes, 2), np.int64)
        return self.spans


_scratch = _Scratch()
_NO_HITS_OF_ONE_QUERY = RawHits.none(1)


def _collect(kernel: Callable[..., int], arguments: tuple[object, ...], queries: int) -> RawHits:
    """Run `kernel(*arguments, first, ends, rows, distances)` until all hits fit the arrays."""
    rows, distances = _scratch.rows, _scratch.distances
    ends = _scratch.end if queries == 1 else np.empty(queries, np.int64)
    done = kernel(*arguments, 0, ends, rows, distances)
    while done < queries:
        kept = int(ends[done - 1]) if done else 0
        check_hits(int(ends[done]), queries)
        room = max(int(ends[done]), 2 * len(rows))
        rows = np.concatenate([rows[:kept], np.empty(room - kept, np.int64)])
        distances = np.concatenate([distances[:kept], np.empty(room - kept, np.int64)])
        done = kernel(*arguments, done, ends, rows, distances)
    if queries == 1:
        # Most searches have a single query that hits nothing.
        if not ends.item():
            return _NO_HITS_OF_ONE_QUERY
        ends = ends.copy()
    count = ends[-1] if queries else 0
    if count == 0:
        return RawHits(ends, NO_HITS, NO_HITS)
    return RawHits(ends, rows[:count].copy(), distances[:count].copy())


def _in_query_order(hits: RawHits, order: NDArray[np.intp]) -> RawHits:
    """Reorder the hits of queries that were searched in `order`."""
    query = np.repeat(order, np.diff(hits.ends, prepend=0))
    by_query = np.argsort(query, kind="stable")
    return RawHits(hit_ends(query, len(order)), hits.rows[by_query], hits.distances[by_query])


def _leading_keys(values: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the first 8 bytes of each row as a big-endian number, which sorts as the bytes do."""
    return np.ascontiguousarray(values[:, :8]).view(">u8")[:, 0].astype(np.uint64)
