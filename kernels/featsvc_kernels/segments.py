"""Bright and dark regions of a small grey picture, for imagehash's `crop_resistant_hash`.

Source: imagehash 4.3.2 `_find_all_segments`, after Steinebach, Liu and Yannikos, "Efficient
Cropping-Resistant Robust Image Hashing" (ARES 2014).
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel
from featsvc_kernels.pictures import BOTTOM, LEFT, RIGHT, TOP

PIXELS = 4
"""The column of `segments` after the four of a rectangle: the number of pixels."""
SEGMENT_COLUMNS = 5


@kernel()
def _order(a: np.uint8, b: np.uint8) -> tuple[np.uint8, np.uint8]:
    return (a if a < b else b), (b if a < b else a)


@kernel("(Array(uint8, 2, 'C', True), uint8[:, ::1])")
def median_3x3(grey: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Write the median of each 3x3 neighbourhood to `out`, as Pillow's `MedianFilter`.

    Edges are repeated. The 19 exchanges of Paeth's network ("Median Finding on a 3x3 Grid",
    Graphics Gems, 1990).
    """
    height, width = grey.shape
    padded = np.empty((3, width + 2), np.uint8)
    for y in range(height):
        for k in range(3):
            row = grey[min(max(y + k - 1, 0), height - 1)]
            padded[k, 0] = row[0]
            for x in range(width):
                padded[k, x + 1] = row[x]
            padded[k, width + 1] = row[width - 1]
        above, middle, below = padded[0], padded[1], padded[2]
        for x in range(width):
            p0, p1, p2 = above[x], above[x + 1], above[x + 2]
            p3, p4, p5 = middle[x], middle[x + 1], middle[x + 2]
            p6, p7, p8 = below[x], below[x + 1], below[x + 2]
            p1, p2 = _order(p1, p2)
            p4, p5 = _order(p4, p5)
            p7, p8 = _order(p7, p8)
            p0, p1 = _order(p0, p1)
            p3, p4 = _order(p3, p4)
            p6, p7 = _order(p6, p7)
            p1, p2 = _order(p1, p2)
            p4, p5 = _order(p4, p5)
            p7, p8 = _order(p7, p8)
            p0, p3 = _order(p0, p3)
            p5, p8 = _order(p5, p8)
            p4, p7 = _order(p4, p7)
            p3, p6 = _order(p3, p6)
            p1, p4 = _order(p1, p4)
            p2, p5 = _order(p2, p5)
            p4, p7 = _order(p4, p7)
            p4, p2 = _order(p4, p2)
            p6, p4 = _order(p6, p4)
            p4, p2 = _order(p4, p2)
            out[y, x] = p4


@kernel()
def _flood(
    bright: NDArray[np.bool_],
    free: NDArray[np.bool_],
    queue: NDArray[np.int64],
    start: int,
    box: NDArray[np.int64],
) -> int:
    """Mark the 4-connected region of `start` as taken; return its size and write its `box`."""
    height, width = bright.shape
    kind = bright[start // width, start % width]
    queue[0] = start
    free[start // width, start % width] = False
    box[TOP], box[LEFT], box[BOTTOM], box[RIGHT] = height, width, -1, -1
    head, tail = 0, 1
    while head < tail:
        y, x = queue[head] // width, queue[head] % width
        head += 1
        box[TOP], box[LEFT] = min(box[TOP], y), min(box[LEFT], x)
        box[BOTTOM], box[RIGHT] = max(box[BOTTOM], y), max(box[RIGHT], x)
        for side in (TOP, LEFT, BOTTOM, RIGHT):
            ny = y + (side == BOTTOM) - (side == TOP)
            nx = x + (side == RIGHT) - (side == LEFT)
            inside = 0 <= ny < height and 0 <= nx < width
            if inside and free[ny, nx] and bright[ny, nx] == kind:
                free[ny, nx] = False
                queue[tail] = ny * width + nx
                tail += 1
    return tail


@kernel("int64(Array(uint8, 2, 'C', True), int64, int64, int64[:, ::1])")
def find_segments(
    grey: NDArray[np.uint8], threshold: int, min_size: int, segments: NDArray[np.int64]
) -> int:
    """Find the regions of more than `min_size` pixels in `grey` (H, W); return their number.

    Writes `segments` (>= H * W / min_size, SEGMENT_COLUMNS): the bounding rectangle, last row and
    column inside, and PIXELS. Regions brighter than `threshold` come first, each kind in raster
    order of its first pixel.

    As imagehash does, the search for dark regions stops after H * W pixels. A border of 2 (H + W)
    pixels outside the picture counts, and regions of one pixel do not.
    """
    height, width = grey.shape
    bright = grey > threshold
    free = np.ones((height, width), np.bool_)
    queue = np.empty(height * width, np.int64)
    box = np.empty(4, np.int64)
    count = 0
    visited = 2 * (height + width)
    for kind in (True, False):
        for start in range(height * width):
            y, x = start // width, start % width
            if not kind and visited >= height * width:
                return count
            if not free[y, x] or bright[y, x] != kind:
                continue
            size = _flood(bright, free, queue, start, box)
            visited += size if size > 1 else 0
            if size > min_size:
                for side in (TOP, LEFT, BOTTOM, RIGHT):
                    segments[count, side] = box[side]
                segments[count, PIXELS] = size
                count += 1
    return count
