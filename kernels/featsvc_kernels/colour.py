"""Counting pixels by brightness, saturation and hue, for imagehash's `colorhash`.

Source: imagehash 4.3.2 `colorhash`; Pillow `src/libImaging/Convert.c`, `rgb2hsv_row`.

The 8-bit saturation and hue are never computed. The bins have few edges, so comparisons of small
integers give a pixel's bin, without a division, branch or table. Pillow's float arithmetic can
differ from that only where a fraction equals an edge: for those few cases a literal copy of it
decides once, at import.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel
from featsvc_kernels.pictures import PILLOW_LUMA

BINS = 16
"""Black, grey, 6 faint hues, 6 bright hues, coloured but neither; the last bin stays 0."""
BLACK, GREY, FAINT, BRIGHT, NEITHER = 0, 1, 2, 8, 14
DARK = 32
"""Pixels below this 8-bit grey are black."""

# The counts of a chunk fit into 8 bits, so that one vector instruction counts 64 pixels.
_CHUNK = 192
_FIRST_BRIGHT = 171
"""The smallest 8-bit saturation of a bright pixel."""

_f32, _u8 = np.float32, np.uint8
_RED, _GREEN, _BLUE = (_f32(share) for share in PILLOW_LUMA)


def _reached(sextant: np.float32, hue: int) -> bool:
    """Whether Pillow's 8-bit hue of a position on the colour wheel, -1 to 5, is at least `hue`."""
    turns = np.float32((float(sextant) / 6.0 + 1.0) % 1.0)
    return int(float(turns) * 255.0) >= hue


# By how much a value must exceed an edge: 0 if the edge itself counts, else 1.
# Hue 43, 128 and 213 lie 1/85 of a sextant beyond the near ends of green, blue and red.
_EDGE = np.float32(1) / np.float32(85)
_GREEN_SLACK = np.float32(0 if _reached(np.float32(1) + _EDGE, 43) else 1)
_BLUE_SLACK = np.float32(0 if _reached(np.float32(3) + _EDGE, 128) else 1)
_RED_SLACK = np.float32(0 if _reached(_EDGE - np.float32(1), 213) else 1)
# Saturation 171 of 255 is 57/85; 85 and 170 are one and two thirds, which round upwards.
_BRIGHT_SLACK = np.float32(
    0 if float(np.float32(57) / np.float32(85)) * 255.0 >= _FIRST_BRIGHT else 1
)


@kernel()
def _bin_of(red: np.float32, green: np.float32, blue: np.float32) -> np.float32:
    """Return a pixel's bin. Float32 holds these integers exactly; selects vectorise."""
    luma = red * _RED + green * _GREEN + blue * _BLUE + _f32(0x8000)
    high = red if red > green else green
    high = high if high > blue else blue
    low = red if red < green else green
    low = low if low < blue else blue
    spread = high - low
    gap = high - (red + green + blue - high - low)
    beyond = _f32(85) * gap - spread
    of_red = _f32(5) if beyond >= _RED_SLACK else _f32(4)
    of_red = _f32(0) if blue == low else of_red
    of_green = _f32(1) if beyond >= _GREEN_SLACK else _f32(0)
    of_green = _f32(2) if gap == spread or blue != low else of_green
    of_blue = _f32(3) if beyond >= _BLUE_SLACK else _f32(2)
    of_blue = _f32(4) if gap == spread or red != low else of_blue
    hue = of_green if green == high else of_blue
    hue = of_red if red == high else hue
    result = _f32(BRIGHT) + hue
    result = result if _f32(85) * spread - _f32(57) * high >= _BRIGHT_SLACK else _f32(NEITHER)
    result = result if _f32(3) * spread >= _f32(2) * high else _f32(FAINT) + hue
    result = result if _f32(3) * spread >= high else _f32(GREY)
    return _f32(BLACK) if luma < _f32(DARK << 16) else result


@kernel("(Array(uint8, 2, 'C', True), int64[::1])")
def count_colours(pixels: NDArray[np.uint8], counts: NDArray[np.int64]) -> None:
    """Write the number of pixels of `pixels` (N, 3) RGB in each bin to `counts` (16,)."""
    counts[:] = 0
    flat = pixels.ravel()
    bins = np.empty(_CHUNK, np.uint8)
    for start in range(0, pixels.shape[0], _CHUNK):
        size = min(_CHUNK, pixels.shape[0] - start)
        chunk = flat[3 * start : 3 * (start + size)]
        for i in range(size):
            bins[i] = _u8(
                _bin_of(_f32(chunk[3 * i]), _f32(chunk[3 * i + 1]), _f32(chunk[3 * i + 2]))
            )
        for bin_index in range(NEITHER + 1):
            this_bin, count = _u8(bin_index), _u8(0)
            for i in range(size):
                count = _u8(count + _u8(bins[i] == this_bin))
            counts[bin_index] += np.int64(count)
