"""Hamming distances of packed hashes, in bits; smaller is closer."""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel
from featsvc_kernels.popcount import popcount


@kernel("int64(Array(uint64, 1, 'C', True), Array(uint64, 1, 'C', True))")
def hamming(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> int:
    """Return the number of differing bits of two hashes of equally many 64-bit words."""
    total = 0
    for w in range(a.size):
        total += popcount(a[w] ^ b[w])
    return total


@kernel("(Array(uint64, 1, 'C', True), Array(uint64, 2, 'C', True), uint16[::1])")
def hamming_to_all(
    query: NDArray[np.uint64], hashes: NDArray[np.uint64], distances: NDArray[np.uint16]
) -> None:
    """Write to `distances` (N,) that of `query` (W,) and each row of `hashes` (N, W). O(N W)."""
    for i in range(hashes.shape[0]):
        total = 0
        for w in range(query.size):
            total += popcount(query[w] ^ hashes[i, w])
        distances[i] = total
