"""Colour layout: the slowest frequencies of an 8x8 miniature in YCbCr.

Source: MPEG-7 Visual (ISO/IEC 15938-3), "Color Layout Descriptor"; Manjunath et al., "Color and
texture descriptors" (IEEE Trans. Circuits Syst. Video Technol. 2001), section III-D. The mean
colours of 8x8 cells are converted to YCbCr and transformed by the DCT; the first coefficients in
zigzag order are kept, not quantised. Chroma and luma are centred on grey, so that the first
coefficients are signed like the others. There are 28 coefficients of luma and 15 of each chroma;
the standard allows as few as 6 and 3.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel

GRID = 8
LUMA, CHROMA = 28, 15
DIMENSIONS = LUMA + 2 * CHROMA

_f32 = np.float32


def _dct_matrix() -> NDArray[np.float64]:
    """Return the orthonormal 8-point DCT-II, (8, 8)."""
    k, n = np.arange(GRID)[:, None], np.arange(GRID)[None, :]
    matrix = np.sqrt(2 / GRID) * np.cos(np.pi / (2 * GRID) * k * (2 * n + 1))
    matrix[0] = np.sqrt(1 / GRID)
    return np.asarray(matrix)


def _zigzag() -> NDArray[np.int64]:
    """Return rows and columns in JPEG's order, (2, 64)."""

    def rank(cell: tuple[int, int]) -> tuple[int, int]:
        diagonal = sum(cell)
        return diagonal, cell[0] if diagonal % 2 else cell[1]

    cells = sorted(((y, x) for y in range(GRID) for x in range(GRID)), key=rank)
    return np.array(cells).T.copy()


_DCT = _dct_matrix()
_ZIGZAG = _zigzag()


@kernel()
def _to_ycc(red: float, green: float, blue: float, ycc: NDArray[np.float64]) -> None:
    """Write JPEG's YCbCr (BT.601, full range) to `ycc`, each component centred on 0."""
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    ycc[0] = luma - 128.0
    ycc[1] = 0.564 * (blue - luma)
    ycc[2] = 0.713 * (red - luma)


@kernel()
def _coefficient(plane: NDArray[np.float64], row: int, column: int) -> float:
    total = 0.0
    for y in range(GRID):
        for x in range(GRID):
            total += _DCT[row, y] * _DCT[column, x] * plane[y, x]
    return total


@kernel("(Array(uint8, 2, 'C', True), int64, float32[::1])")
def colour_layout(pixels: NDArray[np.uint8], channels: int, values: NDArray[np.float32]) -> None:
    """Write the colour layout of `pixels` (H, W * channels) uint8 to `values` (58,): Y, Cb, Cr.

    Interleaved RGB (`channels` 3) or grey (1), 1x1 at least. Not normalised. One pass over the
    bytes.
    """
    height, width = pixels.shape[0], pixels.shape[1] // channels
    ycc = np.empty((3, GRID, GRID), np.float64)
    line = np.empty(pixels.shape[1], np.int32)
    for i in range(GRID):
        # In a picture of fewer than 8 rows several cells share a row.
        top = i * height // GRID
        bottom = max((i + 1) * height // GRID, top + 1)
        line[:] = 0
        for y in range(top, bottom):
            row = pixels[y]
            for k in range(line.size):
                line[k] += np.int32(row[k])
        for j in range(GRID):
            left = j * width // GRID
            right = max((j + 1) * width // GRID, left + 1)
            red = green = blue = 0
            for x in range(left, right):
                red += line[x * channels]
                green += line[x * channels + channels // 2]
                blue += line[x * channels + channels - 1]
            share = 1.0 / ((bottom - top) * (right - left))
            _to_ycc(red * share, green * share, blue * share, ycc[:, i, j])
    at = 0
    for plane in range(3):
        for k in range(LUMA if plane == 0 else CHROMA):
            values[at] = _f32(_coefficient(ycc[plane], _ZIGZAG[0, k], _ZIGZAG[1, k]))
            at += 1
