"""The block of luma from which GIST and HOG are computed."""

import numpy as np
from featsvc_kernels import pdq
from featsvc_kernels.pictures import as_rows
from numpy.typing import NDArray


def block_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Reduce a picture, (H, W) or (H, W, 3), to 64x64 luma."""
    block = np.empty((64, 64), np.float32)
    pdq.pdq_downsample(*as_rows(pixels), (0, 0, *pixels.shape[:2]), block)
    return block
