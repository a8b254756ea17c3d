"""The block of luma that GIST and HOG are computed from."""

import numpy as np
from featsvc_kernels import pdq
from numpy.typing import NDArray


def block_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Reduce a picture, (H, W) or (H, W, 3), to 64x64 luma."""
    height, width = pixels.shape[:2]
    block = np.empty((64, 64), np.float32)
    channels = 1 if pixels.ndim == 2 else 3
    pdq.pdq_downsample(pixels.reshape(height, -1), channels, (0, 0, height, width), block)
    return block
