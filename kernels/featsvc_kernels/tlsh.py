"""TLSH, Trend Micro's locality-sensitive hash, in its standard form: 128 buckets, 1-byte checksum.

Source: Oliver, Cheng and Chen, "TLSH - a locality sensitive hash" (2013), sections 3 and 4, and the
`tlsh` library 4 and 5, whose digests ("T1...") these equal bit for bit. A digest is 35 bytes, in
the order of its hex digits; q1, q2 and q3 are the quartiles of the buckets' counts:

    byte 0       checksum, its two hex digits swapped
    byte 1       index of the length's class in `LENGTHS`, digits swapped
    byte 2       (100 * q1 / q3) % 16 in the high four bits, (100 * q2 / q3) % 16 in the low ones
    byte 3..34   2 bits per bucket, 127 first: how many of the quartiles its count exceeds

The distance is that of `tlsh.diffxlen`, which ignores the length.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel
from featsvc_kernels.popcount import popcount
from featsvc_kernels.selection import select

DIGEST_BYTES = 35
MIN_BYTES = 50
"""Data that is shorter, or that fills half of the buckets or fewer, has no digest."""
BUCKETS = 128
LARGEST_DISTANCE = 6 * BUCKETS + 2 * 7 * 12 + 1

_u8, _u64 = np.uint8, np.uint64
# Pearson's permutation of the bytes; every count and the checksum use it.
PEARSON = np.frombuffer(
    bytes.fromhex(
        "0157310cb0b266a679c10654f9e62ca30ec5d5b5a155da5040ef18e2ec8e26c86eb168678dfdff324d6551"
        "122d601fde196bbe4656edf02248f214d6f4e395eb61ea39163cfa52afd0057fc76f3e87f8aea9d33a429a"
        "6ac3f5ab11bbb6b300f38438944b80859e64827e5b0d99f6d8db7744df4e5358c9637a0b5c208872340a8a"
        "1e30b79c233d1a8f4afb5e81a23f98aa0773a7f1ce0396373b97dc5a3517837dad0fee4f5f59106989e1e0"
        "d9a0257b7649029d2e74099186e4cfd4cad745e51bbc437ca8fc2a041d6c15f713cd27cbe928ba93c6c09b"
        "21a4bf62cca5b4754c8c24d2ac29369f08b9e871c4e72f927833411c90fedd5dbdc28b702b476db8d1"
    ),
    np.uint8,
)
# Largest length of each class. Each is 1.5, then 1.3, then 1.1 times the one before.
LENGTHS = np.array([
    1, 2, 3, 5, 7, 11, 17, 25, 38, 57, 86, 129, 194, 291, 437, 656, 854, 1110, 1443, 1876, 2439,
    3171, 3475, 3823, 4205, 4626, 5088, 5597, 6157, 6772, 7450, 8195, 9014, 9916, 10907, 11998,
    13198, 14518, 15970, 17567, 19323, 21256, 23382, 25720, 28292, 31121, 34233, 37656, 41422,
    45564, 50121, 55133, 60646, 66711, 73382, 80721, 88793, 97672, 107439, 118183, 130002,
    143002, 157302, 173032, 190335, 209369, 230306, 253337, 278670, 306538, 337191, 370911,
    408002, 448802, 493682, 543050, 597356, 657091, 722800, 795081, 874589, 962048, 1058252,
    1164078,
], np.int64)  # fmt: skip

_EVEN = np.uint64(0x5555555555555555)
_CODE_OF_FIRST_WORD = np.uint64(0xFFFFFFFFFF000000)


@kernel()
def _bucket(salt: np.uint8, a: np.uint8, b: np.uint8, c: np.uint8) -> np.uint8:
    """Return Pearson's hash of three bytes; `salt` has already gone through the table."""
    return _u8(PEARSON[PEARSON[PEARSON[salt ^ a] ^ b] ^ c])


@kernel()
def _swap_digits(byte: int) -> int:
    """Swap the two hex digits of a byte."""
    return byte >> 4 | (byte & 15) << 4


@kernel("boolean(Array(uint8, 1, 'C', True), uint8[::1])")
def tlsh_digest(data: NDArray[np.uint8], digest: NDArray[np.uint8]) -> bool:
    """Write the digest (35,) of `data` (N,), N <= 1,164,078; False if there is none. O(N)."""
    count = data.size
    if count < MIN_BYTES:
        return False
    buckets = np.zeros(256, np.int64)
    checksum = _u8(0)
    a, b, c, d = data[3], data[2], data[1], data[0]
    for i in range(4, count):
        e, d, c, b, a = d, c, b, a, data[i]
        checksum = _bucket(_u8(1), a, b, checksum)
        buckets[_bucket(_u8(49), a, b, c)] += 1
        buckets[_bucket(_u8(12), a, b, d)] += 1
        buckets[_bucket(_u8(178), a, c, d)] += 1
        buckets[_bucket(_u8(166), a, c, e)] += 1
        buckets[_bucket(_u8(84), a, b, e)] += 1
        buckets[_bucket(_u8(230), a, d, e)] += 1
    counts = buckets[:BUCKETS]
    scratch = counts.copy()
    q1 = select(scratch, BUCKETS // 4 - 1)
    q2 = select(scratch, BUCKETS // 2 - 1)
    q3 = select(scratch, BUCKETS * 3 // 4 - 1)
    if q3 == 0 or q2 == 0:
        return False
    length_class = 0
    while length_class < LENGTHS.size and LENGTHS[length_class] < count:
        length_class += 1
    digest[0] = _u8(_swap_digits(int(checksum)))
    digest[1] = _u8(_swap_digits(length_class))
    digest[2] = _u8((100 * q1 // q3) % 16 << 4 | (100 * q2 // q3) % 16)
    for i in range(BUCKETS // 4):
        code = 0
        for j in range(4):
            k = counts[4 * i + j]
            code |= ((k > q1) + (k > q2) + (k > q3)) << (2 * j)
        digest[DIGEST_BYTES - 1 - i] = _u8(code)
    return True


@kernel()
def _ratio_distance(a: np.uint64, b: np.uint64) -> int:
    """Return the distance of two quartile ratios, 0 to 15 on a circle."""
    steps = abs(np.int64(a) - np.int64(b))
    steps = min(steps, 16 - steps)
    return int(steps) if steps <= 1 else int(steps - 1) * 12


@kernel()
def _header_distance(a: np.uint64, b: np.uint64) -> int:
    """Return the distance of the first words of two digests: ratios and checksum."""
    total = _ratio_distance((a >> _u64(20)) & _u64(15), (b >> _u64(20)) & _u64(15))
    total += _ratio_distance((a >> _u64(16)) & _u64(15), (b >> _u64(16)) & _u64(15))
    return total + int((a ^ b) & _u64(255) != _u64(0))


@kernel()
def _code_distance(a: np.uint64, b: np.uint64) -> int:
    """Return the distance of 32 buckets: 1, 2 or 6 for those 1, 2 or 3 quartiles apart."""
    differ = a ^ b
    low, high = differ & _EVEN, (differ >> _u64(1)) & _EVEN
    both = low & high
    # Both bits differ between 0 and 3, and between 1 and 2, whose own two bits differ.
    adjacent = both & (a ^ (a >> _u64(1)))
    return popcount(low) + 2 * popcount(high) + 3 * popcount(both) - 5 * popcount(adjacent)


@kernel()
def _distance(values: NDArray[np.uint64], row: int, query: NDArray[np.uint64], radius: int) -> int:
    """Return the distance, or any number above `radius` once it exceeds that."""
    total = _code_distance(values[row, 1], query[1]) + _code_distance(values[row, 2], query[2])
    if total > radius:
        # Half of a digest rules out nearly every unrelated one.
        return total
    code = _CODE_OF_FIRST_WORD
    total += _code_distance(values[row, 3], query[3]) + _code_distance(values[row, 4], query[4])
    total += _code_distance(values[row, 0] & code, query[0] & code)
    return total + _header_distance(values[row, 0], query[0])


@kernel("int64(Array(uint64, 1, 'C', True), Array(uint64, 1, 'C', True))")
def tlsh_distance(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> int:
    """Return the distance of two digests of 5 words (little-endian, zero-padded).

    Smaller is closer.
    """
    return _distance(a.reshape(1, 5), 0, b, LARGEST_DISTANCE)


@kernel(
    "int64(Array(uint64, 2, 'C', True), Array(uint64, 2, 'C', True), int64, int64, int64[::1], "
    "int64[::1], int64[::1])"
)
def scan_tlsh(
    values: NDArray[np.uint64],
    queries: NDArray[np.uint64],
    radius: int,
    first: int,
    ends: NDArray[np.int64],
    rows: NDArray[np.int64],
    distances: NDArray[np.int64],
) -> int:
    """Find the digests (N, 5) within `radius` of `queries` (Q, 5), from query `first` on. O(Q N).

    `ends`, `rows`, `distances` and the result are as in `featsvc_kernels.search.scan`.
    """
    count = int(ends[first - 1]) if first > 0 else 0
    for q in range(first, queries.shape[0]):
        for row in range(values.shape[0]):
            distance = _distance(values, row, queries[q], radius)
            if distance <= radius:
                if count < rows.size:
                    rows[count] = row
                    distances[count] = distance
                count += 1
        ends[q] = count
        if count > rows.size:
            return q
    return len(queries)
