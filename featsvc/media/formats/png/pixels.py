"""PNG's pixel data to pixels: inflated, unfiltered and converted in strips that a cache holds."""

from collections.abc import Callable, Iterator

import numpy as np
from featsvc_kernels import png as kernels
from numpy.typing import NDArray

from featsvc.media.flatten import flatten_rows
from featsvc.media.formats.png.chunks import (
    CHANNELS,
    GREY,
    PALETTE,
    RGB,
    RGB_ALPHA,
    Chunk,
    Layout,
    check,
    corrupt,
)
from featsvc.media.inflate import Inflater, cut
from featsvc.media.options import Alpha
from featsvc.media.task import Budget

Pixels = NDArray[np.uint8]
Paint = Callable[[tuple[slice, slice], Pixels], None]
"""Takes the rows and columns of the picture that a strip fills, and its pixels (h, w, C)."""

STRIP_BYTES = 2**18
# First row, first column, step of rows, step of columns of the passes of Adam7.
_ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
_BYTE = 8


def join(content: bytes, chunks: Iterator[Chunk], skip: int = 0) -> Iterator[memoryview]:
    """Yield the data of the chunks in small pieces, without their first `skip` bytes.

    Raises MediaCorrupt for a wrong checksum before any of a chunk's data is used.
    """
    view = memoryview(content)
    for chunk in chunks:
        check(content, chunk)
        yield from cut(view[chunk.start + skip : chunk.end])


def output_channels(layout: Layout) -> int:
    """Return 1 for grey pictures without transparency, else 3."""
    return 1 if layout.colour == GREY and layout.transparency is None else kernels.RGB


def flatten(rgba: Pixels, alpha: Alpha) -> Pixels:
    """Put RGBA (h, w * 4) on a background; returns RGB (h, w * 3)."""
    flat = np.empty((len(rgba), rgba.shape[1] // kernels.RGBA * kernels.RGB), np.uint8)
    flatten_rows(rgba, alpha, flat)
    return flat


class Converter:
    """Turns unfiltered rows into pixels of `channels`: 1 grey, 3 RGB, or 4 RGBA.

    Without a background they are RGBA; else grey or RGB, as `output_channels` says.
    """

    def __init__(self, layout: Layout, alpha: Alpha | None) -> None:
        self._layout = layout
        self._alpha = alpha
        self.channels = kernels.RGBA if alpha is None else output_channels(layout)
        self._depth = _BYTE if layout.drops_low_bytes else layout.depth
        opaque_byte = self._depth == _BYTE and layout.transparency is None
        # Whether unfiltered rows are the pixels.
        self.is_direct = alpha is not None and layout.colour in (GREY, RGB) and opaque_byte
        self._is_rgba = layout.colour == RGB_ALPHA
        self._key = kernels.NO_KEY
        self._table: Pixels | None = None
        if layout.colour == PALETTE or (layout.colour == GREY and self._depth <= _BYTE):
            self._table = self._make_table()
        elif layout.transparency is not None:
            key = np.frombuffer(layout.transparency, ">u2").astype(np.int64)
            self._key = np.resize(key & ((1 << layout.depth) - 1), 3)

    def _make_table(self) -> Pixels:
        """Return the pixel (256, channels) of each sample."""
        layout = self._layout
        table = np.full((256, kernels.RGBA), 255, np.uint8)
        if layout.colour == PALETTE:
            colours = np.frombuffer(layout.palette, np.uint8).reshape(-1, 3)
            table[: len(colours), :3] = colours
            alphas = np.frombuffer(layout.transparency or b"", np.uint8)[: len(table)]
            table[: len(alphas), 3] = alphas
        else:
            levels = 1 << self._depth
            table[:levels, :3] = (np.arange(levels) * 255 // (levels - 1))[:, None]
            if layout.transparency is not None:
                table[int.from_bytes(layout.transparency, "big") & (levels - 1), 3] = 0
        if self.channels == 1:
            return np.ascontiguousarray(table[:, :1])
        return table if self._alpha is None else flatten(table, self._alpha)

    def __call__(self, rows: Pixels, width: int) -> Pixels:
        """Convert rows (h, bytes) to pixels (h, width, channels).

        Raises MediaCorrupt for a sample without a colour in the palette.
        """
        layout, height = self._layout, len(rows)
        if self.is_direct:
            pixels = rows
        elif self._table is not None:
            pixels = np.empty((height, width * self.channels), np.uint8)
            largest = kernels.look_up(rows, self._depth, self._table, pixels)
            if layout.colour == PALETTE and 3 * largest >= len(layout.palette):
                count = len(layout.palette) // 3
                raise corrupt(f"a pixel has colour {largest} of a palette of {count}, from 0")
        else:
            pixels = rows
            if not self._is_rgba:
                pixels = np.empty((height, width * kernels.RGBA), np.uint8)
                channels = CHANNELS[layout.colour]
                kernels.to_rgba(rows, channels, self._depth // _BYTE, self._key, pixels)
            if self._alpha is not None:
                pixels = flatten(pixels, self._alpha)
        return pixels.reshape(height, width, self.channels)


def decode_pixels(
    inflater: Inflater,
    layout: Layout,
    size: tuple[int, int],
    converter: Converter,
    paint: Paint,
    budget: Budget,
    target: Pixels | None = None,
) -> None:
    """Decode a picture of `size`, width and height, and give it to `paint` strip by strip.

    Where the rows need no conversion they are written straight to `target` (H, W, C), if given.
    Raises MediaCorrupt, TimedOut.
    """
    width, height = size
    straight = target if converter.is_direct and not layout.interlaced else None
    passes = _ADAM7 if layout.interlaced else ((0, 0, 1, 1),)
    for y0, x0, dy, dx in passes:
        rows, columns = -(-(height - y0) // dy), -(-(width - x0) // dx)
        if rows <= 0 or columns <= 0:
            continue
        for first, part in _unfilter(inflater, layout, (rows, columns), budget, straight):
            if straight is None:
                area = slice(y0 + first * dy, y0 + (first + len(part) - 1) * dy + 1, dy)
                paint((area, slice(x0, None, dx)), converter(part, columns))
    inflater.finish()


def _unfilter(
    inflater: Inflater,
    layout: Layout,
    shape: tuple[int, int],
    budget: Budget,
    target: Pixels | None,
) -> Iterator[tuple[int, Pixels]]:
    """Yield the first row and the unfiltered rows (h, bytes) of each strip of `shape` pixels.

    Rows are in `target`, or in memory that the next strip uses again.
    """
    height, width = shape
    stored_bytes = -(-width * layout.bits // _BYTE)
    sample_bytes = 2 if layout.drops_low_bytes else 1
    row_bytes, step = stored_bytes // sample_bytes, layout.bits // _BYTE // sample_bytes
    strip = min(height, max(1, STRIP_BYTES // max(1 + stored_bytes, kernels.RGBA * width)))
    raw = np.empty((strip, 1 + stored_bytes), np.uint8)
    buffer = raw.reshape(-1).data
    high = np.empty((strip, 1 + row_bytes), np.uint8) if layout.drops_low_bytes else raw
    straight = None if target is None else target.reshape(height, row_bytes)
    scratch = np.empty((strip, row_bytes), np.uint8) if straight is None else straight
    above = np.zeros(row_bytes, np.uint8)
    for first in range(0, height, strip):
        budget.check()
        rows = min(strip, height - first)
        inflater.fill(buffer[: rows * (1 + stored_bytes)])
        if layout.drops_low_bytes:
            high[:rows, 0], high[:rows, 1:] = raw[:rows, 0], raw[:rows, 1::2]
        part = scratch[:rows] if straight is None else straight[first : first + rows]
        bad = kernels.unfilter(high[:rows], max(step, 1), above, part)
        if bad >= 0:
            raise corrupt(f"row {first + bad} has filter {raw[bad, 0]}, but there are only 0 to 4")
        yield first, part
        above = part[-1] if straight is not None else part[-1].copy()
