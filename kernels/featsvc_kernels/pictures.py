"""How kernels take pictures, and what they say about parts of them.

A rectangle is int64 (4,): the first row and column, the last row and column; each kernel says
whether the last ones are inside.
"""

import numpy as np
from numpy.typing import NDArray

TOP, LEFT, BOTTOM, RIGHT = 0, 1, 2, 3
RGB = 3
"""Channels of a picture in colour; a grey one has 1."""
_GREY_DIMENSIONS = 2


def is_grey(pixels: NDArray[np.uint8]) -> bool:
    """Whether they are (H, W), and not RGB (H, W, 3)."""
    return pixels.ndim == _GREY_DIMENSIONS


def as_rows(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """RGB (H, W, 3) or grey (H, W) as rows of interleaved bytes, and the number of channels."""
    height, width = pixels.shape[:2]
    channels = 1 if is_grey(pixels) else RGB
    return np.ascontiguousarray(pixels).reshape(height, width * channels), channels
