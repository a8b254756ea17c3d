"""The grey plane of a picture, and thumbnails of it."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from featsvc_kernels import resample
from featsvc_kernels.pictures import as_rows, is_grey
from numpy.typing import NDArray

_CACHED_LENGTH = 8192

Plane = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Pixels `top` to `bottom` and `left` to `right`, the last ones exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def extent(self) -> tuple[int, int, int, int]:
        """Top, left, height and width."""
        return self.top, self.left, self.height, self.width


def _padded(length: int) -> int:
    return -(-length // 8) * 8


def _empty_plane(height: int, width: int) -> Plane:
    """Allocate (height, width) bytes, padded to multiples of 8 so that they transpose in tiles.

    The padding never reaches a result: resampling works column by column.
    """
    return np.empty((_padded(height), _padded(width)), np.uint8)


def _transposed(plane: Plane) -> Plane:
    turned = np.empty(plane.shape[::-1], np.uint8)
    resample.transpose(plane.view(np.uint64), turned.view(np.uint64))
    return turned


def _weights(in_size: int, out_size: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    # Longer axes are rare, and their weights take megabytes.
    if in_size > _CACHED_LENGTH:
        return resample.lanczos_weights(in_size, out_size)
    return _cached_weights(in_size, out_size)


@lru_cache(maxsize=128)
def _cached_weights(in_size: int, out_size: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    return resample.lanczos_weights(in_size, out_size)


def _resample_height(plane: Plane, in_size: int, out_size: int) -> Plane:
    if in_size == out_size:
        return plane
    out = np.empty((_padded(out_size), plane.shape[1]), np.uint8)
    resample.resample_rows(plane, *_weights(in_size, out_size), out)
    return out


class GreyPlane:
    """Grey pixels and Lanczos thumbnails, equal to Pillow's; caches the transposed plane."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        """Convert RGB (H, W, 3) or grey (H, W) uint8 pixels, in any memory layout."""
        self.height, self.width = int(pixels.shape[0]), int(pixels.shape[1])
        self._plane = _empty_plane(self.height, self.width)
        if is_grey(pixels):
            self._plane[: self.height, : self.width] = pixels
        else:
            resample.to_grey(as_rows(pixels)[0], self.width, self._plane)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(H, W) uint8, a view."""
        return self._plane[: self.height, : self.width]

    def crop(self, part: Rectangle) -> "GreyPlane":
        return GreyPlane(self.pixels[part.top : part.bottom, part.left : part.right])

    def thumbnail(self, width: int, height: int) -> NDArray[np.uint8]:
        """Equal `resize((width, height), LANCZOS)` of Pillow 13: (height, width) uint8."""
        lost_rows, lost_columns = self.height - height, self.width - width
        # Pillow 13's rule (measured); earlier versions always resampled columns first.
        if lost_rows > 0 and lost_rows > 2 * lost_columns:
            turned = _transposed(_resample_height(self._plane, self.height, height))
            plane = _transposed(_resample_height(turned, self.width, width))
        else:
            turned = _resample_height(self._transposed_plane, self.width, width)
            plane = _resample_height(_transposed(turned), self.height, height)
        return np.ascontiguousarray(plane[:height, :width])

    @cached_property
    def _transposed_plane(self) -> Plane:
        return _transposed(self._plane)
