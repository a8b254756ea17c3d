"""The search for near copies against its twin, and its helpers against NumPy."""

import numpy as np
import pytest
from featsvc_kernels import near_copies, reference_minhash
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from featsvc.signals.text_index import TextIndex

Grams = NDArray[np.uint32]


def index_of(entries: list[Grams]) -> TextIndex:
    grams = np.concatenate([*entries, np.empty(0, np.uint32)])
    return TextIndex.build(grams, np.cumsum([0, *map(len, entries)])[1:].astype(np.int64))


def texts(seed: int, count: int) -> tuple[list[Grams], Grams]:
    """Return entries of one vocabulary, and a query that contains an edited copy of one of them."""
    rng = np.random.default_rng(seed)
    vocabulary = rng.integers(0, 2**32, rng.integers(20, 3000), dtype=np.uint32)
    entries = [rng.choice(vocabulary, rng.integers(4, 900)) for _ in range(count)]
    copy = entries[rng.integers(count)].copy()
    copy[rng.random(len(copy)) < rng.choice([0, 0.2, 0.4])] = rng.choice(vocabulary)
    around = [rng.choice(vocabulary, rng.integers(0, 400)) for _ in range(2)]
    return entries, np.concatenate([around[0], copy, around[1]])


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 5), st.sampled_from([0.0, 0.2, 0.4, 1.0]))
def test_search_equals_twin(seed: int, count: int, radius: float) -> None:
    entries, query = texts(seed, count)
    rows, distances = index_of(entries).search(query, radius)
    hits = dict(zip(rows.tolist(), distances.tolist(), strict=True))
    assert hits == reference_minhash.near_copies(query, entries, radius)


def test_arrays_may_be_read_only() -> None:
    entries, query = texts(1, 5)
    index = index_of(entries)
    for array in index.arrays.values():
        array.flags.writeable = False
    query.flags.writeable = False
    assert len(index.search(query, 1.0)[0]) >= 1


@settings(max_examples=50)
@given(st.lists(st.integers(0, 2**32 - 1), max_size=100))
def test_blocks_are_sorted_one_by_one(values: list[int]) -> None:
    grams = np.array(values, np.uint32)
    before = grams.copy()
    near_copies.sort_blocks(grams)
    blocks = [np.sort(before[i : i + 32]) for i in range(0, len(before), 32)]
    assert grams.tolist() == [g for block in blocks for g in block.tolist()]
    assert near_copies.first_disorder(grams) == -1


@pytest.mark.parametrize(("place", "expected"), [(1, 1), (31, 31), (32, -1), (33, 33), (64, -1)])
def test_disorder_is_found_within_a_block(place: int, expected: int) -> None:
    grams = np.arange(1000, 1070, dtype=np.uint32)
    grams[place] = 999 if place % 32 else 0
    assert near_copies.first_disorder(grams) == expected


@pytest.mark.parametrize("count", [0, 1, 31, 512, 513, 768, 769, 4096])
def test_every_gram_of_a_text_is_in_a_passage(count: int) -> None:
    grams = np.arange(count, dtype=np.uint32) * np.uint32(2654435761)
    index = index_of([grams])
    expected = reference_minhash.passages(-(-count // 32)) if count >= 16 else []
    assert len(index.owners) == len(expected)
    assert set(index.sets.tolist()) == (set(grams.tolist()) if count >= 16 else set())
    most = near_copies.count_passages(np.array([count]))
    assert len(expected) <= most[0]


@pytest.mark.parametrize("count", [1, 4, 5, 16, 17, 20, 21, 33])
def test_windows_are_those_of_the_twin(count: int) -> None:
    lengths = np.empty(6, np.int64)
    windows = [
        (first, first + int(length))
        for first in range(count)
        for length in lengths[: near_copies._windows_from(first, count, lengths)]
    ]
    assert sorted(windows) == sorted(reference_minhash.windows(count))


def test_postings_are_found_by_their_key() -> None:
    rng = np.random.default_rng(3)
    keys = rng.integers(0, 2**32, (70, 64), dtype=np.uint32)
    starts, postings = np.empty(2**9 + 1, np.uint32), np.empty((70 * 64, 2), np.uint32)
    near_copies.post_keys(keys, 9, starts, postings)
    assert (starts[0], starts[-1]) == (0, len(postings))
    assert sorted(map(tuple, postings.tolist())) == sorted(
        (int(key), p) for p, row in enumerate(keys) for key in row
    )
    for prefix in range(2**9):
        in_list = postings[starts[prefix] : starts[prefix + 1], near_copies.KEY]
        assert (in_list >> 23 == prefix).all()


def test_more_than_65535_passages() -> None:
    """A copy of the last of 66,000 unrelated texts is found."""
    rng = np.random.default_rng(4)
    grams = rng.integers(0, 2**32, (66_000, 16), dtype=np.uint32)
    ends = np.arange(16, 16 * 66_000 + 1, 16)
    index = TextIndex.build(grams.reshape(-1), ends)
    rows, distances = index.search(np.concatenate([grams[-1], grams[0][:3]]), 0.4)
    assert (rows.tolist(), distances.tolist()) == ([65_999], [0.0])
