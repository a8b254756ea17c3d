"""Search by cosine compared with FAISS, on uniform and clustered vectors of 256 dimensions.

    make bench ARGS="-k vectors"

One thread. All sides answer the same queries, one at a time; half of them are within the radius of
a vector of the bank. `recall@1` is the share of the queries with a vector within the radius whose
nearest one, by the flat index, was found. featsvc is asserted to find everything that the flat
index finds; IVF and HNSW are approximate.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.compare import Compare, Side
from bench.size import pick
from featsvc.matching.hits import faiss_on_this_thread
from featsvc.matching.vector_engines import FlatVectorEngine, ProjectionEngine

DIMENSIONS = 256
COUNT = pick(1_000_000, smoke=2_000)
LISTS = pick(1024, smoke=4)
QUERIES = 100
TIMED = pick(20, smoke=2)
"""How many of the queries are timed in a round, as many near a vector as not, about."""
RADII = pick((0.05, 0.15, 0.25), smoke=(0.15,))
DISTRIBUTIONS = ("uniform", "clustered")
FLAT, IVF, HNSW = "faiss flat", f"faiss ivf{LISTS} sq8, 16 probes", "faiss hnsw32, ef 64"

pytestmark = pytest.mark.timeout(1800)  # HNSW takes minutes to build

Vectors = NDArray[np.float32]
Nearest = tuple[int, float] | None


@cache
def vectors(distribution: str, count: int) -> Vectors:
    """Clustered: around count / 50 originals, as in a list collected from re-uploads."""
    rng = np.random.default_rng(count)
    made = np.empty((count, DIMENSIONS), np.float32)
    originals = rng.standard_normal((max(1, count // 50), DIMENSIONS), np.float32)
    for first in range(0, count, 100_000):
        part = rng.standard_normal((min(100_000, count - first), DIMENSIONS), np.float32)
        if distribution == "clustered":
            part *= rng.uniform(0.05, 0.6, (len(part), 1)).astype(np.float32)
            part += originals[rng.integers(0, len(originals), len(part))]
        made[first : first + len(part)] = normalised(part)
    return made


@cache
def queries_of(distribution: str, count: int, radius: float) -> Vectors:
    rng = np.random.default_rng(1)
    entries = vectors(distribution, count)[rng.integers(0, count, QUERIES // 2)]
    away = rng.standard_normal((2, QUERIES // 2, DIMENSIONS), np.float32)
    aside = away[0] - (away[0] * entries).sum(axis=1, keepdims=True) * entries
    cosine = 1 - rng.uniform(0, radius, (QUERIES // 2, 1)).astype(np.float32)
    near = entries * cosine + normalised(aside) * np.sqrt(1 - cosine**2)
    return rng.permutation(normalised(np.concatenate([near, away[1]])))


def normalised(values: Vectors) -> Vectors:
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)


@cache
def ours(distribution: str, count: int) -> ProjectionEngine:
    return ProjectionEngine.build(vectors(distribution, count))


@cache
def peer_index(peer: str, distribution: str, count: int) -> Any:
    values = vectors(distribution, count)
    if peer == HNSW:
        index: Any = faiss.index_factory(DIMENSIONS, "HNSW32,Flat", faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efSearch = 64
    elif peer == IVF:
        index = faiss.index_factory(DIMENSIONS, f"IVF{LISTS},SQ8", faiss.METRIC_INNER_PRODUCT)
        index.train(values[:50_000])
        index.nprobe = 16
    else:
        index = faiss.IndexFlatIP(DIMENSIONS)
    index.add(values)
    return index


@cache
def searcher(
    peer: str, distribution: str, count: int, radius: float
) -> tuple[Callable[[Vectors], object], Callable[[Vectors], Nearest]]:
    """The timed search, and its result as the nearest row with its distance."""
    faiss_on_this_thread()
    if peer == "featsvc":
        engine = ours(distribution, count)

        def find(query: Vectors) -> Nearest:
            hits = engine.search(query.view(np.uint8), radius)
            at = int(np.argmin(hits.distances)) if len(hits.rows) else -1
            return None if at < 0 else (int(hits.rows[at]), float(hits.distances[at]))

        return lambda query: engine.search(query.view(np.uint8), radius), find
    index = peer_index(peer, distribution, count)
    if peer == HNSW:
        # Its search by radius visits only a beam.
        def timed(query: Vectors) -> object:
            return index.search(query, 10)

        def found(query: Vectors) -> Nearest:
            products, rows = index.search(query, 10)
            return nearest(products[0], rows[0])

        return timed, found

    def ranged(query: Vectors) -> Nearest:
        _, products, rows = index.range_search(query, 1 - radius)
        return nearest(products, rows)

    return lambda query: index.range_search(query, 1 - radius), ranged


def nearest(products: Vectors, rows: NDArray[np.int64]) -> Nearest:
    return (int(rows[products.argmax()]), float(1 - products.max())) if len(rows) else None


def recall(peer: str, distribution: str, count: int, radius: float) -> float:
    """The share found of the nearest vectors that the flat engine finds within the radius."""
    values, queries = vectors(distribution, count), queries_of(distribution, count, radius)
    flat = FlatVectorEngine({"vectors": values})
    _, find = searcher(peer, distribution, count, radius)
    there = found = 0
    for i in range(50):
        query = queries[i : i + 1]
        hits = flat.search(query.view(np.uint8), radius)
        if not len(hits.rows):
            continue
        there += 1
        got = find(query)
        # Ties count as found; the distances of a peer are quantised.
        found += got is not None and got[0] in hits.rows[hits.distances <= hits.distances.min()]
        if peer == "featsvc":
            again = ours(distribution, count).search(query.view(np.uint8), radius)
            assert sorted(again.rows) == sorted(hits.rows)
    return found / there


def ask(peer: str, distribution: str, count: int, radius: float) -> Side:
    timed, _ = searcher(peer, distribution, count, radius)
    queries = queries_of(distribution, count, radius)
    one_by_one = [queries[i : i + 1] for i in range(TIMED)]
    return lambda: [timed(query) for query in one_by_one]


def run(
    compare: Compare, peers: tuple[str, ...], distribution: str, count: int, radius: float
) -> None:
    sides = {side: ask(side, distribution, count, radius) for side in ("featsvc", *peers)}
    shares = {side: recall(side, distribution, count, radius) for side in sides}
    assert shares["featsvc"] == 1
    case = compare(
        f"one vector, {distribution}, {count:,} x {DIMENSIONS}, within {radius:g}",
        sides.pop("featsvc"),
        sides,
        operations=TIMED,
    )
    for side, share in shares.items():
        case.notes[f"recall@1 of {side}"] = f"{share:.3f}"


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def bench_vectors_query(compare: Compare, distribution: str, radius: float) -> None:
    """One query within a cosine distance."""
    run(compare, (FLAT, IVF), distribution, COUNT, radius)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def bench_vectors_hnsw(compare: Compare, distribution: str) -> None:
    """A tenth of the vectors, since HNSW takes most of an hour to build for all."""
    run(compare, (FLAT, HNSW), distribution, COUNT // 10, 0.15)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def bench_vectors_build(compare: Compare, distribution: str) -> None:
    """Build an engine of float32 rows."""
    values = vectors(distribution, COUNT)
    faiss_on_this_thread()
    compare(
        f"build, {distribution}, {COUNT:,} x {DIMENSIONS}",
        lambda: ProjectionEngine.build(values),
        {IVF: lambda: peer_index.__wrapped__(IVF, distribution, COUNT)},
        rounds=1,
    )
