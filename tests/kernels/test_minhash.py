"""The MinHash kernels against their twin, and MinHash against true resemblance."""

import numpy as np
import pytest
from featsvc_kernels import minhash, reference_minhash
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Hashes = NDArray[np.uint32]


def hashes_of(text: str) -> Hashes:
    codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
    hashes = np.empty(max(codes.size - 3, 0), np.uint32)
    minhash.gram_hashes(codes, hashes)
    return hashes


def signature_of(hashes: Hashes, block: int | None = None) -> Hashes:
    block = block or max(hashes.size, 1)
    minima = np.empty((max(-(-hashes.size // block), 1), 128), np.uint32)
    minhash.block_minima(hashes, block, minima)
    return np.asarray(minima.min(axis=0))


@settings(max_examples=100)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_grams_equal_twin(text: str) -> None:
    np.testing.assert_array_equal(hashes_of(text), reference_minhash.gram_hashes(text))


def test_grams_of_the_highest_code_points_differ() -> None:
    hashes = hashes_of("\U0010ffff" * 3 + "\U0010fffe" + "\U0010ffff" * 3)
    assert np.unique(hashes).size == 4


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40), st.integers(1, 50))
def test_minima_equal_twin_in_any_blocks(values: list[int], block: int) -> None:
    hashes = np.array(values, np.uint32)
    expected = reference_minhash.signature(hashes)
    np.testing.assert_array_equal(signature_of(hashes), expected)
    np.testing.assert_array_equal(signature_of(hashes, block), expected)
    keys = np.empty(64, np.uint32)
    minhash.band_keys(expected[None], keys)
    np.testing.assert_array_equal(keys, reference_minhash.band_keys(expected))


def test_an_empty_set_has_the_largest_minima() -> None:
    assert (signature_of(np.empty(0, np.uint32)) == 0xFFFFFFFF).all()


def test_more_than_65535_hashes() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)
    whole = signature_of(hashes)
    np.testing.assert_array_equal(
        whole, np.minimum(signature_of(hashes[:70_000]), signature_of(hashes[70_000:]))
    )


@pytest.mark.parametrize("resemblance", [0.1, 0.3, 0.5, 0.8])
def test_agreement_of_minima_estimates_resemblance(resemblance: float) -> None:
    rng = np.random.default_rng(5)
    shared = round(resemblance * 600)
    alone = (600 - shared) // 2
    estimates = []
    for _ in range(200):
        values = rng.integers(0, 2**32, shared + 2 * alone, dtype=np.uint32)
        a = signature_of(values[: shared + alone])
        b = signature_of(np.concatenate([values[:shared], values[shared + alone :]]))
        estimates.append((a == b).mean())
    # The mean of 200 x 128 trials has a standard error under .004.
    assert np.mean(estimates) == pytest.approx(resemblance, abs=0.02)


def test_consecutive_numbers_are_permuted_well_enough() -> None:
    """Poor permutations fail on regular sets; the mixer spreads them."""
    a = signature_of(hashes_of("".join(map(chr, range(1000, 1600)))))
    b = signature_of(hashes_of("".join(map(chr, range(1300, 1900)))))
    assert (a == b).mean() == pytest.approx(1 / 3, abs=0.15)
