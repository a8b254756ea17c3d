"""Compute PDQ of decoded pixels."""

from dataclasses import dataclass

import numpy as np
from featsvc_kernels import pdq as kernels
from featsvc_kernels.pictures import as_rows
from numpy.typing import NDArray

MIN_SIDE = 5
"""Smaller pictures hash to zeros with quality 0, as in Meta's reference."""


@dataclass(frozen=True, slots=True)
class PdqHash:
    """`value` (32 bytes, most significant first) and `quality`, 0 to 100."""

    value: bytes
    quality: int


def hash_pdq(pixels: NDArray[np.uint8]) -> PdqHash:
    """Hash RGB (H, W, 3) or grey (H, W) uint8 pixels, at least 1x1, in any memory layout."""
    if min(pixels.shape[:2]) < MIN_SIDE:
        return PdqHash(bytes(32), 0)
    _, bits, quality = _transform(pixels)
    return PdqHash(bits.tobytes(), quality)


def _transform(
    pixels: NDArray[np.uint8],
) -> tuple[NDArray[np.float32], NDArray[np.uint8], int]:
    """Return the coefficients (16, 16), the packed bits (32,) and the quality."""
    height, width = pixels.shape[:2]
    rows, channels = as_rows(pixels)
    coefficients = np.empty((kernels.COEFFICIENTS, kernels.COEFFICIENTS), np.float32)
    bits = np.empty(32, np.uint8)
    quality = kernels.pdq_hash(rows, channels, (0, 0, height, width), coefficients, bits)
    return coefficients, bits, int(quality)


DIHEDRAL_VARIANTS = (
    "original",
    "rotate_90",
    "rotate_180",
    "rotate_270",
    "flip_x",
    "flip_y",
    "transpose",
    "transverse",
)
"""In the order of Meta's reference, which calls the last two flip plus 1 and flip minus 1."""


def hash_pdq_dihedral(pixels: NDArray[np.uint8]) -> tuple[PdqHash, ...]:
    """Hash the picture turned and mirrored in all eight ways, in the order of `DIHEDRAL_VARIANTS`.

    All come from one DCT block: a turn is a transpose and changes of sign. Equals
    `pdqhash.compute_dihedral`.
    """
    if min(pixels.shape[:2]) < MIN_SIDE:
        return (PdqHash(bytes(32), 0),) * len(DIHEDRAL_VARIANTS)
    coefficients, _, quality = _transform(pixels)
    bits = np.empty((len(DIHEDRAL_VARIANTS), 32), np.uint8)
    kernels.pdq_dihedral_bits(coefficients, bits)
    return tuple(PdqHash(row.tobytes(), quality) for row in bits)


def measure_quality(pixels: NDArray[np.uint8]) -> int:
    """Return PDQ's quality of a picture, 0 to 100; 0 for a side below 5 px."""
    return 0 if min(pixels.shape[:2]) < MIN_SIDE else _transform(pixels)[2]
