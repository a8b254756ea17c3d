"""PDQ: down-sampling to 64x64, the 16x16 block of its DCT, quality and bits.

Source: Meta, "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm" (2019),
and the C++ reference in the ThreatExchange repository, `pdq/cpp`.

The reference filters twice with a box in each direction, then takes 64x64 samples at
`int((i + 0.5) * n / 64)`. All of this is linear: it is `R @ luma @ C.T`, with banded R (64, H) and
C (64, W) that depend only on the size. A band is about n / 64 wide, so each row of the picture is
read about once: its raw interleaved bytes are weighted into a line, and only the 64 finished lines
are converted to luma and weighted along the columns.

Cost: about one pass over the bytes. Results differ from the reference by rounding: it sums float32
in running windows, these kernels sum each window separately. Where that decides more than a few
bits, as in pictures that are their own mirror image, `pdq_hash` computes them again in the order of
the reference (`featsvc_kernels.jarosz`).
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jarosz import STRAIGHT, Turn, jarosz_downsample
from featsvc_kernels.jit import kernel
from featsvc_kernels.pictures import LUMA, RGB
from featsvc_kernels.selection import select

SAMPLES = 64
"""Samples per side of the down-sampled picture."""
COEFFICIENTS = 16
"""Frequencies per side that become bits."""
_LOWER_MEDIAN = COEFFICIENTS * COEFFICIENTS // 2 - 1

ROUNDING = 1 / 64
"""Distance from the median within which rounding may decide a bit: the two orders of operations
differ by at most 0.011 in a coefficient, 0.001 in most pictures."""
ROUNDED_BITS = 8
"""From this number of such bits on, PDQ is computed in the order of the reference. Camera
pictures have 0 or 1."""
RESAVING = 0.5
"""Distance from the median within which saving a picture anew, as a JPEG, often decides a bit."""
UNSTABLE_BITS = 64
"""From this number of such bits on, a hash is unstable: about half of them change, more than the 31
within which PDQ matches. Camera pictures have 0 to 10."""

Part = tuple[int, int, int, int]
"""Top, left, height and width of a rectangle of pixels."""

_f32 = np.float32
_PIXELS, _PART = "Array(uint8, 2, 'C', True)", "UniTuple(int64, 4)"


def _dct_matrix() -> NDArray[np.float32]:
    """Return rows 1 to 16 of the orthonormal 64-point DCT-II, (16, 64)."""
    k = np.arange(1, COEFFICIENTS + 1)[:, None]
    n = np.arange(SAMPLES)[None, :]
    scale = np.float32(np.sqrt(2.0 / SAMPLES))
    waves = np.cos(np.pi / 2 / SAMPLES * k * (2 * n + 1))
    return np.asarray(float(scale) * waves, dtype=np.float32)


_DCT = _dct_matrix()
_DCT_T = np.ascontiguousarray(_DCT.T)


@kernel()
def _bands(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return starts, stops and weights (64, taps) of the 64 bands of an axis of length `n`."""
    window = (n + 127) // 128
    right = (window + 2) // 2 - 1
    left = window - right - 1
    starts = np.empty(SAMPLES, np.int64)
    stops = np.empty(SAMPLES, np.int64)
    weights = np.zeros((SAMPLES, 2 * window), np.float32)
    for i in range(SAMPLES):
        sample = (2 * i + 1) * n // 128
        first, last = max(sample - left, 0), min(sample + right, n - 1)
        start = max(first - left, 0)
        for j in range(first, last + 1):
            inner_first, inner_last = max(j - left, 0), min(j + right, n - 1)
            share = 1.0 / ((last - first + 1) * (inner_last - inner_first + 1))
            for k in range(inner_first, inner_last + 1):
                weights[i, k - start] += _f32(share)
        starts[i] = start
        stops[i] = min(last + right, n - 1) + 1
    return starts, stops, weights


@kernel()
def _weigh_rows(
    pixels: NDArray[np.uint8],
    first_row: int,
    first_byte: int,
    weights: NDArray[np.float32],
    line: NDArray[np.float32],
) -> None:
    """line[k] = sum over rows of weight x byte. Four rows per pass keep `line` in registers."""
    n = line.size
    taps = weights.size
    line[:] = _f32(0)
    row = 0
    while row + 4 <= taps:
        y = first_row + row
        r0 = pixels[y, first_byte : first_byte + n]
        r1 = pixels[y + 1, first_byte : first_byte + n]
        r2 = pixels[y + 2, first_byte : first_byte + n]
        r3 = pixels[y + 3, first_byte : first_byte + n]
        w0, w1, w2, w3 = weights[row], weights[row + 1], weights[row + 2], weights[row + 3]
        for k in range(n):
            line[k] += (w0 * _f32(r0[k]) + w1 * _f32(r1[k])) + (w2 * _f32(r2[k]) + w3 * _f32(r3[k]))
        row += 4
    while row < taps:
        r0 = pixels[first_row + row, first_byte : first_byte + n]
        w0 = weights[row]
        for k in range(n):
            line[k] += w0 * _f32(r0[k])
        row += 1


@kernel()
def _dot(a: NDArray[np.float32], b: NDArray[np.float32]) -> np.float32:
    """Return the inner product, as four sums; in one sum each addition waits for the last."""
    s0 = s1 = s2 = s3 = _f32(0)
    k = 0
    while k + 4 <= a.size:
        s0 += a[k] * b[k]
        s1 += a[k + 1] * b[k + 1]
        s2 += a[k + 2] * b[k + 2]
        s3 += a[k + 3] * b[k + 3]
        k += 4
    while k < a.size:
        s0 += a[k] * b[k]
        k += 1
    return (s0 + s1) + (s2 + s3)


@kernel(f"({_PIXELS}, int64, {_PART}, float32[:, ::1])")
def pdq_downsample(
    pixels: NDArray[np.uint8], channels: int, part: Part, block: NDArray[np.float32]
) -> None:
    """Down-sample a rectangle of a picture to 64x64 luma, 0 to 255, into `block` (64, 64).

    `pixels` (H, W * channels) uint8, interleaved RGB (`channels` 3) or grey (1). `part` is top,
    left, height and width of the rectangle, which lies inside the picture, 1x1 at least.
    """
    top, left, height, width = part
    row_starts, row_stops, row_weights = _bands(height)
    col_starts, col_stops, col_weights = _bands(width)
    line = np.empty(width * channels, np.float32)
    luma = np.empty(width, np.float32)
    red, green, blue = LUMA
    for i in range(SAMPLES):
        taps = row_stops[i] - row_starts[i]
        _weigh_rows(pixels, top + row_starts[i], left * channels, row_weights[i, :taps], line)
        if channels == RGB:
            for x in range(width):
                luma[x] = red * line[3 * x] + green * line[3 * x + 1] + blue * line[3 * x + 2]
        else:
            for x in range(luma.size):
                luma[x] = line[x]
        for j in range(SAMPLES):
            start, stop = col_starts[j], col_stops[j]
            block[i, j] = _dot(col_weights[j, : stop - start], luma[start:stop])


@kernel("(Array(float32, 2, 'C', True), float32[:, ::1])")
def pdq_dct(block: NDArray[np.float32], coefficients: NDArray[np.float32]) -> None:
    """Write frequencies 1 to 16 of the 2-D DCT-II of `block` (64, 64) to `coefficients` (16, 16).

    Sums run in the order of the reference, so that equal blocks give equal coefficients.
    """
    half = np.zeros((COEFFICIENTS, SAMPLES), np.float32)
    for i in range(COEFFICIENTS):
        for k in range(SAMPLES):
            d = _DCT[i, k]
            for j in range(SAMPLES):
                half[i, j] += d * block[k, j]
    coefficients[:] = _f32(0)
    for i in range(COEFFICIENTS):
        for k in range(SAMPLES):
            h = half[i, k]
            for j in range(COEFFICIENTS):
                coefficients[i, j] += h * _DCT_T[k, j]


@kernel()
def _luma_lines(
    pixels: NDArray[np.uint8],
    channels: int,
    part: Part,
    upside_down: bool,
    lines: NDArray[np.float32],
) -> None:
    """Write the 64 lines of luma of `pdq_downsample`, before columns are weighted, to `lines`."""
    top, left, height, width = part
    starts, stops, weights = _bands(height)
    if upside_down:
        for i in range(SAMPLES):
            taps = stops[i] - starts[i]
            for k in range(taps // 2):
                other = taps - 1 - k
                weights[i, k], weights[i, other] = weights[i, other], weights[i, k]
            starts[i] = height - stops[i]
            stops[i] = starts[i] + taps
    line = np.empty(width * channels, np.float32)
    red, green, blue = LUMA
    for i in range(SAMPLES):
        taps = stops[i] - starts[i]
        _weigh_rows(pixels, top + starts[i], left * channels, weights[i, :taps], line)
        luma = lines[i]
        if channels == RGB:
            for x in range(width):
                luma[x] = red * line[3 * x] + green * line[3 * x + 1] + blue * line[3 * x + 2]
        else:
            for x in range(luma.size):
                luma[x] = line[x]


@kernel()
def _weigh_columns(lines: NDArray[np.float32], block: NDArray[np.float32]) -> None:
    """Weight the columns of `lines` (64, width) into `block` (64, 64)."""
    starts, stops, weights = _bands(lines.shape[1])
    for i in range(SAMPLES):
        for j in range(SAMPLES):
            block[i, j] = _dot(weights[j, : stops[j] - starts[j]], lines[i, starts[j] : stops[j]])


@kernel()
def _mirror(lines: NDArray[np.float32]) -> None:
    last = lines.shape[1] - 1
    for i in range(SAMPLES):
        for x in range((last + 1) // 2):
            lines[i, x], lines[i, last - x] = lines[i, last - x], lines[i, x]


@kernel("int64(Array(float32, 2, 'C', True))")
def pdq_quality(block: NDArray[np.float32]) -> int:
    """Return 0 to 100, more is better: the sum of gradients of at least 1 %, over 90, capped."""
    hundred, full = _f32(100), _f32(255)
    total = 0
    for i in range(SAMPLES):
        for j in range(SAMPLES):
            if i + 1 < SAMPLES:
                total += abs(int((block[i, j] - block[i + 1, j]) * hundred / full))
            if j + 1 < SAMPLES:
                total += abs(int((block[i, j] - block[i, j + 1]) * hundred / full))
    return min(total // 90, 100)


@kernel()
def _pack(flat: NDArray[np.float32], median: np.float32, bits: NDArray[np.uint8]) -> None:
    for byte in range(32):
        value = 0
        for bit in range(8):
            value = 2 * value + (1 if flat[255 - 8 * byte - bit] > median else 0)
        bits[byte] = value


@kernel()
def _judge(flat: NDArray[np.float32], median: np.float32) -> tuple[bool, bool]:
    rounded = resaved = -1  # not the median itself
    for k in range(flat.size):
        distance = abs(flat[k] - median)
        rounded += distance <= _f32(ROUNDING)
        resaved += distance <= _f32(RESAVING)
    unstable = resaved >= UNSTABLE_BITS
    return unstable or rounded >= ROUNDED_BITS, unstable


@kernel("UniTuple(boolean, 2)(Array(float32, 2, 'C', True), uint8[::1])")
def pdq_bits(coefficients: NDArray[np.float32], bits: NDArray[np.uint8]) -> tuple[bool, bool]:
    """Write one bit per coefficient, set if it is above the median, to `bits` (32,) uint8.

    The median is the lower one (the 128th smallest), as in the reference. Coefficient (i, j) is
    bit `16 * i + j` of a 256-bit number, whose most significant byte comes first.

    Returns whether the hash is to be settled, by the order of the reference, and whether it is
    unstable. An unstable one is to be settled.
    """
    flat = coefficients.ravel()
    median = select(flat.copy(), _LOWER_MEDIAN)
    _pack(flat, median, bits)
    return _judge(flat, median)


@kernel()
def _pack_both(
    plain: NDArray[np.float32],
    transposed: NDArray[np.float32],
    first: int,
    second: int,
    bits: NDArray[np.uint8],
    marks: NDArray[np.bool_],
) -> None:
    """Write the bits of a block to row `first`, those of its transpose to row `second`."""
    unsettled, unstable = pdq_bits(plain, bits[first])
    pdq_bits(transposed, bits[second])
    for row in (first, second):
        marks[row, 0], marks[row, 1] = unsettled, unstable


# Variants in the order of the reference: original, rotate 90, 180, 270, flip x, y, plus 1
# (transpose), minus 1 (transverse).
# Rules by which coefficients (i, j) change sign, and the two variants that share each rule: one
# plain, one transposed.
_NONE, _ODD_SUM, _EVEN_ROW, _EVEN_COLUMN = 0, 1, 2, 3
_PLAIN_BY_RULE = (0, 2, 4, 5)
_TRANSPOSED_BY_RULE = (6, 7, 3, 1)
# The variant of [upside down][mirrored] pixels, and its transpose.
_PLAIN = ((0, 5), (4, 2))
_TRANSPOSED = ((6, 1), (3, 7))


@kernel("(Array(float32, 2, 'C', True), uint8[:, ::1], boolean[:, ::1])")
def pdq_dihedral_bits(
    coefficients: NDArray[np.float32], bits: NDArray[np.uint8], marks: NDArray[np.bool_]
) -> None:
    """Write the bits of the eight turned and mirrored pictures to `bits` (8, 32) uint8.

    `marks` (8, 2) gets what `pdq_bits` returns for each. A transposed block has the same median, so
    four medians are enough for eight hashes.
    """
    plain = np.empty((COEFFICIENTS, COEFFICIENTS), np.float32)
    transposed = np.empty((COEFFICIENTS, COEFFICIENTS), np.float32)
    for rule in range(4):
        for i in range(COEFFICIENTS):
            for j in range(COEFFICIENTS):
                negative = (
                    (rule == _ODD_SUM and (i + j) % 2 == 1)
                    or (rule == _EVEN_ROW and i % 2 == 0)
                    or (rule == _EVEN_COLUMN and j % 2 == 0)
                )
                value = -coefficients[i, j] if negative else coefficients[i, j]
                plain[i, j] = value
                transposed[j, i] = value
        _pack_both(plain, transposed, _PLAIN_BY_RULE[rule], _TRANSPOSED_BY_RULE[rule], bits, marks)


@kernel(f"Tuple((int64, boolean))({_PIXELS}, int64, {_PART}, UniTuple(boolean, 2), uint8[::1])")
def pdq_settled_hash(
    pixels: NDArray[np.uint8], channels: int, part: Part, turn: Turn, bits: NDArray[np.uint8]
) -> tuple[int, bool]:
    """Hash a turned rectangle in the order of the reference; return as `pdq_hash` does."""
    block = np.empty((SAMPLES, SAMPLES), np.float32)
    coefficients = np.empty((COEFFICIENTS, COEFFICIENTS), np.float32)
    jarosz_downsample(pixels, channels, part, turn, block)
    pdq_dct(block, coefficients)
    _, unstable = pdq_bits(coefficients, bits)
    return pdq_quality(block), unstable


@kernel(f"Tuple((int64, boolean))({_PIXELS}, int64, {_PART}, boolean, uint8[::1])")
def pdq_hash(
    pixels: NDArray[np.uint8], channels: int, part: Part, settle: bool, bits: NDArray[np.uint8]
) -> tuple[int, bool]:
    """Hash a rectangle, as for `pdq_downsample`; return its quality, and whether it is unstable.

    With `settle`, a hash that is unstable, or has ROUNDED_BITS that rounding decides, is computed
    again in the order of the reference, which takes about ten times as long.
    """
    block = np.empty((SAMPLES, SAMPLES), np.float32)
    coefficients = np.empty((COEFFICIENTS, COEFFICIENTS), np.float32)
    pdq_downsample(pixels, channels, part, block)
    pdq_dct(block, coefficients)
    unsettled, unstable = pdq_bits(coefficients, bits)
    if settle and unsettled:
        return pdq_settled_hash(pixels, channels, part, STRAIGHT, bits)
    return pdq_quality(block), unstable


@kernel(f"int64({_PIXELS}, int64, {_PART}, uint8[:, ::1], boolean[:, ::1])")
def pdq_dihedral_hashes(
    pixels: NDArray[np.uint8],
    channels: int,
    part: Part,
    bits: NDArray[np.uint8],
    marks: NDArray[np.bool_],
) -> int:
    """Run `pdq_dihedral_bits` on a rectangle, settle those that are to be; return its quality."""
    block = np.empty((SAMPLES, SAMPLES), np.float32)
    coefficients = np.empty((COEFFICIENTS, COEFFICIENTS), np.float32)
    pdq_downsample(pixels, channels, part, block)
    pdq_dct(block, coefficients)
    pdq_dihedral_bits(coefficients, bits, marks)
    quality, unsettled = pdq_quality(block), False
    for row in range(8):
        unsettled |= marks[row, 0]
    if not unsettled:
        return quality
    settled, settled_marks = np.empty((8, 32), np.uint8), np.empty((8, 2), np.bool_)
    jarosz_downsample(pixels, channels, part, STRAIGHT, block)
    pdq_dct(block, coefficients)
    pdq_dihedral_bits(coefficients, settled, settled_marks)
    if marks[0, 0]:
        quality = pdq_quality(block)
    for row in range(8):
        if marks[row, 0]:
            marks[row, 1] = settled_marks[row, 1]
            for byte in range(32):
                bits[row, byte] = settled[row, byte]
    return quality


@kernel(f"int64({_PIXELS}, int64, {_PART}, boolean, uint8[:, ::1], boolean[:, ::1])")
def pdq_turned_hashes(
    pixels: NDArray[np.uint8],
    channels: int,
    part: Part,
    every: bool,
    bits: NDArray[np.uint8],
    marks: NDArray[np.bool_],
) -> int:
    """Hash a rectangle and its turned and mirrored pixels; return its quality.

    Writes `bits` (8, 32) uint8 and `marks` (8, 2) in the order of `pdq_dihedral_bits`: all if
    `every`, else those that need one pass over the rows: 0, 5 (flip y) and their transposes, 6 and
    1. Those that are to be settled are not.

    The hashes of `pdq_dihedral_bits`, Meta's, only approximate these: PDQ samples a little right
    of and below the middle of each cell, so the block of a mirrored picture is not the mirrored
    block. For fine textures the hashes differ by up to 86 bits.
    """
    lines = np.empty((SAMPLES, part[3]), np.float32)
    block = np.empty((SAMPLES, SAMPLES), np.float32)
    coefficients = np.empty((COEFFICIENTS, COEFFICIENTS), np.float32)
    quality = 0
    for upside_down in range(2 if every else 1):
        _luma_lines(pixels, channels, part, upside_down == 1, lines)
        for mirrored in range(2):
            if mirrored:
                _mirror(lines)
            _weigh_columns(lines, block)
            if not upside_down and not mirrored:
                quality = pdq_quality(block)
            pdq_dct(block, coefficients)
            transposed = np.ascontiguousarray(coefficients.T)
            first, second = _PLAIN[upside_down][mirrored], _TRANSPOSED[upside_down][mirrored]
            _pack_both(coefficients, transposed, first, second, bits, marks)
    return quality
