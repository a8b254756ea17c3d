"""Samples as 8-bit levels, and levels as pixels: what formats share once their bytes are unpacked.

Every function takes some rows of a picture at a time, so that none runs long, and writes into the
caller's array. What Pillow converts, too, equals its result to the bit.
"""

import numpy as np
from featsvc_kernels import samples as kernels
from numpy.typing import NDArray
from PIL import Image, ImageCms

from featsvc.media.flatten import BACKGROUNDS
from featsvc.media.kinds import OPAQUE, PREMULTIPLIED
from featsvc.media.options import Alpha

_BYTE_BITS, _WIDE_BITS = 8, 16


def to_levels(
    rows: NDArray[np.uint8], bits: int, big_endian: bool, out: NDArray[np.uint8], *, scaled: bool
) -> None:
    """Write unsigned samples of 1 to 16 bits as levels, to `out` (H, S) uint8.

    `rows` (H, bytes) uint8 holds S samples a row, packed from the highest bit on. More than 8 bits
    keep the highest 8; fewer are spread over 0 to 255 if `scaled`, as indices are not.
    """
    samples = out.shape[1]
    if bits == _BYTE_BITS:
        out[:] = rows[:, :samples]
    elif bits == _WIDE_BITS:
        out[:] = rows[:, 0 if big_endian else 1 : 2 * samples : 2]
    else:
        packed = np.empty(out.shape, np.uint8)
        kernels.unpack_bits(np.ascontiguousarray(rows), bits, scaled, packed)
        out[:] = packed


class Stretch:
    """The range of samples that have no agreed white, and their levels in it.

    The least value becomes 0, the greatest 255; what is not finite counts as 0.
    """

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf

    def see(self, values: NDArray[np.generic]) -> None:
        """Extend the range by some of the values; all have to be seen before `levels`."""
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            finite = self._finite(values)
            low, high = float(finite.min()), float(finite.max())
        self._low, self._high = min(self._low, low), max(self._high, high)

    def levels(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        if not self._high > self._low:
            return np.zeros(values.shape, np.uint8)
        # Halved, the range of doubles does not overflow; it is exact but for subnormal numbers.
        half = 0.5 if self._high / 2 - self._low / 2 > np.finfo(np.float64).max / 4 else 1.0
        wide = self._finite(values)
        if half != 1:
            wide *= half
        wide -= self._low * half
        span = self._high * half - self._low * half
        # The scale of a subnormal span would be infinite.
        with np.errstate(over="ignore"):
            scale = np.float64(255.0) / span
        if np.isfinite(scale):
            wide *= scale
        else:
            wide /= span
            wide *= 255.0
        return np.rint(wide, out=wide).astype(np.uint8)

    @staticmethod
    def _finite(values: NDArray[np.generic]) -> NDArray[np.float64]:
        wide = values.astype(np.float64)
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(wide).all():
            np.nan_to_num(wide, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        return wide


def flatten(
    levels: NDArray[np.uint8], colours: int, kind: str, alpha: Alpha, out: NDArray[np.uint8]
) -> None:
    """Write levels (H, W, C), grey or RGB and then alpha of the `kind`, to `out` (H, W, 3)."""
    if kind == OPAQUE:
        out[:] = levels[..., :colours]
    else:
        premultiplied = kind == PREMULTIPLIED
        kernels.composite(levels, colours, premultiplied, BACKGROUNDS[alpha], out)


def cmyk_to_rgb(levels: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Write ink levels (H, W, C >= 4) as RGB (H, W, 3)."""
    kernels.cmyk_to_rgb(levels, out)


class Lab:
    """CIE L*a*b* (D50) as sRGB, by Little CMS."""

    def __init__(self) -> None:
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        self._transform = ImageCms.buildTransform(*profiles, "LAB", "RGB")

    def convert(self, levels: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Write (H, W, 3) as RGB; a* and b* are signed bytes, as TIFF's CIELab has them."""
        size = levels.shape[1], levels.shape[0]
        data = np.ascontiguousarray(levels)
        lab = Image.frombuffer("LAB", size, data, "raw", "LAB", 0, 1)
        out[:] = np.asarray(ImageCms.applyTransform(lab, self._transform))
