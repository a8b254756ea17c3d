"""Hamming distances of packed hashes, by population count, 64 bits at a time."""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel

_1, _2, _4, _56 = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(56)
_PAIRS = np.uint64(0x5555555555555555)
_NIBBLES = np.uint64(0x3333333333333333)
_BYTES = np.uint64(0x0F0F0F0F0F0F0F0F)
_ONES = np.uint64(0x0101010101010101)


@kernel()
def _popcount(word: np.uint64) -> np.uint64:
    """Bits set; LLVM knows the idiom and makes it one instruction (Hacker's Delight, 5-1)."""
    word = word - ((word >> _1) & _PAIRS)
    word = (word & _NIBBLES) + ((word >> _2) & _NIBBLES)
    word = (word + (word >> _4)) & _BYTES
    return (word * _ONES) >> _56


@kernel("int64(Array(uint64, 1, 'C', True), Array(uint64, 1, 'C', True))")
def hamming(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> int:
    """Bits that differ between two hashes of the same number of 64-bit words; smaller is nearer."""
    total = np.uint64(0)
    for w in range(a.size):
        total += _popcount(a[w] ^ b[w])
    return int(total)


@kernel("(Array(uint64, 1, 'C', True), Array(uint64, 2, 'C', True), uint16[::1])")
def hamming_to_all(
    query: NDArray[np.uint64], hashes: NDArray[np.uint64], distances: NDArray[np.uint16]
) -> None:
    """Distance of `query` (W,) to each row of `hashes` (N, W) into `distances` (N,); O(N W)."""
    for i in range(hashes.shape[0]):
        total = np.uint64(0)
        for w in range(query.size):
            total += _popcount(query[w] ^ hashes[i, w])
        distances[i] = total
