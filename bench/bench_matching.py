"""Exact radius search compared with FAISS and threatexchange, on uniform and clustered hashes.

    make peers bench ARGS="-k matching"
    BENCH_SIZE=large make peers bench ARGS="-k matching"      also with 10 M entries (about 4 GB)

One thread. Every engine answers the same queries, one at a time; equal result sets are asserted
before timing.
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.compare import Compare, Side, peer
from bench.size import pick
from featsvc.banks.records import StoreHead
from featsvc.banks.sql.times import from_us
from featsvc.matching.building import build_part
from featsvc.matching.engines import MultiIndexEngine, build_engine
from featsvc.matching.layers import Layers
from featsvc.matching.segments import open_segment, write_segment
from featsvc.matching.snapshot import Snapshot
from featsvc.signals.algorithms import ALGORITHMS, get_algorithm
from featsvc.signals.signal import Signal
from tests.matching.rows import row
from tests.matching.served import bank

RADIUS = 31
PDQ = ALGORITHMS["pdq"]
MILLION = pick(1_000_000, smoke=5_000)
SIZES = pick(
    [10_000, 100_000, 1_000_000],
    smoke=[5_000],
    large=[10_000, 100_000, 1_000_000, 10_000_000],
)
SOME = pick(100_000, smoke=500)
DISTRIBUTIONS = ("uniform", "clustered")
PEERS = ("faiss flat", "faiss multi-hash")

threatexchange = peer("threatexchange.signal_type.pdq.pdq_index")

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


def our_search(distribution: str, count: int) -> Search:
    ours = engine(distribution, count)

    def as_set(query: Values) -> set[tuple[int, int]]:
        hits = ours.search(query, RADIUS)
        return set(zip(hits.rows.tolist(), hits.distances.tolist(), strict=True))

    return as_set


def faiss_index(title: str, values: Values) -> Any:
    index: Any = faiss.IndexBinaryFlat(256)
    if title == "faiss multi-hash":
        index = faiss.IndexBinaryMultiHash(256, 16, 16)
        index.nflip = 1
    index.add(values)
    return index


def each(search: Callable[[Values], object], queries: Values) -> Side:
    """Ask all queries, one at a time."""
    one_by_one = [queries[i : i + 1] for i in range(len(queries))]

    def ask() -> None:
        for query in one_by_one:
            search(query)

    return ask


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("count", SIZES)
def bench_matching_query(compare: Compare, count: int, distribution: str) -> None:
    """One query of 256 bits, R = 31."""
    values, queries = hashes(distribution, count)
    ours, as_set = engine(distribution, count), our_search(distribution, count)
    peers: dict[str, Side | None] = {}
    for title in PEERS:
        index = faiss_index(title, values)
        for i in range(20):
            _, distances, rows = index.range_search(queries[i : i + 1], RADIUS + 1)
            found = set(zip(rows.tolist(), distances.astype(int).tolist(), strict=True))
            assert found == as_set(queries[i : i + 1])
        peers[title] = each(partial(index.range_search, thresh=RADIUS + 1), queries)
    compare(
        f"one query, {distribution}, {count:,} entries",
        each(lambda query: ours.search(query, RADIUS), queries),
        peers,
        operations=len(queries),
    )


@pytest.mark.parametrize("answer", ["no match", "one match"])
def bench_matching_threatexchange(compare: Compare, answer: str) -> None:
    """`PDQIndex.query` and `Snapshot.match`, both of Python objects; the latter applies all rules.

    Most queries match nothing, as most uploads do.
    """
    values, _ = hashes("uniform", SOME)
    queries = values[:100]
    if answer == "no match":
        queries = np.random.default_rng(1).integers(0, 256, (100, 32), dtype=np.uint8)
    signals = [Signal(PDQ, bytes(q)) for q in queries]
    served = snapshot(values)
    theirs = None
    if threatexchange:
        index = threatexchange.PDQIndex()
        index.add_all([(bytes(v).hex(), i) for i, v in enumerate(values)])
        texts = [bytes(q).hex() for q in queries]
        theirs = partial(_all, index.query, texts)
    compare(
        f"one query answered in objects, {answer}, {len(values):,} entries",
        lambda: [served.match([signal]) for signal in signals],
        {"threatexchange": theirs},
        operations=len(queries),
    )


def _all(function: Callable[[str], object], arguments: list[str]) -> list[object]:
    return [function(argument) for argument in arguments]


@pytest.mark.parametrize("count", [n for n in SIZES if n >= MILLION])
def bench_matching_build(compare: Compare, count: int) -> None:
    """Build the index of hashes in memory."""
    values, _ = hashes("uniform", count)
    case = compare(
        f"build the engine of {count:,} entries", lambda: build_engine(PDQ, values), rounds=3
    )
    size = sum(array.nbytes for array in engine("uniform", count).arrays.values())
    case.notes["bytes per entry"] = round(size / count, 1)


def snapshot(values: Values) -> Snapshot:
    rows = (row(i + 1, value=bytes(v)) for i, v in enumerate(values))
    layers = Layers.on_rows(rows)
    return Snapshot(StoreHead(1, from_us(0)), [bank()], layers.views([bank()]), layers.status())


@pytest.fixture(scope="module")
def million() -> Snapshot:
    return snapshot(hashes("uniform", MILLION)[0])


def bench_matching_batch(compare: Compare, million: Snapshot) -> None:
    """1,024 queries at once: the cost of the rules and the columns."""
    queries = np.tile(hashes("uniform", MILLION)[1], (6, 1))[:1024]
    index = million._views[0].part.indexes["pdq"].engine
    compare(
        f"one of 1,024 queries in a batch, {MILLION:,} entries",
        lambda: million.match_batch(get_algorithm("pdq"), queries),
        {"the kernel alone": lambda: index.search(queries, RADIUS)},
        operations=len(queries),
    )


def bench_matching_restart(compare: Compare, tmp_path: Path) -> None:
    """From a segment on disk to the first answer: checksums, mapping, search."""
    values, queries = hashes("uniform", MILLION)
    part = build_part(row(i + 1, value=bytes(v)) for i, v in enumerate(values))
    columns = [getattr(part.entries, name) for name in part.entries.__slots__]
    index = part.indexes["pdq"]
    metadata = sum(c.nbytes for c in columns) + index.entry.nbytes + index.variant.nbytes
    path = write_segment(tmp_path, part, StoreHead(1, from_us(1)))
    query = Signal(PDQ, bytes(queries[0]))

    def restart() -> None:
        layers = Layers.on_segment(open_segment(path))
        served = Snapshot(StoreHead(1, from_us(1)), [bank()], layers.views([bank()]))
        served.match([query])

    case = compare(f"open a segment of {MILLION:,} entries and search", restart)
    case.notes["bytes of metadata per entry, external ids included"] = round(
        metadata / len(values), 1
    )
