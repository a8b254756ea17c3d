"""PDQ of decoded pixels."""

from dataclasses import dataclass

import numpy as np
from featsvc_kernels import pdq as kernels
from numpy.typing import NDArray

MIN_SIDE = 5
"""Smaller pictures have no hash: all zero bits with quality 0, as in Meta's reference."""


@dataclass(frozen=True, slots=True)
class PdqHash:
    """`value` (32 bytes, most significant first) and `quality`, 0 to 100."""

    value: bytes
    quality: int


def hash_pdq(pixels: NDArray[np.uint8]) -> PdqHash:
    """PDQ of RGB (H, W, 3) or grey (H, W) uint8 pixels, 1x1 at least; any memory layout."""
    height, width = pixels.shape[:2]
    if height < MIN_SIDE or width < MIN_SIDE:
        return PdqHash(bytes(32), 0)
    channels = 1 if pixels.ndim == 2 else 3
    rows = np.ascontiguousarray(pixels).reshape(height, width * channels)
    coefficients = np.empty((kernels.COEFFICIENTS, kernels.COEFFICIENTS), np.float32)
    bits = np.empty(32, np.uint8)
    quality = kernels.pdq_hash(rows, channels, 0, 0, height, width, coefficients, bits)
    return PdqHash(bits.tobytes(), int(quality))
