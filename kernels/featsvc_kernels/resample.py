"""Pillow's grey conversion and Lanczos resize, bit for bit, without Pillow.

Source: Pillow, `src/libImaging/Convert.c` (`rgb2l`) and `Resample.c` (`precompute_coeffs`,
`ImagingResampleHorizontal_8bpc`, `ImagingResampleVertical_8bpc`). Its 8-bit resampling is integer
arithmetic: coefficients have 22 fractional bits, and each axis is rounded to 8 bits. So any
implementation that sums the same integers agrees exactly, in any order.

Only the height is resampled, which runs along contiguous rows; the width is the height of the
transposed picture, and transposing is cheap. Planes are padded to multiples of 8 on both axes, so
that they transpose as 8x8 tiles of bytes in eight 64-bit words.
"""

import math

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel
from featsvc_kernels.pictures import PILLOW_LUMA

_FRACTION_BITS = 22
_HALF = 1 << (_FRACTION_BITS - 1)
_SUPPORT = 3.0

_i32 = np.int32
_RED, _GREEN, _BLUE = (_i32(share) for share in PILLOW_LUMA)
_8, _16, _32 = np.uint64(8), np.uint64(16), np.uint64(32)
_LOW8 = np.uint64(0x00FF00FF00FF00FF)
_LOW16 = np.uint64(0x0000FFFF0000FFFF)
_LOW32 = np.uint64(0x00000000FFFFFFFF)


@kernel("(Array(uint8, 2, 'C', True), int64, uint8[:, ::1])")
def to_grey(pixels: NDArray[np.uint8], width: int, grey: NDArray[np.uint8]) -> None:
    """Write ITU-R 601 luma, as Pillow rounds it, of RGB (H, width * 3) to a padded plane."""
    for y in range(pixels.shape[0]):
        row = pixels[y]
        for x in range(width):
            luma = (
                _i32(row[3 * x]) * _RED
                + _i32(row[3 * x + 1]) * _GREEN
                + _i32(row[3 * x + 2]) * _BLUE
                + _i32(0x8000)
            )
            grey[y, x] = luma >> 16


@kernel()
def _swap(
    a: np.uint64, b: np.uint64, shift: np.uint64, mask: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """Exchange the high parts of `a` with the low parts of `b`."""
    moved = ((a >> shift) ^ b) & mask
    return a ^ (moved << shift), b ^ moved


@kernel("(Array(uint64, 2, 'C', True), uint64[:, ::1])")
def transpose(source: NDArray[np.uint64], target: NDArray[np.uint64]) -> None:
    """Transpose a padded plane of bytes: `source` (H, W / 8) into `target` (W, H / 8) words.

    Three rounds of swaps transpose 8x8 bytes (Warren, Hacker's Delight, 7-3), several tiles at a
    time if the processor has vectors of 64-bit words.
    """
    for y in range(0, source.shape[0], 8):
        r0, r1, r2, r3 = source[y], source[y + 1], source[y + 2], source[y + 3]
        r4, r5, r6, r7 = source[y + 4], source[y + 5], source[y + 6], source[y + 7]
        column = y // 8
        for t in range(source.shape[1]):
            a0, a4 = _swap(r0[t], r4[t], _32, _LOW32)
            a1, a5 = _swap(r1[t], r5[t], _32, _LOW32)
            a2, a6 = _swap(r2[t], r6[t], _32, _LOW32)
            a3, a7 = _swap(r3[t], r7[t], _32, _LOW32)
            a0, a2 = _swap(a0, a2, _16, _LOW16)
            a1, a3 = _swap(a1, a3, _16, _LOW16)
            a4, a6 = _swap(a4, a6, _16, _LOW16)
            a5, a7 = _swap(a5, a7, _16, _LOW16)
            a0, a1 = _swap(a0, a1, _8, _LOW8)
            a2, a3 = _swap(a2, a3, _8, _LOW8)
            a4, a5 = _swap(a4, a5, _8, _LOW8)
            a6, a7 = _swap(a6, a7, _8, _LOW8)
            x = 8 * t
            target[x, column] = a0
            target[x + 1, column] = a1
            target[x + 2, column] = a2
            target[x + 3, column] = a3
            target[x + 4, column] = a4
            target[x + 5, column] = a5
            target[x + 6, column] = a6
            target[x + 7, column] = a7


@kernel()
def _lanczos(x: float) -> float:
    if not -_SUPPORT <= x < _SUPPORT:
        return 0.0
    if x == 0.0:
        return 1.0
    wide, narrow = x * math.pi, x / 3 * math.pi
    return math.sin(wide) / wide * (math.sin(narrow) / narrow)


@kernel("Tuple((int64[:, ::1], int32[:, ::1]))(int64, int64)")
def lanczos_weights(in_size: int, out_size: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return windows (out, 2), first and end, and weights (out, taps) in 22-bit fixed point."""
    scale = in_size / out_size
    stretch = max(scale, 1.0)
    support = _SUPPORT * stretch
    taps = math.ceil(support) * 2 + 1
    windows = np.empty((out_size, 2), np.int64)
    weights = np.zeros((out_size, taps), np.int32)
    exact = np.empty(taps)
    for i in range(out_size):
        center = (i + 0.5) * scale
        first = max(int(center - support + 0.5), 0)
        end = min(int(center + support + 0.5), in_size)
        total = 0.0
        for x in range(end - first):
            exact[x] = _lanczos((x + first - center + 0.5) * (1.0 / stretch))
            total += exact[x]
        for x in range(end - first):
            weight = exact[x] / total if total != 0.0 else exact[x]
            scaled = weight * (1 << _FRACTION_BITS)
            weights[i, x] = int(scaled - 0.5) if weight < 0 else int(scaled + 0.5)
        windows[i, 0], windows[i, 1] = first, end
    return windows, weights


@kernel(
    "(Array(uint8, 2, 'C', True), Array(int64, 2, 'C', True), Array(int32, 2, 'C', True), "
    "uint8[:, ::1])"
)
def resample_rows(
    grey: NDArray[np.uint8],
    windows: NDArray[np.int64],
    weights: NDArray[np.int32],
    out: NDArray[np.uint8],
) -> None:
    """Change the height of a plane: `grey` (H, W) to the first rows of `out` (>= height, W).

    Four rows per pass keep the totals in registers.
    """
    width = grey.shape[1]
    totals = np.empty(width, np.int32)
    for i in range(windows.shape[0]):
        y, end = windows[i]
        totals[:] = _i32(_HALF)
        k = 0
        while y + k + 4 <= end:
            w0, w1, w2, w3 = weights[i, k], weights[i, k + 1], weights[i, k + 2], weights[i, k + 3]
            r0, r1, r2, r3 = grey[y + k], grey[y + k + 1], grey[y + k + 2], grey[y + k + 3]
            for x in range(width):
                upper = _i32(_i32(_i32(r0[x]) * w0) + _i32(_i32(r1[x]) * w1))
                lower = _i32(_i32(_i32(r2[x]) * w2) + _i32(_i32(r3[x]) * w3))
                totals[x] = _i32(totals[x] + _i32(upper + lower))
            k += 4
        while y + k < end:
            w0, r0 = weights[i, k], grey[y + k]
            for x in range(width):
                totals[x] = _i32(totals[x] + _i32(_i32(r0[x]) * w0))
            k += 1
        for x in range(width):
            out[i, x] = min(max(totals[x] >> _i32(_FRACTION_BITS), _i32(0)), _i32(255))


@kernel("(Array(uint8, 2, 'C', True), int64[:, ::1])")
def block_sums(grey: NDArray[np.uint8], sums: NDArray[np.int64]) -> None:
    """Write the sums of the blocks of `grey` (n * B, n * B) to `sums` (n, n)."""
    size = sums.shape[0]
    side = grey.shape[0] // size
    line = np.empty(size * side, np.uint32)
    for i in range(size):
        line[:] = 0
        for y in range(i * side, (i + 1) * side):
            row = grey[y]
            for x in range(line.size):
                line[x] += np.uint32(row[x])
        for j in range(size):
            total = np.int64(0)
            for x in range(j * side, (j + 1) * side):
                total += np.int64(line[x])
            sums[i, j] = total
