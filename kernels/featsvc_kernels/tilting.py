"""A picture turned by a few degrees, as phones and editors do it.

`shrink` makes a small grey plane, `tilt` resamples it bilinearly: PDQ reads 64x64 cells, so neither
colours nor full resolution matter. Cost: one pass over the picture, then one over the plane per
angle.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel
from featsvc_kernels.pictures import LUMA, RGB

_f32 = np.float32


@kernel("(Array(uint8, 2, 'C', True), int64, int64, uint8[:, ::1])")
def shrink(pixels: NDArray[np.uint8], channels: int, factor: int, plane: NDArray[np.uint8]) -> None:
    """Write the luma of a picture, averaged over squares of `factor` pixels a side, to `plane`.

    `pixels` (H, W * channels) uint8, interleaved RGB (`channels` 3) or grey (1). `plane`
    (H // factor, W // factor) uint8; incomplete squares at the right and the bottom are dropped.
    """
    red, green, blue = LUMA
    width = plane.shape[1]
    sums = np.empty(width, np.float32)
    share = _f32(1) / _f32(factor * factor)
    for y in range(plane.shape[0]):
        sums[:] = _f32(0)
        for row in range(y * factor, (y + 1) * factor):
            for x in range(width):
                for k in range(x * factor, (x + 1) * factor):
                    if channels == RGB:
                        sums[x] += (
                            red * _f32(pixels[row, 3 * k])
                            + green * _f32(pixels[row, 3 * k + 1])
                            + blue * _f32(pixels[row, 3 * k + 2])
                        )
                    else:
                        sums[x] += _f32(pixels[row, k])
        for x in range(width):
            plane[y, x] = np.uint8(sums[x] * share + _f32(0.5))


@kernel("(Array(uint8, 2, 'C', True), float64, float64, uint8, uint8[:, ::1])")
def tilt(
    plane: NDArray[np.uint8], radians: float, zoom: float, fill: int, out: NDArray[np.uint8]
) -> None:
    """Turn `plane` (H, W) uint8 about its centre, to the left if `radians` > 0, into `out`.

    `out` (H, W) uint8. `zoom` > 1 magnifies. A pixel is interpolated from the four around its
    origin, and is `fill` if its origin lies outside the plane.
    """
    height, width = plane.shape
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    sine, cosine = np.sin(radians) / zoom, np.cos(radians) / zoom
    for y in range(height):
        down = y - middle_y
        for x in range(width):
            across = x - middle_x
            from_x = cosine * across - sine * down + middle_x
            from_y = sine * across + cosine * down + middle_y
            if not (0 <= from_x <= width - 1 and 0 <= from_y <= height - 1):
                out[y, x] = fill
                continue
            x0, y0 = int(from_x), int(from_y)
            x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
            right, below = from_x - x0, from_y - y0
            top = (1 - right) * plane[y0, x0] + right * plane[y0, x1]
            bottom = (1 - right) * plane[y1, x0] + right * plane[y1, x1]
            out[y, x] = np.uint8((1 - below) * top + below * bottom + 0.5)
