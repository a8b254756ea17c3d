"""MinHash of character 4-grams: signatures and LSH bands.

Source: Broder, "On the resemblance and containment of documents" (1997), sections 2 and 3. Two
sets agree in the minimum of a random permutation with a probability equal to their resemblance,
|A & B| / |A | B|. Permutations of the 32-bit numbers are `a * x + b` with odd `a`, after a mixer
that removes patterns of the text from `x`. Bands have 2 minima (Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", section 3.4): two sets of resemblance s share a band with probability
s^2. They share at least two of 64 with probability .011 at s = .05, .92 at .25, .98 at .3, .999 at
.4 and 1 - 2e-7 at .5.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel

GRAM = 4
MINIMA = 128
BANDS = 64
ROWS = MINIMA // BANDS

_u32, _u64 = np.uint32, np.uint64
_LARGEST = np.uint32(0xFFFFFFFF)
_PERMUTATIONS = np.random.Generator(np.random.PCG64(20260701)).integers(
    0, 2**32, (2, MINIMA), dtype=np.uint32
)
_MULTIPLIERS = _PERMUTATIONS[0] | np.uint32(1)
_OFFSETS = _PERMUTATIONS[1].copy()


@kernel()
def _mix(x: np.uint64) -> np.uint64:
    """Return a number each of whose bits depends on all of `x`: MurmurHash3's 64-bit finaliser."""
    x ^= x >> _u64(33)
    x *= _u64(0xFF51AFD7ED558CCD)
    x ^= x >> _u64(33)
    x *= _u64(0xC4CEB9FE1A85EC53)
    return x ^ (x >> _u64(33))


@kernel("(Array(uint32, 1, 'C', True), uint32[::1])")
def gram_hashes(codes: NDArray[np.uint32], hashes: NDArray[np.uint32]) -> None:
    """Write the hashes of every 4 neighbouring code points of `codes` (N,) to `hashes` (N - 3,)."""
    for i in range(hashes.size):
        # Four code points of 21 bits do not fit into 64 bits: they are mixed in two halves.
        first = _u64(codes[i]) << _u64(32) | _u64(codes[i + 1])
        second = _u64(codes[i + 2]) << _u64(32) | _u64(codes[i + 3])
        hashes[i] = _u32(_mix(_mix(first) ^ second) >> _u64(32))


@kernel()
def _permuted(h: np.uint32, k: int) -> np.uint32:
    return _u32(_MULTIPLIERS[k] * h + _OFFSETS[k])


@kernel("(Array(uint32, 1, 'C', True), int64, uint32[:, ::1])")
def block_minima(hashes: NDArray[np.uint32], block: int, minima: NDArray[np.uint32]) -> None:
    """Write the MinHash of every `block` neighbouring hashes to `minima` (ceil(N / block), 128).

    The signature of several blocks together is the element-wise minimum of theirs.
    """
    for b in range(minima.shape[0]):
        signature = minima[b]
        signature[:] = _LARGEST
        i, stop = b * block, min((b + 1) * block, hashes.size)
        # Four hashes per load and store of the signature.
        while i + 4 <= stop:
            h0, h1, h2, h3 = hashes[i], hashes[i + 1], hashes[i + 2], hashes[i + 3]
            for k in range(MINIMA):
                low = min(_permuted(h0, k), _permuted(h1, k))
                lower = min(_permuted(h2, k), _permuted(h3, k))
                signature[k] = min(signature[k], low, lower)
            i += 4
        while i < stop:
            h0 = hashes[i]
            for k in range(MINIMA):
                signature[k] = min(signature[k], _permuted(h0, k))
            i += 1


@kernel("(Array(uint32, 2, 'C', True), uint32[::1])")
def band_keys(minima: NDArray[np.uint32], keys: NDArray[np.uint32]) -> None:
    """Write one key per band of the signature of all `minima` (B, 128) to `keys` (64,)."""
    signature = np.empty(MINIMA, np.uint32)
    signature[:] = _LARGEST
    for b in range(minima.shape[0]):
        for k in range(MINIMA):
            signature[k] = min(signature[k], minima[b, k])
    for band in range(BANDS):
        pair = _u64(signature[ROWS * band]) << _u64(32) | _u64(signature[ROWS * band + 1])
        # One table holds all bands, so the band is part of the key.
        keys[band] = _u32(_mix(_mix(pair) ^ _u64(band)) >> _u64(32))
