"""The search kernels against their twins."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from featsvc_kernels import reference_search, search
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Words = NDArray[np.uint64]

SEEDS = st.integers(0, 2**32 - 1)
FLIPS = st.integers(0, 40)
RADII = st.lists(st.integers(-1, 2), min_size=9, max_size=9)


def clustered(seed: int, count: int, words: int, flips: int) -> Words:
    """Return hashes around three centres: all zeros, all ones, random."""
    rng = np.random.default_rng(seed)
    bits = words * 64
    centres = np.zeros((3, bits), bool)
    centres[1] = True
    centres[2] = rng.random(bits) < 0.5
    hashes = centres[rng.integers(0, 3, count)] ^ (rng.random((count, bits)) < flips / bits)
    return np.packbits(hashes, axis=1).view(np.uint64).reshape(count, words)


def split(
    ends: NDArray[np.int64], rows: Sequence[int], distances: Sequence[int]
) -> list[list[tuple[int, int]]]:
    pairs = [(int(r), int(d)) for r, d in zip(rows, distances, strict=True)]
    begins = [0, *ends[:-1]]
    return [sorted(pairs[b:e]) for b, e in zip(begins, ends, strict=True)]


def scan(values: Words, queries: Words, radius: int) -> list[list[tuple[int, int]]]:
    room = len(values) * len(queries)
    ends = np.empty(len(queries), np.int64)
    rows, distances = np.empty(room, np.int64), np.empty(room, np.int64)
    assert search.scan(values, queries, radius, 0, ends, rows, distances) == len(queries)
    count = int(ends[-1]) if len(queries) else 0
    return split(ends, rows[:count].tolist(), distances[:count].tolist())


def probe(
    values: Words,
    queries: Words,
    widths: Sequence[int],
    radii: Sequence[int],
    *,
    give_up: int = 1 << 40,
    scratch: int = 3,
) -> list[list[tuple[int, int]]]:
    """Probe tables that the twin builds; the radius is the largest that the chunks' radii allow."""
    chunks = np.empty((len(widths), search.CHUNK_COLUMNS), np.int64)
    starts: list[NDArray[np.uint32]] = []
    postings: list[int] = []
    masks: list[list[int]] = []
    bit = 0
    for row, width, r in zip(chunks, widths, radii, strict=True):
        choices = (bits for k in range(r + 1) for bits in combinations(range(width), k))
        chunk_masks = [sum(1 << b for b in bits) for bits in choices]
        row[search.FIRST_BIT], row[search.WIDTH], row[search.RADIUS] = bit, width, r
        row[search.STARTS_BASE] = sum(map(len, starts))
        row[search.MASKS_BASE], row[search.MASKS] = sum(map(len, masks)), len(chunk_masks)
        lists = reference_search.post(values, bit, width)
        starts.append(np.cumsum([0, *(len(rows) for rows in lists)]).astype(np.uint32))
        postings += [row for rows in lists for row in rows]
        masks.append(chunk_masks)
        bit += width
    flat_masks = np.array([m for chunk_masks in masks for m in chunk_masks], np.uint32)
    radius = sum(r + 1 for r in radii) - 1
    room = max(1, len(values) * len(queries))
    ends = np.empty(len(queries), np.int64)
    rows, distances = np.empty(room, np.int64), np.empty(room, np.int64)
    tables = chunks, np.concatenate(starts), np.array(postings, np.uint32), flat_masks
    spans, candidates = np.empty((len(flat_masks), 2), np.int64), np.empty(scratch, np.uint32)
    hits = ends, rows, distances
    done = search.probe(values, queries, radius, *tables, give_up, spans, candidates, 0, *hits)
    assert done == len(queries)
    count = int(ends[-1]) if len(queries) else 0
    return split(ends, rows[:count].tolist(), distances[:count].tolist())


@settings(max_examples=60)
@given(SEEDS, st.integers(0, 60), st.sampled_from([1, 2, 3, 4, 16]), FLIPS, st.integers(0, 1024))
def test_scan_equals_twin(seed: int, count: int, words: int, flips: int, radius: int) -> None:
    values = clustered(seed, count, words, flips)
    queries = np.concatenate([values[:3], clustered(seed + 1, 3, words, flips)])
    radius = min(radius, words * 64)
    assert scan(values, queries, radius) == reference_search.scan(values, queries, radius)


@settings(max_examples=60)
@given(SEEDS, st.integers(0, 60), st.integers(0, 12), RADII, st.integers(1, 5))
def test_probe_equals_twin(
    seed: int, count: int, flips: int, radii: list[int], scratch: int
) -> None:
    values = clustered(seed, count, 1, flips)
    queries = np.concatenate([values[:3], clustered(seed + 1, 3, 1, flips)])
    widths = [8, 7, 7, 7, 7, 7, 7, 7, 7]
    expected = reference_search.scan(values, queries, sum(r + 1 for r in radii) - 1)
    assert probe(values, queries, widths, radii, scratch=scratch) == expected


def test_chunks_may_cross_words() -> None:
    values = clustered(5, 200, 4, 10)
    widths = [13] * 10 + [9] * 14
    radii = [1] * 8 + [0] * 10 + [-1] * 6
    expected = reference_search.scan(values, values[:20], sum(r + 1 for r in radii) - 1)
    assert probe(values, values[:20], widths, radii) == expected


def test_a_query_with_too_many_candidates_is_scanned() -> None:
    values = clustered(6, 100, 1, 2)
    expected = reference_search.scan(values, values[:9], 7)
    assert probe(values, values[:9], [8] * 8, [0] * 8, give_up=0) == expected


@pytest.mark.parametrize(("first_bit", "width"), [(0, 8), (60, 9), (119, 9), (127, 1), (64, 10)])
def test_post_equals_twin(first_bit: int, width: int) -> None:
    values = clustered(7, 500, 2, 20)
    starts, postings = np.empty(2**width + 1, np.uint32), np.empty(500, np.uint32)
    search.post(values, first_bit, width, starts, postings)
    lists = [postings[starts[k] : starts[k + 1]].tolist() for k in range(2**width)]
    assert lists == reference_search.post(values, first_bit, width)
    assert starts[-1] == 500


def test_a_search_resumes_at_the_query_whose_hits_do_not_fit() -> None:
    values = np.zeros((5, 2), np.uint64)
    queries = np.zeros((3, 2), np.uint64)
    ends, rows, distances = np.empty(3, np.int64), np.empty(7, np.int64), np.empty(7, np.int64)
    assert search.scan(values, queries, 0, 0, ends, rows, distances) == 1
    assert ends[:2].tolist() == [5, 10]
    larger = np.concatenate([rows[:5], np.empty(10, np.int64)])
    assert search.scan(values, queries, 0, 1, ends, larger, np.empty(15, np.int64)) == 3
    assert larger.tolist() == [0, 1, 2, 3, 4] * 3


def test_tables_may_be_read_only_and_large() -> None:
    rng = np.random.default_rng(8)
    values = rng.integers(0, 2**64, (70_000, 4), dtype=np.uint64)
    values.flags.writeable = False
    queries = values[[0, 65_535, 65_536, 69_999]]
    queries.flags.writeable = False
    ends, rows, distances = np.empty(4, np.int64), np.empty(8, np.int64), np.empty(8, np.int64)
    assert search.scan(values, queries, 31, 0, ends, rows, distances) == 4
    assert rows[:4].tolist() == [0, 65_535, 65_536, 69_999]
    starts, postings = np.empty(2**16 + 1, np.uint32), np.empty(70_000, np.uint32)
    search.post(values, 16, 16, starts, postings)
    assert np.array_equal(np.sort(postings), np.arange(70_000, dtype=np.uint32))
