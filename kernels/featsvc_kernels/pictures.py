"""The layout of pictures and rectangles that kernels take.

A rectangle is int64 (4,): first row, first column, last row, last column. Each kernel documents
whether the last ones are inside.
"""

import numpy as np
from numpy.typing import NDArray

TOP, LEFT, BOTTOM, RIGHT = 0, 1, 2, 3
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R 601 shares of red, green and blue."""
PILLOW_LUMA = 19595, 38470, 7471
"""The same in units of 1 / 65536, as Pillow computes luma; it adds 0x8000, and shifts by 16."""
RGB = 3
"""Number of channels of a colour picture; a grey one has 1."""
_GREY_DIMENSIONS = 2


def is_grey(pixels: NDArray[np.uint8]) -> bool:
    """Whether `pixels` are grey (H, W), not RGB (H, W, 3)."""
    return pixels.ndim == _GREY_DIMENSIONS


def as_rows(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """Return RGB (H, W, 3) or grey (H, W) as rows of interleaved bytes, and the channel count."""
    height, width = pixels.shape[:2]
    channels = 1 if is_grey(pixels) else RGB
    return np.ascontiguousarray(pixels).reshape(height, width * channels), channels
