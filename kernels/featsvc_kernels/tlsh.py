"""TLSH, Trend Micro's locality-sensitive hash, in its standard form: 128 buckets, 1-byte checksum.

Source: Oliver, Cheng and Chen, "TLSH - a locality sensitive hash" (2013), sections 3 and 4, and the
`tlsh` library 4 and 5, whose digests ("T1...") these are to the bit. A digest is 35 bytes, in
the order that its hex is written in:

    byte 0       checksum, its two hex digits swapped
    byte 1       place of the length in `LENGTHS`, its digits swapped
    byte 2       (100 * q1 / q3) % 16 in the high four bits, (100 * q2 / q3) % 16 in the low ones
    byte 3..34   2 bits a bucket, 127 first: how many of the quartiles q1, q2, q3 its count passes

The distance is that of `tlsh.diffxlen`, which takes no account of the length.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel
from featsvc_kernels.popcount import popcount

DIGEST_BYTES = 35
MIN_BYTES = 50
"""Shorter data has no digest, nor has data that fills half of the buckets or fewer."""
BUCKETS = 128
LARGEST_DISTANCE = 6 * BUCKETS + 2 * 7 * 12 + 1

_u8, _u64 = np.uint8, np.uint64
# Pearson's permutation of the bytes, which every count and the checksum go through.
PEARSON = np.array([
    1, 87, 49, 12, 176, 178, 102, 166, 121, 193, 6, 84, 249, 230, 44, 163, 14, 197, 213, 181,
    161, 85, 218, 80, 64, 239, 24, 226, 236, 142, 38, 200, 110, 177, 104, 103, 141, 253, 255,
    50, 77, 101, 81, 18, 45, 96, 31, 222, 25, 107, 190, 70, 86, 237, 240, 34, 72, 242, 20, 214,
    244, 227, 149, 235, 97, 234, 57, 22, 60, 250, 82, 175, 208, 5, 127, 199, 111, 62, 135, 248,
    174, 169, 211, 58, 66, 154, 106, 195, 245, 171, 17, 187, 182, 179, 0, 243, 132, 56, 148, 75,
    128, 133, 158, 100, 130, 126, 91, 13, 153, 246, 216, 219, 119, 68, 223, 78, 83, 88, 201, 99,
    122, 11, 92, 32, 136, 114, 52, 10, 138, 30, 48, 183, 156, 35, 61, 26, 143, 74, 251, 94, 129,
    162, 63, 152, 170, 7, 115, 167, 241, 206, 3, 150, 55, 59, 151, 220, 90, 53, 23, 131, 125,
    173, 15, 238, 79, 95, 89, 16, 105, 137, 225, 224, 217, 160, 37, 123, 118, 73, 2, 157, 46,
    116, 9, 145, 134, 228, 207, 212, 202, 215, 69, 229, 27, 188, 67, 124, 168, 252, 42, 4, 29,
    108, 21, 247, 19, 205, 39, 203, 233, 40, 186, 147, 198, 192, 155, 33, 164, 191, 98, 204,
    165, 180, 117, 76, 140, 36, 210, 172, 41, 54, 159, 8, 185, 232, 113, 196, 231, 47, 146, 120,
    51, 65, 28, 144, 254, 221, 93, 189, 194, 139, 112, 43, 71, 109, 184, 209,
], np.uint8)  # fmt: skip
# Largest length of each class; the classes grow by 1.5, then 1.3, then 1.1.
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
    """Pearson's hash of three bytes; `salt` has gone through the table already."""
    return _u8(PEARSON[PEARSON[PEARSON[salt ^ a] ^ b] ^ c])


@kernel()
def _swapped(byte: int) -> int:
    return byte >> 4 | (byte & 15) << 4


@kernel("boolean(Array(uint8, 1, 'C', True), uint8[::1])")
def tlsh_digest(data: NDArray[np.uint8], digest: NDArray[np.uint8]) -> bool:
    """Write the digest (35,) of `data` (N,), N <= 1,164,078; False where there is none. O(N)."""
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
    ordered = np.sort(counts)
    q1, q2, q3 = ordered[BUCKETS // 4 - 1], ordered[BUCKETS // 2 - 1], ordered[BUCKETS * 3 // 4 - 1]
    if q3 == 0 or ordered[BUCKETS // 2 - 1] == 0:
        return False
    digest[0] = _u8(_swapped(int(checksum)))
    digest[1] = _u8(_swapped(int(np.searchsorted(LENGTHS, count))))
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
    """Of two quartile ratios, 0 to 15 in a circle."""
    apart = abs(np.int64(a) - np.int64(b))
    apart = min(apart, 16 - apart)
    return int(apart) if apart <= 1 else int(apart - 1) * 12


@kernel()
def _header_distance(a: np.uint64, b: np.uint64) -> int:
    """Of the first words of two digests: ratios and checksum."""
    total = _ratio_distance((a >> _u64(20)) & _u64(15), (b >> _u64(20)) & _u64(15))
    total += _ratio_distance((a >> _u64(16)) & _u64(15), (b >> _u64(16)) & _u64(15))
    return total + int((a ^ b) & _u64(255) != _u64(0))


@kernel()
def _code_distance(a: np.uint64, b: np.uint64) -> int:
    """Of 32 buckets: 1 or 2 where they are as many quartiles apart, 6 for three."""
    differ = a ^ b
    low, high = differ & _EVEN, (differ >> _u64(1)) & _EVEN
    both = low & high
    # Both bits differ between 0 and 3, whose bits are alike, and between 1 and 2.
    near = both & (a ^ (a >> _u64(1)))
    return popcount(low) + 2 * popcount(high) + 3 * popcount(both) - 5 * popcount(near)


@kernel()
def _distance(values: NDArray[np.uint64], row: int, query: NDArray[np.uint64], radius: int) -> int:
    """The distance, or any larger number than `radius` once it is passed."""
    total = _code_distance(values[row, 1], query[1]) + _code_distance(values[row, 2], query[2])
    if total > radius:
        # Half of a digest rules nearly every stranger out.
        return total
    code = _CODE_OF_FIRST_WORD
    total += _code_distance(values[row, 3], query[3]) + _code_distance(values[row, 4], query[4])
    total += _code_distance(values[row, 0] & code, query[0] & code)
    return total + _header_distance(values[row, 0], query[0])


@kernel("int64(Array(uint64, 1, 'C', True), Array(uint64, 1, 'C', True))")
def tlsh_distance(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> int:
    """Of two digests as 5 words (little-endian, filled up with zeros); smaller is nearer."""
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
    """Digests (N, 5) within `radius` of each of `queries` (Q, 5) from number `first` on. O(Q N).

    Hits are written, and what is returned, as `featsvc_kernels.search.scan` does it.
    """
    filled = int(ends[first - 1]) if first > 0 else 0
    for q in range(first, queries.shape[0]):
        for row in range(values.shape[0]):
            distance = _distance(values, row, queries[q], radius)
            if distance <= radius:
                if filled < rows.size:
                    rows[filled] = row
                    distances[filled] = distance
                filled += 1
        ends[q] = filled
        if filled > rows.size:
            return q
    return len(queries)
