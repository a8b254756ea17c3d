"""PNG's pixels: undo the filters of rows, look up colours, compose frames.

Source: W3C, "Portable Network Graphics (PNG) Specification (Third Edition)", 9.2 (filters), 13.12
(samples), 13.16 (alpha). Blending rounds as Pillow's `Image.paste` does: to the nearest 255th.

Rows are bytes as PNG stores them: samples of less than 8 bits are packed, the first in the highest
bits; those of 16 bits are big-endian. All kernels cost one pass over their input.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel

NONE, SUB, UP, AVERAGE, PAETH = range(5)
"""The filters, by the number in front of each row."""
NO_KEY = np.full(3, -1, np.int64)
"""The key of `to_rgba` where no colour is transparent."""
RGB, RGBA = 3, 4

_i32 = np.int32
_OPAQUE = _i32(255)
_1, _2, _3 = np.uint64(1), np.uint64(2), np.uint64(3)
_BYTE = 0xFF
_ROWS = "Array(uint8, 2, 'C', True)"


@kernel()
def _predict(left: int, above: int, corner: int) -> int:
    """Return Paeth's choice: whichever is nearest to `left + above - corner`, in this order.

    In the form of stb_image, which needs no branch: a mispredicted one costs more than the rest.
    """
    least, most = min(left, above), max(left, above)
    threshold = 3 * corner - left - above
    inner = least if most <= threshold else corner
    return most if threshold <= least else inner


@kernel()
def _undo(kind: int, byte: int, left: int, above: int, corner: int) -> int:
    """Return one byte without its filter."""
    if kind == SUB:
        return (byte + left) & _BYTE
    if kind == AVERAGE:
        return (byte + ((left + above) >> 1)) & _BYTE
    return (byte + _predict(left, above, corner)) & _BYTE


@kernel()
def _undo_lanes(
    kind: int,
    raw: NDArray[np.uint8],
    above: NDArray[np.uint8],
    lanes: tuple[int, int, int],
    out: NDArray[np.uint8],
) -> None:
    """Undo a filter that reads the pixel on the left, for some of the bytes of each pixel.

    `lanes` is the first of these bytes, their number, at most 4, and the bytes of a pixel. They
    stay in registers: through memory, each byte would wait for the store of another.
    """
    first, count, step = lanes
    a0 = a1 = a2 = a3 = c0 = c1 = c2 = c3 = 0
    for pixel in range(out.size // step):
        # Unsigned: Numba need not look for indices from the end.
        i = np.uint64(pixel * step + first)
        b0 = int(above[i])
        a0 = _undo(kind, int(raw[i]), a0, b0, c0)
        c0, out[i] = b0, a0
        if count >= 2:  # noqa: PLR2004
            b1 = int(above[i + _1])
            a1 = _undo(kind, int(raw[i + _1]), a1, b1, c1)
            c1, out[i + _1] = b1, a1
        if count >= RGB:
            b2 = int(above[i + _2])
            a2 = _undo(kind, int(raw[i + _2]), a2, b2, c2)
            c2, out[i + _2] = b2, a2
        if count == RGBA:
            b3 = int(above[i + _3])
            a3 = _undo(kind, int(raw[i + _3]), a3, b3, c3)
            c3, out[i + _3] = b3, a3


@kernel(f"int64({_ROWS}, int64, Array(uint8, 1, 'C', True), uint8[:, ::1])")
def unfilter(
    raw: NDArray[np.uint8], step: int, above: NDArray[np.uint8], out: NDArray[np.uint8]
) -> int:
    """Undo the filters of `raw` (H, 1 + B) into `out` (H, B).

    `step` is the bytes of a pixel, 1 to 8; `above` (B,) the row before the first one, zeros at the
    top. Returns the first row whose filter no PNG has, else -1.
    """
    for y in range(out.shape[0]):
        kind, row, target = int(raw[y, 0]), raw[y, 1:], out[y]
        before = out[y - 1] if y else above
        if kind == NONE:
            for i in range(target.size):
                target[i] = row[i]
        elif kind == UP:
            for i in range(target.size):
                target[i] = row[i] + before[i]
        elif kind > PAETH:
            return y
        elif kind == PAETH and step == RGB:
            # The usual one, compiled for its numbers.
            _undo_lanes(PAETH, row, before, (0, RGB, RGB), target)
        else:
            count = step if step <= RGBA else step // 2
            for first in range(0, step, count):
                lanes = first, count, step
                if kind == SUB:
                    _undo_lanes(SUB, row, before, lanes, target)
                elif kind == AVERAGE:
                    _undo_lanes(AVERAGE, row, before, lanes, target)
                else:
                    _undo_lanes(PAETH, row, before, lanes, target)
    return -1


@kernel(f"int64({_ROWS}, int64, {_ROWS}, uint8[:, ::1])")
def look_up(
    rows: NDArray[np.uint8], bits: int, table: NDArray[np.uint8], out: NDArray[np.uint8]
) -> int:
    """Write the row of `table` (256, C) of each sample of `bits` 1, 2, 4 or 8 to `out` (H, W * C).

    C is 1, 3 or 4. Returns the largest sample.
    """
    channels = table.shape[1]
    samples = np.empty(out.shape[1] // channels, np.uint8)
    mask, largest = (1 << bits) - 1, np.uint8(0)
    for y in range(out.shape[0]):
        row, target = rows[y], out[y]
        if bits == 8:  # noqa: PLR2004
            for x in range(samples.size):
                samples[x] = row[x]
        else:
            for x in range(samples.size):
                at = x * bits
                samples[x] = (row[at >> 3] >> (8 - bits - (at & 7))) & mask
        for x in range(samples.size):
            largest = max(largest, samples[x])
        for x in range(samples.size):
            sample, at = samples[x], x * channels
            target[at] = table[sample, 0]
            if channels >= RGB:
                target[at + 1] = table[sample, 1]
                target[at + 2] = table[sample, 2]
            if channels == RGBA:
                target[at + 3] = table[sample, 3]
    return int(largest)


@kernel(f"({_ROWS}, int64, int64, Array(int64, 1, 'C', True), uint8[:, ::1])")
def to_rgba(
    rows: NDArray[np.uint8],
    channels: int,
    sample_bytes: int,
    key: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Write samples of 8 or 16 bits, `sample_bytes` 1 or 2, as 8-bit RGBA to `out` (H, W * 4).

    `channels`: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA. 16-bit samples keep their high byte. A
    pixel whose samples all equal `key` (3,) is transparent; of grey, key[0] counts. See `NO_KEY`.
    """
    colours = channels if channels in (1, RGB) else channels - 1
    green, blue = (sample_bytes, 2 * sample_bytes) if colours == RGB else (0, 0)
    for y in range(out.shape[0]):
        row, target = rows[y], out[y]
        for x in range(target.size // RGBA):
            at = x * channels * sample_bytes
            target[RGBA * x] = row[at]
            target[RGBA * x + 1] = row[at + green]
            target[RGBA * x + 2] = row[at + blue]
            target[RGBA * x + 3] = row[at + colours * sample_bytes] if colours < channels else 255
        if key[0] < 0:
            continue
        for x in range(target.size // RGBA):
            at, differs = x * colours * sample_bytes, 0
            for k in range(colours):
                sample = 0
                for i in range(sample_bytes):
                    sample = (sample << 8) | int(row[at + k * sample_bytes + i])
                differs |= sample ^ key[k]
            target[RGBA * x + 3] = 255 if differs else 0


@kernel("(Array(uint8, 3, 'A', True), Array(uint8, 3, 'A', False))")
def compose(frame: NDArray[np.uint8], canvas: NDArray[np.uint8]) -> None:
    """Put `frame` over `canvas`, both straight RGBA (H, W, 4)."""
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            alpha = _i32(frame[y, x, 3])
            below = _i32(canvas[y, x, 3]) * (_OPAQUE - alpha)
            whole = alpha * _OPAQUE + below
            if whole == 0:
                continue
            for k in range(RGB):
                total = _i32(frame[y, x, k]) * alpha * _OPAQUE + _i32(canvas[y, x, k]) * below
                canvas[y, x, k] = (2 * total + whole) // (2 * whole)
            canvas[y, x, 3] = (whole + _i32(127)) // _OPAQUE
