"""Every engine finds exactly what brute force finds."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from featsvc.matching.engines import (
    ExactEngine,
    FaissFlatEngine,
    MultiIndexEngine,
    ScanEngine,
    build_engine,
    open_engine,
)
from featsvc.matching.hits import Engine
from featsvc.matching.plans import ChunkPlan
from featsvc.signals.algorithms import ALGORITHMS
from featsvc.signals.bits import to_words
from tests.matching.rows import by_query

Values = NDArray[np.uint8]
PDQ = ALGORITHMS["pdq"]


def brute_force(values: Values, queries: Values, radius: int) -> list[list[tuple[int, float]]]:
    distances = np.bitwise_count(values[None] ^ queries[:, None]).sum(axis=2)
    return [[(int(r), int(d[r])) for r in np.flatnonzero(d <= radius)] for d in distances]


def clustered(seed: int, count: int, length: int, flips: int) -> Values:
    """Return values around zeros, ones and a random centre, with repetitions."""
    rng = np.random.default_rng(seed)
    anywhere = np.frombuffer(rng.bytes(length), np.uint8)
    centres = np.stack([np.zeros(length, np.uint8), np.full(length, 255, np.uint8), anywhere])
    noise = np.packbits(rng.random((count, length * 8)) < flips / (length * 8), axis=1)
    made = centres[rng.integers(0, 3, count)] ^ noise
    if count > 3:
        made[count // 2] = made[0]
    return made


def engines(values: Values, bits: int) -> Sequence[Engine]:
    words = to_words(values)
    plans = [ChunkPlan.even(bits, n) for n in (bits // 16, bits // 8)]
    return (
        ScanEngine({"words": words}),
        *(MultiIndexEngine.build(words, plan) for plan in plans),
        FaissFlatEngine({"words": words}),
    )


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 2, 50, 300]),
    st.sampled_from([8, 9, 16, 18, 32, 128]),
    st.integers(0, 40),
    st.integers(-1, 80),
)
def test_search_equals_brute_force(
    seed: int, count: int, length: int, flips: int, radius: int
) -> None:
    values = clustered(seed, count, length, flips)
    queries = np.concatenate([values[:4], clustered(seed + 1, 4, length, flips)])
    radius = min(radius, length * 8)
    expected = brute_force(values, queries, radius)
    for engine in engines(values, length * 8):
        assert by_query(engine.search(queries, radius)) == expected, engine.name
        assert by_query(engine.search(queries[:1], radius)) == expected[:1], engine.name


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(0, 100), st.sampled_from([16, 20, 32]))
def test_byte_hashes_are_found_where_equal(seed: int, count: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2, (count, length), dtype=np.uint8)
    # Equal in the first 8 bytes, different after.
    values[:, :8] = 7
    queries = np.concatenate([values[:5], rng.integers(0, 2, (3, length), dtype=np.uint8)])
    assert by_query(ExactEngine.build(values).search(queries, 0)) == brute_force(values, queries, 0)


@pytest.mark.parametrize("radius", [0, 15, 31, 60, 130, 256])
def test_probing_finds_what_faiss_finds(radius: int) -> None:
    rng = np.random.default_rng(9)
    values = rng.integers(0, 256, (20_000, 32), dtype=np.uint8)
    flips = np.packbits(rng.random((50, 256)) < 0.08, axis=1)
    queries = values[:50] ^ flips
    engine = build_engine(PDQ, values)
    assert engine.name == "multi-index"
    few = queries[:2] if radius > 60 else queries
    peer = FaissFlatEngine({"words": to_words(values)})
    assert by_query(engine.search(few, radius)) == by_query(peer.search(few, radius))


def test_many_equal_hashes_are_all_found() -> None:
    values = np.zeros((9_000, 32), np.uint8)
    values[::3] = np.random.default_rng(1).integers(0, 256, (3_000, 32), dtype=np.uint8)
    engine = build_engine(PDQ, values)
    assert engine.name == "multi-index"
    near = np.zeros((2, 32), np.uint8)
    near[1, 0] = 1
    assert by_query(engine.search(near, 31)) == brute_force(values, near, 31)


def test_engines_are_chosen_by_size_and_choice() -> None:
    small = np.zeros((10, 32), np.uint8)
    assert build_engine(PDQ, small).name == "scan"
    assert build_engine(PDQ, small, choice="faiss").name == "faiss-flat"
    assert build_engine(PDQ, small, choice="multi-index").name == "multi-index"
    large = np.random.default_rng(2).integers(0, 256, (5_000, 32), dtype=np.uint8)
    assert build_engine(PDQ, large, choice="scan").name == "scan"
    assert build_engine(ALGORITHMS["md5"], small[:, :16]).name == "exact"


def test_an_engine_opens_from_its_arrays() -> None:
    values = np.random.default_rng(3).integers(0, 256, (5_000, 32), dtype=np.uint8)
    exact = ALGORITHMS["sha256"], ExactEngine.build(values)
    for kind, made in (*((PDQ, engine) for engine in engines(values, 256)), exact):
        again = open_engine(made.name, kind, made.arrays)
        assert by_query(again.search(values[:5], 20)) == by_query(made.search(values[:5], 20))
    odd = replace(PDQ, bits=72)
    assert open_engine("scan", odd, {"words": to_words(values[:, :9])}).name == "scan"


@pytest.mark.parametrize("radius", [0, 8, 20])
def test_hashes_that_do_not_fill_their_bytes_are_found(radius: int) -> None:
    """196 bits, padded at either end of the bytes."""
    kind = replace(PDQ, name="odd", bits=196, default_threshold=8)
    values = clustered(11, 6_000, 25, 30)
    for mask, byte in ((0x0F, 0), (0xF0, 24)):
        values[:, byte] &= mask
        queries = values[:10]
        engine = build_engine(kind, values)
        assert engine.name == "multi-index"
        assert by_query(engine.search(queries, radius)) == brute_force(values, queries, radius)
