"""Engines of vectors find what brute force finds."""

import os
import subprocess
import sys
import threading

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from featsvc.matching import hits as hits_module
from featsvc.matching import vector_engines
from featsvc.matching.engines import build_engine, open_engine
from featsvc.matching.hits import TooManyHits, faiss_on_this_thread
from featsvc.matching.vector_engines import ProjectionEngine, as_vectors
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.distance import COSINE
from featsvc.signals.vectors import vector_value
from tests.matching.rows import by_query

SSCD = get_algorithm("sscd@3")


def unit(seed: int, count: int, dimensions: int, *, centres: int = 3) -> NDArray[np.uint8]:
    """Return values of `count` vectors around a few centres; the first and the middle are equal."""
    rng = np.random.default_rng(seed)
    middle = rng.standard_normal((centres, dimensions))
    noise = rng.standard_normal((count, dimensions)) * rng.choice([0.01, 0.3, 2], (count, 1))
    values = middle[rng.integers(0, centres, count)] + noise
    if count > 3:
        values[count // 2] = values[0]
    rows = [np.frombuffer(vector_value(SSCD, v), np.uint8) for v in values]
    return np.stack(rows) if rows else np.empty((0, 4 * dimensions), np.uint8)


def brute_force(
    values: NDArray[np.uint8], queries: NDArray[np.uint8], radius: float
) -> list[list[tuple[int, float]]]:
    """Compare each pair by itself; tests/signals/test_vectors.py has an oracle of the distance."""
    kept = []
    for query in queries:
        distances = [COSINE.compare(SSCD, query.tobytes(), value.tobytes()) for value in values]
        kept.append([(row, d) for row, d in enumerate(distances) if d <= radius])
    return kept


@pytest.mark.slow
@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 2, 50, 700]),
    st.sampled_from([1, 2, 58, 256]),
    st.sampled_from([-1, 0, 0.001, 0.1, 0.7, 2]),
    st.sampled_from([1, 2, 30]),
)
def test_flat_search_equals_brute_force(
    seed: int, count: int, dimensions: int, radius: float, queries: int
) -> None:
    values = unit(seed, count, dimensions)
    query_values = np.concatenate([values[:2], unit(seed + 1, queries, dimensions)])
    engine = build_engine(SSCD, values)
    again = open_engine(engine.name, SSCD, engine.arrays)
    assert engine.name == "flat"
    expected = brute_force(values, query_values, radius)
    assert by_query(engine.search(query_values, radius)) == expected
    assert by_query(again.search(query_values[:1], radius)) == expected[:1]


@pytest.mark.slow
@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 63, 64, 65, 900]),
    st.sampled_from([1, 31, 58, 129, 300]),
    st.sampled_from([0, 0.001, 0.05, 0.3, 1, 2]),
    st.booleans(),
)
def test_a_projection_loses_nothing(
    seed: int, count: int, dimensions: int, radius: float, offset: bool
) -> None:
    """Vectors lie around the origin or, as those of GIST, on one side of it."""
    values = unit(seed, count, dimensions)
    if offset:
        moved = values.view("<f4") + 3 / dimensions**0.5
        values = np.stack([np.frombuffer(vector_value(SSCD, v), np.uint8) for v in moved])
    query_values = np.concatenate([values[:3], unit(seed + 1, 3, dimensions)])
    engine = ProjectionEngine.build(as_vectors(values))
    again = open_engine(engine.name, SSCD, engine.arrays)
    expected = brute_force(values, query_values, radius)
    assert by_query(engine.search(query_values, radius)) == expected
    assert by_query(again.search(query_values[:1], radius)) == expected[:1]


@pytest.mark.parametrize("radius", [0.02, 0.1, 0.25, 0.9])
def test_a_large_bank_is_projected_and_finds_what_flat_does(radius: float) -> None:
    values = unit(7, 20_000, 64, centres=300)
    engine = build_engine(SSCD, values)
    flat = build_engine(SSCD, values, choice="scan")
    assert (engine.name, flat.name) == ("projection", "flat")
    hits = engine.search(values[:20], radius)
    assert len(hits.rows) >= 20
    assert by_query(hits) == by_query(flat.search(values[:20], radius))


@pytest.mark.parametrize("array", ["basis", "scale", "errors", "codes", "tails", "vectors"])
def test_arrays_that_do_not_fit_are_refused(array: str) -> None:
    """The kernel checks no bounds."""
    made = ProjectionEngine.build(as_vectors(unit(8, 200, 40)))
    cut = {**made.arrays, array: made.arrays[array][..., :-1].copy()}
    with pytest.raises(ValueError, match="do not fit"):
        open_engine("projection", SSCD, cut)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.sampled_from([3, 40, 200]))
def test_the_bounds_of_a_projection_are_upper_bounds(
    seed: int, count: int, dimensions: int
) -> None:
    """Rounded down, they would exclude vectors on the threshold."""
    rng = np.random.default_rng(seed)
    made = rng.standard_normal((count, dimensions)) * np.where(np.arange(dimensions) < 60, 1, 0.01)
    values = np.stack([np.frombuffer(vector_value(SSCD, row), np.uint8) for row in made])
    arrays = ProjectionEngine.build(as_vectors(values)).arrays
    vectors, basis = as_vectors(values).astype(float), arrays["basis"].astype(float)
    blocks = len(arrays["tails"])
    projected = vectors @ basis

    def up_to_each_block(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.cumsum((numbers**2).reshape(count, blocks, -1).sum(axis=2), axis=1)

    rest = (vectors**2).sum(axis=1, keepdims=True) - up_to_each_block(projected)
    tails = arrays["tails"].reshape(blocks, -1)[:, :count].T / 255
    assert (tails >= np.minimum(np.sqrt(np.maximum(rest, 0)), 1)).all()
    codes = arrays["codes"].transpose(1, 3, 0, 2).reshape(-1, basis.shape[1])[:count]
    lost = np.sqrt(up_to_each_block(projected - codes * arrays["scale"].astype(float)))
    assert (arrays["errors"] * (1 + 1e-5) + 1e-6 >= lost).all()


@pytest.mark.parametrize("queries", [1, 3])
def test_blocks_of_a_flat_search_name_their_own_rows(
    monkeypatch: pytest.MonkeyPatch, queries: int
) -> None:
    """300 rows in blocks of 100 or 33."""
    values = unit(11, 300, 8)
    monkeypatch.setattr(vector_engines, "MAX_HITS", 100)
    hits = build_engine(SSCD, values).search(values[-queries:], 0.0005)
    assert by_query(hits) == brute_force(values, values[-queries:], 0.0005)
    assert max(hits.rows) == 299


def test_equal_vectors_have_distance_0() -> None:
    values = unit(5, 40, 256)
    hits = build_engine(SSCD, values).search(values[:1], 0)
    assert (hits.rows.tolist(), hits.distances.tolist()) == ([0, 20], [0, 0])


def test_a_batch_with_too_many_hits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    values = unit(6, 300, 8)
    engine = build_engine(SSCD, values)
    monkeypatch.setattr(hits_module, "MAX_HITS", 500)
    with pytest.raises(TooManyHits):
        engine.search(values[:2], 2)
    assert len(engine.search(values[:1], 2).rows) == 300


def test_faiss_starts_no_threads_under_a_request() -> None:
    """OpenMP has a setting for each thread, so that of the importing thread is not enough."""
    threads: list[int] = []

    def request() -> None:
        faiss_on_this_thread()
        threads.append(faiss.omp_get_max_threads())

    thread = threading.Thread(target=request)
    thread.start()
    thread.join()
    assert threads == [1]


def test_matrix_products_start_no_threads() -> None:
    """In a separate process, because NumPy never ends its threads."""
    code = (
        "import featsvc, numpy as np; a = np.ones((800, 800), np.float32); a @ a; "
        "print(len(__import__('os').listdir('/proc/self/task')))"
    )
    environ = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ
    )
    assert done.stdout.strip() == "1"
