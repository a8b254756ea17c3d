"""Samples of pictures as 8-bit levels, and levels as RGB: what formats store, decoded.

The results equal those of Pillow (its Unpack.c, Convert.c and Paste.c) to the bit. Cost: one pass.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel

_BYTE = 8
_GREY = 1
_OPAQUE = 255
RGB, RGBA = 3, 4
KEEP = -1
"""The background that leaves the colours as they are stored."""
_i32 = np.int32


@kernel("(Array(uint8, 2, 'C', True), int64, boolean, uint8[:, ::1])")
def unpack_bits(rows: NDArray[np.uint8], bits: int, scaled: bool, out: NDArray[np.uint8]) -> None:
    """Write samples of 1 to 15 bits, packed from the highest bit on, to `out` (H, S) uint8.

    `rows` (H, bytes) uint8, each row padded to whole bytes. Fewer than 8 bits are spread over 0 to
    255 if `scaled`, else kept; of more the highest 8 stay.
    """
    top = (1 << bits) - 1
    for y in range(out.shape[0]):
        held, count, at = 0, 0, 0
        for x in range(out.shape[1]):
            while count < bits:
                held = (held << _BYTE) | int(rows[y, at])
                at += 1
                count += _BYTE
            count -= bits
            value = held >> count
            held &= (1 << count) - 1
            if bits > _BYTE:
                out[y, x] = value >> (bits - _BYTE)
            elif scaled:
                out[y, x] = (value * 255 + top // 2) // top
            else:
                out[y, x] = value


@kernel()
def _divide_by_255(value: int) -> int:
    """Return value / 255, rounded, for 0 to 255 * 255."""
    value += 128
    return ((value >> _BYTE) + value) >> _BYTE


@kernel("(Array(uint8, 3, 'C', True), int64, boolean, int64, uint8[:, :, :])")
def composite(
    levels: NDArray[np.uint8],
    colours: int,
    premultiplied: bool,
    background: int,
    out: NDArray[np.uint8],
) -> None:
    """Lay colours over a background of one level, by their alpha, to `out` (H, W, 3) uint8.

    `levels` (H, W, C) uint8: grey (`colours` 1) or RGB (3), then alpha. A `background` of
    `KEEP` drops the alpha.
    """
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            alpha = int(levels[y, x, colours])
            for c in range(3):
                value = int(levels[y, x, 0 if colours == _GREY else c])
                if alpha == _OPAQUE:
                    out[y, x, c] = value
                    continue
                if premultiplied:
                    value = min(value * 255 // alpha, 255) if alpha else 0
                if background >= 0:
                    value = _divide_by_255(background * (255 - alpha) + value * alpha)
                out[y, x, c] = value


@kernel("(Array(uint8, 2, 'C', True), int64, uint8[:, ::1])")
def flatten(rgba: NDArray[np.uint8], background: int, out: NDArray[np.uint8]) -> None:
    """Write `rgba` (H, W * 4) on a grey `background`, 0 to 255 or `KEEP`, to `out` (H, W * 3)."""
    for y in range(out.shape[0]):
        row, target = rgba[y], out[y]
        if background == KEEP:
            for x in range(target.size // RGB):
                for k in range(RGB):
                    target[RGB * x + k] = row[RGBA * x + k]
        else:
            ground = _i32(background)
            for x in range(target.size // RGB):
                alpha = _i32(row[RGBA * x + 3])
                below = ground * (_i32(_OPAQUE) - alpha) + _i32(128)
                for k in range(RGB):
                    total = _i32(row[RGBA * x + k]) * alpha + below
                    target[RGB * x + k] = (total + (total >> 8)) >> 8


@kernel("(Array(uint8, 3, 'C', True), uint8[:, :, :])")
def cmyk_to_rgb(levels: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Write ink levels (H, W, C >= 4) uint8, cyan, magenta, yellow, black, as RGB (H, W, 3)."""
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            light = 255 - int(levels[y, x, 3])
            for c in range(3):
                out[y, x, c] = light - _divide_by_255(int(levels[y, x, c]) * light)
