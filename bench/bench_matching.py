"""Exact radius search compared with FAISS and threatexchange, on uniform and clustered hashes.

    make bench ARGS="-k matching"
    FEATSVC_BENCH_LARGE=1 make bench ARGS="-k matching"     also with 10 M entries (about 3 GB)

One thread. Every engine of a group answers the same queries, one at a time; equal result sets are
asserted before timing. The table has the ratios.
"""

import os
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from featsvc.banks.records import StoreHead
from featsvc.banks.sql.times import from_us
from featsvc.matching.engines import MultiIndexEngine, build_engine
from featsvc.matching.layers import Layers
from featsvc.matching.parts import build_part
from featsvc.matching.segments import open_segment, write_segment
from featsvc.matching.snapshot import Snapshot
from featsvc.signals.algorithms import ALGORITHMS, get_algorithm
from featsvc.signals.signal import Signal
from tests.matching.rows import row
from tests.matching.served import bank

RADIUS = 31
PDQ = ALGORITHMS["pdq"]
SIZES = [10_000, 100_000, 1_000_000]
if os.environ.get("FEATSVC_BENCH_LARGE"):
    SIZES.append(10_000_000)
DISTRIBUTIONS = ("uniform", "clustered")
PEERS = ("featsvc", "faiss flat", "faiss multi-hash")

# FAISS keeps this per calling thread.
faiss.omp_set_num_threads(1)

Values = NDArray[np.uint8]
Search = Callable[[Values], set[tuple[int, int]]]


@cache
def hashes(distribution: str, count: int) -> tuple[Values, Values]:
    """`count` hashes and 200 queries, half of them near one of the hashes.

    Clustered: each hash is one of count / 20 originals with 0 to 40 bits changed, as in a list
    collected from re-uploads.
    """
    rng = np.random.default_rng(count)
    if distribution == "uniform":
        values = rng.integers(0, 256, (count, 32), dtype=np.uint8)
    else:
        originals = rng.integers(0, 256, (max(1, count // 20), 32), dtype=np.uint8)
        values = originals[rng.integers(0, len(originals), count)]
        flips = rng.integers(0, 41, count)
        for start in range(0, count, 100_000):
            part = slice(start, start + 100_000)
            share = flips[part, None] / 256
            values[part] ^= np.packbits(rng.random((len(flips[part]), 256)) < share, axis=1)
    near = values[rng.integers(0, count, 100)]
    near = near ^ np.packbits(rng.random((100, 256)) < 10 / 256, axis=1)
    queries = np.concatenate([near, rng.integers(0, 256, (100, 32), dtype=np.uint8)])
    return values, rng.permutation(queries)


@cache
def engine(distribution: str, count: int) -> MultiIndexEngine:
    made = build_engine(PDQ, hashes(distribution, count)[0])
    assert isinstance(made, MultiIndexEngine)
    return made


def searcher(peer: str, distribution: str, count: int) -> tuple[Callable[[Values], object], Search]:
    """The timed search, and its result as a set of (row, distance)."""
    values, _ = hashes(distribution, count)
    if peer == "featsvc":
        ours = engine(distribution, count)

        def as_set(query: Values) -> set[tuple[int, int]]:
            hits = ours.search(query, RADIUS)
            return set(zip(hits.rows.tolist(), hits.distances.tolist(), strict=True))

        return lambda query: ours.search(query, RADIUS), as_set
    index: Any = faiss.IndexBinaryFlat(256)
    if peer == "faiss multi-hash":
        index = faiss.IndexBinaryMultiHash(256, 16, 16)
        index.nflip = 1
    index.add(values)

    def found(query: Values) -> set[tuple[int, int]]:
        _, distances, rows = index.range_search(query, RADIUS + 1)
        return set(zip(rows.tolist(), distances.astype(int).tolist(), strict=True))

    return lambda query: index.range_search(query, RADIUS + 1), found


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("count", SIZES)
def bench_matching_query(
    benchmark: BenchmarkFixture, count: int, distribution: str, peer: str
) -> None:
    """One query of 256 bits, R = 31."""
    benchmark.group = f"one query, {distribution}, {count:,} entries"
    _, queries = hashes(distribution, count)
    timed, as_set = searcher(peer, distribution, count)
    ours = engine(distribution, count)
    for i in range(20):
        query = queries[i : i + 1]
        hits = ours.search(query, RADIUS)
        assert as_set(query) == set(zip(hits.rows.tolist(), hits.distances.tolist(), strict=True))
    one_by_one: Iterator[Values] = cycle([queries[i : i + 1] for i in range(len(queries))])
    rounds = 200 if count >= 1_000_000 else 2000
    benchmark.pedantic(
        timed, setup=lambda: ((next(one_by_one),), {}), rounds=rounds, warmup_rounds=20
    )


@pytest.mark.parametrize("peer", ["featsvc", "threatexchange"])
@pytest.mark.parametrize("answer", ["no match", "one match"])
def bench_matching_threatexchange(benchmark: BenchmarkFixture, peer: str, answer: str) -> None:
    """`PDQIndex.query` and `Snapshot.match`, both of Python objects; the latter applies all rules.

    Most queries match nothing, as most uploads do.
    """
    benchmark.group = f"one query, answered in objects: {answer}, 100,000 entries"
    values, _ = hashes("uniform", 100_000)
    queries = values[:100]
    if answer == "no match":
        queries = np.random.default_rng(1).integers(0, 256, (100, 32), dtype=np.uint8)
    if peer == "featsvc":
        signals = cycle([Signal(PDQ, bytes(q)) for q in queries])
        served = snapshot(values)
        benchmark.pedantic(
            served.match, setup=lambda: (([next(signals)],), {}), rounds=2000, warmup_rounds=20
        )
        return
    pdq_index = pytest.importorskip("threatexchange.signal_type.pdq.pdq_index")
    index = pdq_index.PDQIndex()
    index.add_all([(bytes(v).hex(), i) for i, v in enumerate(values)])
    texts = cycle([bytes(q).hex() for q in queries])
    benchmark.pedantic(
        index.query, setup=lambda: ((next(texts),), {}), rounds=500, warmup_rounds=20
    )


@pytest.mark.parametrize("count", [n for n in SIZES if n >= 1_000_000])
def bench_matching_build(benchmark: BenchmarkFixture, count: int) -> None:
    """Build the index of hashes in memory; bytes per entry are in the extra info."""
    benchmark.group = f"build, {count:,} entries"
    values, _ = hashes("uniform", count)
    made = benchmark.pedantic(build_engine, args=(PDQ, values), rounds=3)
    size = sum(array.nbytes for array in made.arrays.values())
    benchmark.extra_info["bytes_per_entry"] = round(size / count, 1)
    print(f"\n{count:,} entries: {size / count:.1f} bytes an entry")


def snapshot(values: Values) -> Snapshot:
    rows = (row(i + 1, value=bytes(v)) for i, v in enumerate(values))
    layers = Layers.on_rows(rows)
    return Snapshot(StoreHead(1, from_us(0)), [bank()], layers.views([bank()]), layers.status())


@pytest.fixture(scope="module")
def million() -> Snapshot:
    return snapshot(hashes("uniform", 1_000_000)[0])


@pytest.mark.parametrize("how", ["kernel", "match_batch"])
def bench_matching_batch(benchmark: BenchmarkFixture, million: Snapshot, how: str) -> None:
    """1,024 queries at once at 1 M entries: the cost of the rules and the columns."""
    benchmark.group = "1,024 queries in one batch, 1,000,000 entries"
    queries = np.tile(hashes("uniform", 1_000_000)[1], (6, 1))[:1024]
    if how == "kernel":
        index = million._views[0].part.indexes["pdq"].engine
        benchmark(index.search, queries, RADIUS)
    else:
        benchmark(million.match_batch, get_algorithm("pdq"), queries)


def bench_matching_restart(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """From a segment of 1 M entries on disk to the first answer: checksums, mapping, search."""
    benchmark.group = "restart, 1,000,000 entries"
    values, queries = hashes("uniform", 1_000_000)
    part = build_part(row(i + 1, value=bytes(v)) for i, v in enumerate(values))
    columns = [getattr(part.entries, name) for name in part.entries.__slots__]
    index = part.indexes["pdq"]
    metadata = sum(c.nbytes for c in columns) + index.entry.nbytes + index.variant.nbytes
    print(f"\nmetadata: {metadata / len(values):.1f} bytes an entry, external ids included")
    path = write_segment(tmp_path, part, 1, 1)
    query = Signal(PDQ, bytes(queries[0]))

    def restart() -> None:
        layers = Layers.on_segment(open_segment(path))
        served = Snapshot(StoreHead(1, from_us(1)), [bank()], layers.views([bank()]))
        served.match([query])

    benchmark.pedantic(restart, rounds=5, warmup_rounds=1)
