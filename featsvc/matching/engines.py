"""Engines: all values within a distance of each query.

A value is a row of a `uint8[n, bytes]`, or of a `Ragged`; its row number names it in an answer. An
engine is made from named arrays (`build` makes them, a segment maps them), so that an index on
disk and one in memory are the same thing. Engines are immutable: any number of threads may search
one. Those of vectors are in `vector_engines`, that of texts in `text_engine`.
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
    as_rows,
    check_room,
    ends_of,
    faiss_on_this_thread,
)
from featsvc.matching.plans import (
    GIVE_UP_SHARE,
    ChunkPlan,
    choose_plan,
    masks,
    worth_probing,
)
from featsvc.matching.text_engine import MinHashEngine
from featsvc.matching.values import Values
from featsvc.matching.vector_engines import (
    FlatVectorEngine,
    ProjectionEngine,
    as_vectors,
    build_vector_engine,
)
from featsvc.signals.algorithms import Algorithm
from featsvc.signals.bits import to_words
from featsvc.signals.distance import (
    CONTAINMENT,
    COSINE,
    EQUALITY,
    HAMMING,
    TLSH,
    Distance,
)

_I64 = NDArray[np.int64]

_FIRST_HITS = 1024
_CANDIDATES = 4096


class ExactEngine:
    """Byte hashes: equal or not. O(log n): the first 8 bytes are searched for, the rest compared.

    Arrays: `values` uint8 (n, bytes), `keys` uint64 (n,) the first 8 bytes as a big-endian number,
    ascending, `order` uint32 (n,) the row of each key.
    """

    name = "exact"

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self._values = np.asarray(arrays["values"], np.uint8)
        self._keys = np.asarray(arrays["keys"], np.uint64)
        self._order = np.asarray(arrays["order"], np.uint32)

    @classmethod
    def build(cls, values: NDArray[np.uint8]) -> "ExactEngine":
        keys = _leading_number(values)
        order = np.argsort(keys, kind="stable").astype(np.uint32)
        return cls({"values": values, "keys": keys[order], "order": order})

    def search(self, queries: Values, radius: float) -> RawHits:
        queries = as_rows(queries)
        if radius < 0 or not len(self._keys):
            return RawHits.none(len(queries))
        wanted = _leading_number(queries)
        low = np.searchsorted(self._keys, wanted, "left")
        counts = np.searchsorted(self._keys, wanted, "right") - low
        check_room(int(counts.sum()), len(queries))
        query = np.repeat(np.arange(len(queries)), counts)
        within = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = self._order[low[query] + within].astype(np.int64)
        equal = (self._values[rows] == queries[query]).all(axis=1)
        ends = ends_of(query[equal], len(queries))
        return RawHits(ends, rows[equal], np.zeros(int(equal.sum()), np.int64))


class ScanEngine:
    """Hamming distance by comparing every hash. Arrays: `words` uint64 (n, w)."""

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
    """TLSH's distance by comparing every digest: a million take 20 ms. Arrays: `words` (n, 5)."""

    name = "tlsh-scan"
    _kernel = staticmethod(scan_tlsh)


class MultiIndexEngine:
    """Hamming distance by multi-index hashing; by a scan where the radius is too large for it.

    Arrays: `words` uint64 (n, w), `widths` int64 (c,), `starts` and `postings` uint32, as
    `featsvc_kernels.search` lays them out.
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
        """O(n) a chunk."""
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
        arrays: Arrays = {
            "words": words, "widths": widths, "starts": starts, "postings": postings
        }  # fmt: skip
        return cls(plan.bits, arrays)

    def search(self, queries: Values, radius: float) -> RawHits:
        if radius < 0:
            return RawHits.none(len(queries))
        radius = int(radius)
        table = self._tables[radius] if radius in self._tables else self._table(radius)
        if table is None:
            return self._scan.search(queries, radius)
        words = to_words(as_rows(queries))
        if len(words) == 1:
            return _collect(kernels.probe, self._fixed(words, radius, table), 1)
        # Near queries one after another find their postings and hashes in the cache.
        order = np.lexsort(words.T[::-1])
        hits = _collect(kernels.probe, self._fixed(words[order], radius, table), len(words))
        return _in_order(hits, order)

    def _fixed(
        self, words: NDArray[np.uint64], radius: int, table: "_ProbeTable"
    ) -> tuple[object, ...]:
        spans = _scratch.spans
        if len(spans) < len(table.masks):
            spans = _scratch.grow_spans(len(table.masks))
        return (
            self._words, words, radius, table.chunks, self._starts, self._postings,
            table.masks, self._give_up, spans, _scratch.candidates,
        )  # fmt: skip

    def _table(self, radius: int) -> "_ProbeTable | None":
        """Made once a radius; None where a scan is faster."""
        worth = worth_probing(self._plan, len(self._words), radius)
        table = self._tables[radius] = _ProbeTable.of(self._plan, radius) if worth else None
        return table


class FaissFlatEngine:
    """Hamming distance by FAISS `IndexBinaryFlat`, the cross-check. Arrays: `words`.

    FAISS keeps a copy of the hashes.
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
        # FAISS returns what is strictly nearer than its radius.
        limits, distances, rows = self._index.range_search(
            to_words(as_rows(queries)).view(np.uint8), int(radius) + 1
        )
        return RawHits(limits[1:].astype(np.int64), rows, distances.astype(np.int64))


@dataclass(frozen=True, slots=True)
class Family:
    """The engines of one distance.

    `build` makes the one for values of a kind, by their number, or as a bank's choice says;
    `opened` makes one from its arrays, by its name; `choices` are those of a bank that mean
    values of this distance (`banks.records.ENGINES`); `quick`: a search at the default threshold
    is always short.
    """

    build: Callable[[Algorithm, Values, str], Engine]
    opened: Mapping[str, Callable[[Algorithm, Arrays], Engine]]
    choices: tuple[str, ...] = ()
    quick: bool = False


def _build_hamming(kind: Algorithm, values: Values, choice: str) -> Engine:
    words = to_words(as_rows(values))
    if choice == "faiss":
        return FaissFlatEngine({"words": words})
    plan = choose_plan(kind.bits, len(words), int(kind.default_threshold))
    if choice == "multi-index" and plan is None:
        # Of a table too small to be worth it: what a curator asks for is still exact.
        plan = ChunkPlan.even(kind.bits, max(1, kind.bits // 8))
    if plan is None or choice == "scan":
        return ScanEngine({"words": words})
    return MultiIndexEngine.build(words, plan)


FAMILIES: Mapping[Distance, Family] = MappingProxyType(
    {
        HAMMING: Family(
            build=_build_hamming,
            opened={
                ScanEngine.name: lambda _, arrays: ScanEngine(arrays),
                MultiIndexEngine.name: lambda kind, arrays: MultiIndexEngine(kind.bits, arrays),
                FaissFlatEngine.name: lambda _, arrays: FaissFlatEngine(arrays),
            },
            choices=("faiss", "scan", "multi-index"),
            quick=True,
        ),
        EQUALITY: Family(
            build=lambda _, values, choice: ExactEngine.build(as_rows(values)),
            opened={ExactEngine.name: lambda _, arrays: ExactEngine(arrays)},
            quick=True,
        ),
        TLSH: Family(
            build=lambda _, values, choice: TlshEngine({"words": to_words(as_rows(values))}),
            opened={TlshEngine.name: lambda _, arrays: TlshEngine(arrays)},
        ),
        CONTAINMENT: Family(
            build=lambda _, values, choice: MinHashEngine.build(values),
            opened={MinHashEngine.name: lambda _, arrays: MinHashEngine(arrays)},
        ),
        COSINE: Family(
            build=lambda _, values, choice: build_vector_engine(
                as_vectors(as_rows(values)), choice
            ),
            opened={
                FlatVectorEngine.name: lambda _, arrays: FlatVectorEngine(arrays),
                ProjectionEngine.name: lambda _, arrays: ProjectionEngine(arrays),
            },
            choices=("faiss", "scan"),
        ),
    }
)
"""Every distance of an algorithm that is matched."""


def build_engine(kind: Algorithm, values: Values, *, choice: str = "auto") -> Engine:
    """The engine for `values`: by distance and size, or as a bank chose it."""
    return FAMILIES[kind.distance].build(kind, values, choice)


def open_engine(name: str, kind: Algorithm, arrays: Arrays) -> Engine:
    """The engine that `arrays` were taken from. Raises KeyError where one of them is missing or
    the name is none of the kind's distance, ValueError where they do not fit."""
    return FAMILIES[kind.distance].opened[name](kind, arrays)


@dataclass(frozen=True, slots=True)
class _ProbeTable:
    """`chunks` and `masks` of the probe kernel for one radius."""

    chunks: NDArray[np.int64]
    masks: NDArray[np.uint32]

    @classmethod
    def of(cls, plan: ChunkPlan, radius: int) -> "_ProbeTable":
        chunks = np.empty((len(plan.widths), kernels.CHUNK_COLUMNS), np.int64)
        parts: list[NDArray[np.uint32]] = []
        bit = base = taken = 0
        for row, width, r in zip(chunks, plan.widths, plan.radii(radius), strict=True):
            mine = masks(width, r)
            row[kernels.FIRST_BIT] = bit
            row[kernels.WIDTH] = width
            row[kernels.STARTS_BASE] = base
            row[kernels.MASKS_BASE] = taken
            row[kernels.MASKS] = len(mine)
            row[kernels.RADIUS] = r
            parts.append(mine)
            bit += width
            base += 2**width + 1
            taken += len(mine)
        return cls(chunks, np.concatenate(parts))


class _Scratch(threading.local):
    """Of each thread: where kernels work and write, so that a query allocates its answer only."""

    def __init__(self) -> None:
        self.spans = np.empty((1024, 2), np.int64)
        self.candidates = np.empty(_CANDIDATES, np.uint32)
        self.rows = np.empty(_FIRST_HITS, np.int64)
        self.distances = np.empty(_FIRST_HITS, np.int64)
        self.end = np.empty(1, np.int64)

    def grow_spans(self, probes: int) -> _I64:
        self.spans = np.empty((probes, 2), np.int64)
        return self.spans


_scratch = _Scratch()
_ONE_WITHOUT = RawHits.none(1)


def _collect(kernel: Callable[..., int], fixed: tuple[object, ...], queries: int) -> RawHits:
    """Run `kernel(*fixed, first, ends, rows, distances)` until all hits have found room."""
    rows, distances = _scratch.rows, _scratch.distances
    ends = _scratch.end if queries == 1 else np.empty(queries, np.int64)
    done = kernel(*fixed, 0, ends, rows, distances)
    while done < queries:
        kept = int(ends[done - 1]) if done else 0
        check_room(int(ends[done]), queries)
        room = max(int(ends[done]), 2 * len(rows))
        rows = np.concatenate([rows[:kept], np.empty(room - kept, np.int64)])
        distances = np.concatenate([distances[:kept], np.empty(room - kept, np.int64)])
        done = kernel(*fixed, done, ends, rows, distances)
    if queries == 1:
        # Most queries are one that hits nothing.
        if not ends.item():
            return _ONE_WITHOUT
        ends = ends.copy()
    count = ends[-1] if queries else 0
    if count == 0:
        return RawHits(ends, NO_HITS, NO_HITS)
    return RawHits(ends, rows[:count].copy(), distances[:count].copy())


def _in_order(hits: RawHits, order: NDArray[np.intp]) -> RawHits:
    """Hits of queries that were searched in `order`, in the order they were asked in."""
    counts = np.diff(hits.ends, prepend=0)
    query = np.repeat(order, counts)
    back = np.argsort(query, kind="stable")
    return RawHits(ends_of(query, len(order)), hits.rows[back], hits.distances[back])


def _leading_number(values: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The first 8 bytes of each row as a big-endian number: it sorts as the bytes do."""
    return np.ascontiguousarray(values[:, :8]).view(">u8")[:, 0].astype(np.uint64)
