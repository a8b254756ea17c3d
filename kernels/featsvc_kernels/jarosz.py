"""PDQ's down-sampling in the reference's own order of operations: running sums in float32.

Where half of the coefficients are zero in exact arithmetic, the rounding of this order decides
bits: `pdq.pdq_downsample`, which computes the same samples several times faster, then gives other
ones.

Source: `pdq/cpp/downscaling/downscaling.cpp` in Meta's ThreatExchange repository (`box1DFloat`,
`decimateFloat`), with the luma of `pdqhash` (float64, rounded once). Equal to the bit to a build
without fused multiply-add, such as the default one for x86-64.

Cost: linear in the pixels, whatever they show; each axis is summed twice. The rows of a strip are
summed side by side, and columns as whole rows, so that few additions wait for the one before. It
takes 256 bytes of memory a row, and about width x height / 32 bytes.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel
from featsvc_kernels.pictures import RGB

SAMPLES = 64
"""Samples per side of the down-sampled picture."""
_STRIP = 4
"""Rows that are summed side by side."""

Part = tuple[int, int, int, int]
"""Top, left, height and width of a rectangle of pixels."""

Turn = tuple[bool, bool]
"""Whether the pixels are turned upside down, and whether they are mirrored left to right."""
STRAIGHT = (False, False)

_f32 = np.float32
_PIXELS, _PART = "Array(uint8, 2, 'C', True)", "UniTuple(int64, 4)"
_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114


@kernel()
def _window(n: int) -> tuple[int, int]:
    """Return the width of the box for an axis of length `n`, and how far it reaches ahead."""
    width = (n + 127) // 128
    return width, (width + 2) // 2 - 1


@kernel()
def _count(at: int, n: int) -> np.float32:
    """Return how many of the pixels of an axis the box at `at` covers."""
    width, ahead = _window(n)
    return _f32(min(at + ahead, n - 1) - max(at + ahead - width + 1, 0) + 1)


@kernel()
def _sample(i: int, n: int) -> int:
    """Return the place of the i-th of 64 samples on an axis of length `n`."""
    return (2 * i + 1) * n // 128


@kernel()
def _write_luma(row: NDArray[np.uint8], channels: int, line: NDArray[np.float32]) -> None:
    if channels == RGB:
        for x in range(line.size):
            red, green, blue = row[3 * x], row[3 * x + 1], row[3 * x + 2]
            line[x] = _f32(_RED * red + _GREEN * green + _BLUE * blue)
    else:
        for x in range(line.size):
            line[x] = _f32(row[x])


@kernel()
def _mirror(line: NDArray[np.float32]) -> None:
    last = line.size - 1
    for x in range(line.size // 2):
        line[x], line[last - x] = line[last - x], line[x]


@kernel()
def _sum_rows(lines: NDArray[np.float32], sums: NDArray[np.float32]) -> None:
    """Write the running sums along each of the rows of `lines` (4, W), undivided, to `sums`."""
    n = lines.shape[1]
    window, ahead = _window(n)
    a, b, c, d = lines[0], lines[1], lines[2], lines[3]
    a_out, b_out, c_out, d_out = sums[0], sums[1], sums[2], sums[3]
    a_sum = b_sum = c_sum = d_sum = _f32(0)
    for x in range(n + ahead):
        left, out = x - window, x - ahead
        if x < n:
            a_sum += a[x]
            b_sum += b[x]
            c_sum += c[x]
            d_sum += d[x]
        if left >= 0:
            a_sum -= a[left]
            b_sum -= b[left]
            c_sum -= c[left]
            d_sum -= d[left]
        if out >= 0:
            a_out[out], b_out[out], c_out[out], d_out[out] = a_sum, b_sum, c_sum, d_sum


@kernel()
def _divide(sums: NDArray[np.float32]) -> None:
    """Turn running sums along a row (W,) into means."""
    n = sums.size
    width, ahead = _window(n)
    first, last = width - 1 - ahead, n - ahead
    full = _f32(width)
    for x in range(first):
        sums[x] /= _count(x, n)
    for x in range(first, last):
        sums[x] /= full
    for x in range(last, n):
        sums[x] /= _count(x, n)


@kernel()
def _advance(
    sums: NDArray[np.float32], entering: NDArray[np.float32], leaving: NDArray[np.float32]
) -> None:
    for x in range(sums.size):
        sums[x] = (sums[x] + entering[x]) - leaving[x]


@kernel()
def _filter_and_sample_columns(
    pixels: NDArray[np.uint8], channels: int, part: Part, turn: Turn, narrow: NDArray[np.float32]
) -> None:
    """Filter along rows, along columns and along rows; keep 64 columns, `narrow` (H, 64)."""
    top, left, height, width = part
    upside_down, mirrored = turn
    window, ahead = _window(height)
    kept = _STRIP * ((window + 2 * _STRIP - 1) // _STRIP)
    ring = np.empty((kept, width), np.float32)
    lines = np.empty((_STRIP, width), np.float32)
    filtered = np.empty((_STRIP, width), np.float32)
    sums, none = np.zeros(width, np.float32), np.zeros(width, np.float32)
    for y in range(height + ahead):
        if y < height and y % _STRIP == 0:
            for lane in range(_STRIP):
                # The last strip repeats the last row; what comes of that is not read.
                at = min(y + lane, height - 1)
                row = pixels[top + (height - 1 - at if upside_down else at)]
                _write_luma(row[left * channels : (left + width) * channels], channels, lines[lane])
                if mirrored:
                    _mirror(lines[lane])
            strip = ring[y % kept : y % kept + _STRIP]
            _sum_rows(lines, strip)
            for lane in range(_STRIP):
                _divide(strip[lane])
        entering = ring[y % kept] if y < height else none
        leaving = ring[(y - window) % kept] if y >= window else none
        _advance(sums, entering, leaving)
        done = y - ahead
        if done < 0:
            continue
        count, line = _count(done, height), filtered[done % _STRIP]
        for x in range(width):
            line[x] = sums[x] / count
        if done % _STRIP == _STRIP - 1 or done == height - 1:
            _sum_rows(filtered, lines)
            for lane in range(done % _STRIP + 1):
                for i in range(SAMPLES):
                    x = _sample(i, width)
                    narrow[done - done % _STRIP + lane, i] = lines[lane, x] / _count(x, width)


@kernel(f"({_PIXELS}, int64, {_PART}, UniTuple(boolean, 2), float32[:, ::1])")
def jarosz_downsample(
    pixels: NDArray[np.uint8], channels: int, part: Part, turn: Turn, block: NDArray[np.float32]
) -> None:
    """Down-sample a rectangle of a picture to 64x64 luma, 0 to 255, into `block` (64, 64).

    Arguments as for `pdq.pdq_downsample`; `turn` says how the rectangle is turned before.
    """
    height = part[2]
    narrow = np.empty((height, SAMPLES), np.float32)
    _filter_and_sample_columns(pixels, channels, part, turn, narrow)
    window, ahead = _window(height)
    sums, none = np.zeros(SAMPLES, np.float32), np.zeros(SAMPLES, np.float32)
    i = 0
    for y in range(height + ahead):
        entering = narrow[y] if y < height else none
        leaving = narrow[y - window] if y >= window else none
        _advance(sums, entering, leaving)
        while i < SAMPLES and _sample(i, height) == y - ahead:
            count = _count(y - ahead, height)
            for x in range(SAMPLES):
                block[i, x] = sums[x] / count
            i += 1
