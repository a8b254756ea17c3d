"""PDQ of decoded pixels."""

from dataclasses import dataclass

import numpy as np
from featsvc_kernels import pdq as kernels
from featsvc_kernels.pictures import as_rows
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
    if min(pixels.shape[:2]) < MIN_SIDE:
        return PdqHash(bytes(32), 0)
    _, bits, quality = _transform(pixels)
    return PdqHash(bits.tobytes(), quality)


def _transform(
    pixels: NDArray[np.uint8],
) -> tuple[NDArray[np.float32], NDArray[np.uint8], int]:
    """Coefficients (16, 16), packed bits (32,) and quality."""
    height, width = pixels.shape[:2]
    rows, channels = as_rows(pixels)
    coefficients = np.empty((kernels.COEFFICIENTS, kernels.COEFFICIENTS), np.float32)
    bits = np.empty(32, np.uint8)
    quality = kernels.pdq_hash(rows, channels, 0, 0, height, width, coefficients, bits)
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
"""In the order of Meta's reference, whose names for the last two are flip plus 1 and minus 1."""


def hash_pdq_dihedral(pixels: NDArray[np.uint8]) -> tuple[PdqHash, ...]:
    """PDQ of the picture turned and mirrored in all eight ways, in order of `DIHEDRAL_VARIANTS`.

    One DCT block serves all: a turn is a transpose and changes of sign. Equals
    `pdqhash.compute_dihedral`.
    """
    if min(pixels.shape[:2]) < MIN_SIDE:
        return (PdqHash(bytes(32), 0),) * len(DIHEDRAL_VARIANTS)
    coefficients, _, quality = _transform(pixels)
    bits = np.empty((len(DIHEDRAL_VARIANTS), 32), np.uint8)
    kernels.pdq_dihedral_bits(coefficients, bits)
    return tuple(PdqHash(row.tobytes(), quality) for row in bits)


def compute_pdqf(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], int]:
    """PDQF: the 256 coefficients that PDQ quantises, and the quality.

    Element k belongs to bit k of the hex as it is read, as in `pdqhash.compute_float`. A picture
    with a side under 5 px gives zeros and quality 0.
    """
    if min(pixels.shape[:2]) < MIN_SIDE:
        return np.zeros(256, np.float32), 0
    coefficients, _, quality = _transform(pixels)
    return coefficients.ravel()[::-1].copy(), quality


def measure_quality(pixels: NDArray[np.uint8]) -> int:
    """PDQ's measure of how much structure a picture has, 0 to 100; 0 for a side under 5 px."""
    return 0 if min(pixels.shape[:2]) < MIN_SIDE else _transform(pixels)[2]
