"""TLSH against its twin and the public library, bit for bit."""

import json
from itertools import pairwise

import numpy as np
import pytest
from featsvc_kernels import reference_tlsh
from featsvc_kernels import tlsh as kernels
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from featsvc.signals.bits import to_words
from tests.vectors.record_tlsh import VECTORS, ask_distance, ask_tlsh, inputs

Words = NDArray[np.uint64]
RECORDED = json.loads(VECTORS.read_text(encoding="utf-8"))


def digest_of(data: bytes) -> bytes | None:
    digest = np.empty(kernels.DIGEST_BYTES, np.uint8)
    is_written = kernels.tlsh_digest(np.frombuffer(data, np.uint8), digest)
    return digest.tobytes() if is_written else None


def words_of(*digests: bytes) -> Words:
    return to_words(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 35))


def distance(a: bytes, b: bytes) -> int:
    return kernels.tlsh_distance(words_of(a)[0], words_of(b)[0])


def text_of(digest: bytes | None) -> str | None:
    return None if digest is None else f"T1{digest.hex().upper()}"


def test_digests_equal_the_library() -> None:
    assert [text_of(digest_of(data)) for data in inputs()] == RECORDED["digests"]
    assert RECORDED["digests"].count(None) > 2


def test_distances_equal_the_library() -> None:
    digests = [bytes.fromhex(text[2:]) for text in RECORDED["digests"] if text]
    pairs = [*pairwise(digests), (digests[-1], digests[-5])]
    assert [distance(a, b) for a, b in pairs] == RECORDED["distances"]


few_byte_values = st.integers(1, 255).flatmap(
    lambda most: st.lists(st.integers(0, most), min_size=40, max_size=400).map(bytes)
)


def test_every_length_has_its_class() -> None:
    """Up to one byte more than the last class has, which no caller sends."""
    data = np.random.default_rng(1).bytes(int(kernels.LENGTHS[-1]) + 1)
    for size in sorted({int(n) + more for n in kernels.LENGTHS for more in (0, 1)}):
        if size >= kernels.MIN_BYTES:
            digest = digest_of(data[:size])
            assert digest is not None
            swapped = digest[1] >> 4 | (digest[1] & 15) << 4
            assert swapped == np.searchsorted(kernels.LENGTHS, size)


@settings(max_examples=150)
@given(few_byte_values)
def test_digest_equals_twin(data: bytes) -> None:
    assert digest_of(data) == reference_tlsh.digest(data)


digests = st.binary(min_size=35, max_size=35)


@settings(max_examples=300)
@given(digests, digests)
def test_distance_equals_twin_and_is_symmetric(a: bytes, b: bytes) -> None:
    assert distance(a, b) == reference_tlsh.distance(a, b) == distance(b, a)
    assert distance(a, a) == 0
    assert 0 <= distance(a, b) <= kernels.LARGEST_DISTANCE


def test_the_largest_distance_is_reached() -> None:
    a = bytes([0, 0, 0x00, *[0x00] * 32])
    b = bytes([1, 0, 0x88, *[0xFF] * 32])
    assert distance(a, b) == kernels.LARGEST_DISTANCE


@settings(max_examples=80)
@given(
    st.lists(digests, max_size=20),
    st.lists(digests, min_size=1, max_size=3),
    st.sampled_from([0, 30, 250, 937]),
)
def test_scan_finds_what_is_within_the_radius(
    stored: list[bytes], queried: list[bytes], radius: int
) -> None:
    stored = [*stored, queried[0], queried[0][:34] + bytes([queried[0][34] ^ 1])]
    values, queries = words_of(*stored), words_of(*queried)
    values.flags.writeable = queries.flags.writeable = False
    ends, rows, distances = np.empty(len(queried), int), np.empty(99, int), np.empty(99, int)
    assert kernels.scan_tlsh(values, queries, radius, 0, ends, rows, distances) == len(queried)
    query = np.repeat(np.arange(len(queried)), np.diff(ends, prepend=0))
    hits = zip(query.tolist(), rows.tolist(), distances.tolist(), strict=False)
    expected = [
        (q, row, d)
        for q, query in enumerate(queried)
        for row, value in enumerate(stored)
        if (d := reference_tlsh.distance(query, value)) <= radius
    ]
    assert list(hits) == expected


def test_scan_returns_the_room_it_needs() -> None:
    digest = bytes(range(35))
    values = words_of(*[digest] * 5)
    ends, few = np.empty(2, np.int64), np.empty(3, np.int64)
    assert kernels.scan_tlsh(values, words_of(digest, digest), 0, 0, ends, few, few.copy()) == 0
    assert ends[0] == 5


@settings(max_examples=100)
@given(few_byte_values, few_byte_values)
def test_any_bytes_equal_the_library(a: bytes, b: bytes) -> None:
    pytest.importorskip("tlsh", reason="needs the extra `peers`")
    texts = [text_of(digest_of(data)) for data in (a, b)]
    assert texts == [ask_tlsh(a), ask_tlsh(b)]
    left, right = digest_of(a), digest_of(b)
    if texts[0] and texts[1] and left and right:
        assert distance(left, right) == ask_distance(texts[0], texts[1])
