"""MinHash of character 4-grams: signatures, LSH bands, candidates, overlap.

Source: Broder, "On the resemblance and containment of documents" (1997), sections 2 and 3: two
sets agree in the minimum of a random permutation with a probability equal to their resemblance,
|A & B| / |A | B|. Permutations of the 32-bit numbers are `a * x + b` with odd `a`, after a mixer
that leaves no pattern of the text in `x`. Bands of 2 minima (Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", section 3.4): two sets of resemblance s share one of 64 bands with
probability 1 - (1 - s^2)^64, which is .93 at s = .2, .998 at .3 and 1 - 1e-8 at .5.
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
    """Each bit of the result depends on each of `x`: MurmurHash3's 64-bit finaliser."""
    x ^= x >> _u64(33)
    x *= _u64(0xFF51AFD7ED558CCD)
    x ^= x >> _u64(33)
    x *= _u64(0xC4CEB9FE1A85EC53)
    return x ^ (x >> _u64(33))


@kernel("(Array(uint32, 1, 'C', True), uint32[::1])")
def gram_hashes(codes: NDArray[np.uint32], hashes: NDArray[np.uint32]) -> None:
    """Hash each 4 neighbours of `codes` (N,), code points, into `hashes` (N - 3,)."""
    for i in range(hashes.size):
        # Code points have 21 bits, so that four do not fit into 64: mixed in two halves.
        first = _u64(codes[i]) << _u64(32) | _u64(codes[i + 1])
        second = _u64(codes[i + 2]) << _u64(32) | _u64(codes[i + 3])
        hashes[i] = _u32(_mix(_mix(first) ^ second) >> _u64(32))


@kernel()
def _permuted(h: np.uint32, k: int) -> np.uint32:
    return _u32(_MULTIPLIERS[k] * h + _OFFSETS[k])


@kernel("(Array(uint32, 1, 'C', True), int64, uint32[:, ::1])")
def block_minima(hashes: NDArray[np.uint32], block: int, minima: NDArray[np.uint32]) -> None:
    """MinHash of each `block` neighbouring hashes into `minima` (ceil(N / block), 128).

    The signature of several blocks together is the smaller of theirs, place by place.
    """
    for b in range(minima.shape[0]):
        signature = minima[b]
        signature[:] = _LARGEST
        i, stop = b * block, min((b + 1) * block, hashes.size)
        # Four hashes for each load and store of the signature.
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


@kernel("(Array(uint32, 2, 'C', True), uint64[::1])")
def band_keys(minima: NDArray[np.uint32], keys: NDArray[np.uint64]) -> None:
    """One key a band of the signature of all `minima` (B, 128) together, into `keys` (64,)."""
    signature = np.empty(MINIMA, np.uint32)
    signature[:] = _LARGEST
    for b in range(minima.shape[0]):
        for k in range(MINIMA):
            signature[k] = min(signature[k], minima[b, k])
    for band in range(BANDS):
        keys[band] = _mix(
            _u64(signature[ROWS * band]) << _u64(32) | _u64(signature[ROWS * band + 1])
        )


@kernel(
    "int64(Array(uint64, 2, 'C', True), Array(uint32, 2, 'C', True), Array(uint64, 1, 'C', True), "
    "uint8[::1], int64[::1], int64)"
)
def collect_candidates(
    sorted_keys: NDArray[np.uint64],
    rows: NDArray[np.uint32],
    keys: NDArray[np.uint64],
    seen: NDArray[np.uint8],
    found: NDArray[np.int64],
    count: int,
) -> int:
    """Rows that share a band with `keys` (64,), each once, appended to `found`; the new count.

    `sorted_keys` and `rows` (64, N): the keys of each band in order and whose they are. `seen`
    (N,) is 0 for rows that were not found yet; `found` (N,) holds `count` already.
    """
    for band in range(BANDS):
        column, key = sorted_keys[band], keys[band]
        at = np.searchsorted(column, key)
        while at < column.size and column[at] == key:
            row = rows[band, at]
            if seen[row] == 0:
                seen[row] = 1
                found[count] = row
                count += 1
            at += 1
    return count


@kernel()
def _count_common(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> int:
    """Number of values in both; each sorted and without repetition."""
    i = j = common = 0
    while i < a.size and j < b.size:
        x, y = a[i], b[j]
        common += x == y
        i += x <= y
        j += y <= x
    return common


@kernel(
    "(Array(uint32, 1, 'C', True), Array(int64, 1, 'C', True), Array(int64, 1, 'C', True), "
    "Array(uint32, 1, 'C', True), float64[::1])"
)
def containments(
    sets: NDArray[np.uint32],
    offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
    query: NDArray[np.uint32],
    shares: NDArray[np.float64],
) -> None:
    """The share of each row's set that `query` holds, 0 to 1, into `shares` (like `rows`).

    Set r is `sets[offsets[r] : offsets[r + 1]]`, not empty; it and `query` are sorted and without
    repetition.
    """
    for i in range(rows.size):
        members = sets[offsets[rows[i]] : offsets[rows[i] + 1]]
        shares[i] = _count_common(members, query) / members.size
