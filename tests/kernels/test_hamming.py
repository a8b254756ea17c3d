"""`hamming` against its twin."""

import numpy as np
import pytest
from featsvc_kernels import hamming
from featsvc_kernels import reference_imagehash as reference


@pytest.mark.parametrize("words", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("rows", [0, 1, 7, 66_000])
def test_hamming_equals_twin(words: int, rows: int) -> None:
    rng = np.random.default_rng(words)
    hashes = rng.integers(0, 2**64, (rows, words), dtype=np.uint64)
    query = rng.integers(0, 2**64, words, dtype=np.uint64)
    hashes.flags.writeable = False
    distances = np.empty(rows, np.uint16)
    hamming.hamming_to_all(query, hashes, distances)
    np.testing.assert_array_equal(distances, reference.hamming_to_all(query, hashes))
    if rows:
        assert hamming.hamming(query, hashes[-1]) == distances[-1]


def test_hamming_reaches_every_bit() -> None:
    zeros, ones = np.zeros(16, np.uint64), np.full(16, 2**64 - 1, np.uint64)
    assert hamming.hamming(zeros, ones) == 1024
    assert hamming.hamming(ones, ones) == 0
