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
    """`value` (32 bytes, most significant first) and `quality`, 0 to 100.

    `unstable`: about half of the coefficients are close to their median, so that a copy that was
    saved anew has another hash. `kernels.UNSTABLE_BITS` is the limit.
    """

    value: bytes
    quality: int
    unstable: bool = False


_TOO_SMALL = PdqHash(bytes(32), 0)


def hash_pdq(pixels: NDArray[np.uint8]) -> PdqHash:
    """Hash RGB (H, W, 3) or grey (H, W) uint8 pixels, at least 1x1, in any memory layout.

    Equals `pdqhash.compute` but for bits that rounding decides, fewer than `kernels.ROUNDED_BITS`.
    Where there are more, and where the hash is unstable, it equals it to the bit.
    """
    height, width = pixels.shape[:2]
    return hash_part(*as_rows(pixels), (0, 0, height, width))


def hash_part(
    rows: NDArray[np.uint8], channels: int, part: kernels.Part, *, settle: bool = True
) -> PdqHash:
    """Hash a rectangle (top, left, height, width) of rows as `as_rows` returns them, in place.

    Without `settle`, bits that rounding decides may differ from the reference: this bounds the time
    where only stable hashes are used.
    """
    if min(part[2:]) < MIN_SIDE:
        return _TOO_SMALL
    bits = np.empty(32, np.uint8)
    quality, unstable = kernels.pdq_hash(rows, channels, part, settle, bits)
    return PdqHash(bits.tobytes(), int(quality), bool(unstable))


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

    All come from one DCT block: a turn is a transpose and changes of sign. Each equals that of
    `pdqhash.compute_dihedral` as `hash_pdq` equals `pdqhash.compute`.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        return (_TOO_SMALL,) * len(DIHEDRAL_VARIANTS)
    bits = np.empty((len(DIHEDRAL_VARIANTS), 32), np.uint8)
    marks = np.empty((len(DIHEDRAL_VARIANTS), 2), np.bool_)
    rows, channels = as_rows(pixels)
    quality = kernels.pdq_dihedral_hashes(rows, channels, (0, 0, height, width), bits, marks)
    return tuple(
        PdqHash(row.tobytes(), int(quality), unstable)
        for row, (_, unstable) in zip(bits, marks.tolist(), strict=True)
    )


def measure_quality(pixels: NDArray[np.uint8]) -> int:
    """Return PDQ's quality of a picture, 0 to 100; 0 for a side below 5 px."""
    return hash_pdq(pixels).quality
