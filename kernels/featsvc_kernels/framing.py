"""Where the picture lies in a framed copy: plain bars around it, or a page that shows it.

Read on a grid of every `step`-th sample of the rows (the green one of RGB), so the cost does not
grow with the picture. A line of the grid is *flat* where 97 % of it lie within `NEAR` levels of
its median: bars come out of a JPEG with a little noise, photographs have no such lines but where
a sky or a backdrop fills them.

- `trimmed`: each side loses its flat lines of one level, that of its outermost line. Sides may
  differ in level and width.
- `unframed`: each side loses flat lines of up to two levels (a status bar, then the page). What
  is left is a picture and perhaps text or buttons on the page. Lines less than half of which are
  near the page's level belong to a picture; the longest run of such rows, then of such columns
  within them, then again, is the largest picture. The page's level is the one that was peeled
  last; where nothing was, the commonest one of the outermost lines, if it fills 30 % of them.

An edge found on the grid is then looked for among the pixels between its two grid lines.

Cost: a few lines for a picture without a frame; two or three passes over the grid with one.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel
from featsvc_kernels.pictures import BOTTOM, LEFT, RGB, RIGHT, TOP

NEAR = 12
"""Levels (of 255) that noise may put between a plain area and its median."""
FLAT_PER_CENT = 97
RING_PER_CENT = 30
GAP_SHARE = 50
"""A run of picture lines goes on over a gap of 1 / 50 of the grid."""

_i64 = np.int64
TRIMMED, UNFRAMED = 0, 1
"""Rows of what `find_frames` writes."""
FRAMES = 2


@kernel()
def _is_empty(rectangle: NDArray[np.int64]) -> bool:
    return bool(rectangle[TOP] == rectangle[BOTTOM] or rectangle[LEFT] == rectangle[RIGHT])


@kernel()
def _read_line(
    pixels: NDArray[np.uint8],
    channels: int,
    step: int,
    side: int,
    at: int,
    rectangle: NDArray[np.int64],
    line: NDArray[np.uint8],
) -> int:
    """The grid line `at` along `side` (a row for top and bottom) within `rectangle`; its length."""
    green = 1 if channels == RGB else 0
    if side in (TOP, BOTTOM):
        first, count = rectangle[LEFT], rectangle[RIGHT] - rectangle[LEFT]
        for k in range(count):
            line[k] = pixels[at * step, (first + k) * step * channels + green]
    else:
        first, count = rectangle[TOP], rectangle[BOTTOM] - rectangle[TOP]
        for k in range(count):
            line[k] = pixels[(first + k) * step, at * step * channels + green]
    return int(count)


@kernel()
def _median(line: NDArray[np.uint8], counts: NDArray[np.int64]) -> int:
    """The lower median."""
    counts[:] = 0
    for value in line:
        counts[value] += 1
    below = 0
    for level in range(256):
        below += counts[level]
        if 2 * below >= line.size:
            return level
    return 255


@kernel()
def _is_flat(line: NDArray[np.uint8], level: int) -> bool:
    near = 0
    for value in line:
        if abs(_i64(value) - level) <= NEAR:
            near += 1
    return 100 * near >= FLAT_PER_CENT * line.size


@kernel()
def _peel(
    pixels: NDArray[np.uint8],
    channels: int,
    step: int,
    rectangle: NDArray[np.int64],
    line: NDArray[np.uint8],
    counts: NDArray[np.int64],
) -> int:
    """Take the flat lines of one level off each side; the last level taken, -1 for none.

    A rectangle that is flat all through becomes empty.
    """
    peeled = -1
    for side in (TOP, BOTTOM, LEFT, RIGHT):
        level = -1
        far = rectangle[(side + 2) % 4]
        while rectangle[side] != far:
            at = rectangle[side] if side < BOTTOM else rectangle[side] - 1
            count = _read_line(pixels, channels, step, side, at, rectangle, line)
            if level < 0:
                level = _median(line[:count], counts)
            if not _is_flat(line[:count], level):
                break
            peeled = level
            rectangle[side] += 1 if side < BOTTOM else -1
    return peeled


@kernel()
def _ring_level(
    pixels: NDArray[np.uint8],
    channels: int,
    step: int,
    rectangle: NDArray[np.int64],
    line: NDArray[np.uint8],
    counts: NDArray[np.int64],
) -> int:
    """The middle of the commonest window of levels along the four sides; -1 where it is rare."""
    counts[:] = 0
    total = 0
    for side in range(4):
        at = rectangle[side] if side < BOTTOM else rectangle[side] - 1
        count = _read_line(pixels, channels, step, side, at, rectangle, line)
        for value in line[:count]:
            counts[value] += 1
        total += count
    best, best_count = 0, -1
    for level in range(256):
        count = counts[max(level - NEAR, 0) : level + NEAR + 1].sum()
        if count > best_count:
            best, best_count = level, count
    return best if 100 * best_count >= RING_PER_CENT * total else -1


@kernel()
def _longest_run(page: NDArray[np.int64], length: int, gap: int) -> tuple[int, int]:
    """First and end of the longest run of lines that are less than half page, over short gaps."""
    best_first, best_end = 0, 0
    first, last = -1, -1
    for i in range(page.size):
        if 2 * page[i] >= length:
            continue
        if first < 0 or i - last - 1 > gap:
            first = i
        last = i
        if last + 1 - first > best_end - best_first:
            best_first, best_end = first, last + 1
    return best_first, best_end


@kernel()
def _largest_picture(
    pixels: NDArray[np.uint8],
    channels: int,
    step: int,
    level: int,
    gaps: tuple[int, int],
    rectangle: NDArray[np.int64],
) -> None:
    """Narrow `rectangle` to the largest block off the page; to nothing where there is none."""
    green = 1 if channels == RGB else 0
    top, left = rectangle[TOP], rectangle[LEFT]
    page = np.empty((rectangle[BOTTOM] - top, rectangle[RIGHT] - left), np.uint8)
    for y in range(page.shape[0]):
        row = pixels[(top + y) * step]
        for x in range(page.shape[1]):
            value = _i64(row[(left + x) * step * channels + green])
            page[y, x] = abs(value - level) <= NEAR
    y0, y1, x0, x1 = 0, page.shape[0], 0, page.shape[1]
    for _ in range(3):
        before = y0, y1, x0, x1
        rows = np.zeros(y1 - y0, np.int64)
        for y in range(y0, y1):
            count = 0
            for x in range(x0, x1):
                count += page[y, x]
            rows[y - y0] = count
        first, end = _longest_run(rows, x1 - x0, gaps[0])
        y0, y1 = y0 + first, y0 + end
        columns = np.zeros(x1 - x0, np.int64)
        for y in range(y0, y1):
            for x in range(x0, x1):
                columns[x - x0] += page[y, x]
        first, end = _longest_run(columns, y1 - y0, gaps[1])
        x0, x1 = x0 + first, x0 + end
        if before == (y0, y1, x0, x1):
            break
    rectangle[TOP], rectangle[BOTTOM] = top + y0, top + y1
    rectangle[LEFT], rectangle[RIGHT] = left + x0, left + x1


@kernel()
def _sharpen_edge(
    pixels: NDArray[np.uint8], channels: int, step: int, side: int, rectangle: NDArray[np.int64]
) -> int:
    """The row or column of pixels at which an edge of a grid `rectangle` really lies.

    Of those between the last grid line of the frame and the first of the picture, the one that
    differs most from the one before it.
    """
    green = 1 if channels == RGB else 0
    row_wise = side in (TOP, BOTTOM)
    last = pixels.shape[0] if row_wise else pixels.shape[1] // channels
    grid_line = rectangle[side]
    if grid_line == 0 or grid_line * step >= last:
        return int(min(grid_line * step, last))
    across = LEFT if row_wise else TOP
    best, best_sum = grid_line * step, _i64(-1)
    for at in range((grid_line - 1) * step + 1, grid_line * step + 1):
        difference = _i64(0)
        for k in range(rectangle[across] * step, (rectangle[across + 2] - 1) * step + 1, step):
            if row_wise:
                here = _i64(pixels[at, k * channels + green])
                before = _i64(pixels[at - 1, k * channels + green])
            else:
                here = _i64(pixels[k, at * channels + green])
                before = _i64(pixels[k, (at - 1) * channels + green])
            difference += abs(here - before)
        if difference > best_sum:
            best, best_sum = at, difference
    return int(best)


@kernel()
def _to_pixels(
    pixels: NDArray[np.uint8], channels: int, step: int, rectangle: NDArray[np.int64]
) -> None:
    if _is_empty(rectangle):
        rectangle[:] = 0
        return
    edges = np.empty(4, np.int64)
    for side in range(4):
        edges[side] = _sharpen_edge(pixels, channels, step, side, rectangle)
    rectangle[:] = edges


@kernel("(Array(uint8, 2, 'C', True), int64, int64, int64[:, ::1])")
def find_frames(
    pixels: NDArray[np.uint8], channels: int, step: int, rectangles: NDArray[np.int64]
) -> None:
    """Write the `trimmed` and the `unframed` rectangle of a picture into `rectangles`
    (FRAMES, 4), rows TRIMMED and UNFRAMED.

    `pixels` (H, W * channels) uint8, interleaved RGB (`channels` 3) or grey (1), 1x1 at least;
    `step` >= 1. A rectangle is top, left, bottom, right in pixels, the last two exclusive: the
    whole picture where there is no frame, zeros where there is nothing but frame.
    """
    height = -(-pixels.shape[0] // step)
    width = -(-(pixels.shape[1] // channels) // step)
    line = np.empty(max(height, width), np.uint8)
    counts = np.empty(256, np.int64)
    trimmed, unframed = rectangles[TRIMMED], rectangles[UNFRAMED]
    trimmed[:] = 0
    trimmed[BOTTOM], trimmed[RIGHT] = height, width
    level = _peel(pixels, channels, step, trimmed, line, counts)
    unframed[:] = trimmed
    if not _is_empty(trimmed):
        if level >= 0:
            again = _peel(pixels, channels, step, unframed, line, counts)
            level = again if again >= 0 else level
        else:
            level = _ring_level(pixels, channels, step, unframed, line, counts)
        if level >= 0 and not _is_empty(unframed):
            gaps = height // GAP_SHARE, width // GAP_SHARE
            _largest_picture(pixels, channels, step, level, gaps, unframed)
    _to_pixels(pixels, channels, step, trimmed)
    _to_pixels(pixels, channels, step, unframed)
