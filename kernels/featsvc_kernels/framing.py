"""Where the picture lies in a framed copy: inside plain bars, or on a page that shows it.

A picture is read on a grid of every `step`-th pixel (the green sample of RGB), so that the cost
does not grow with its size. A grid line is *flat* if 97 % of it lie within `NEAR` levels of its
median: the bars of a JPEG have a little noise, and photographs have such lines only where a sky or
a backdrop fills them.

- `trimmed`: each side loses its flat lines of one level, that of its outermost line. Sides may
  differ in level and width.
- `unframed`: each side loses flat lines of up to two levels (a status bar, then the page). What
  remains is a picture and perhaps text or buttons on the page. A line belongs to a picture if less
  than half of it is near the page's level. The longest run of such rows, then of such columns
  within them, then again, is the largest picture. The page's level is the last one taken off; if
  there is none, the commonest level of the outermost lines, if it fills 30 % of them.

Last, each edge moves to the pixel between its two grid lines at which the picture changes most.

Cost: a few lines for a picture without a frame, two or three passes over the grid with one.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel
from featsvc_kernels.pictures import BOTTOM, LEFT, RGB, RIGHT, TOP

NEAR = 12
"""Levels (of 255) by which noise may move a plain area from its median."""
FLAT_PER_CENT = 97
RING_PER_CENT = 30
GAP_SHARE = 50
"""A run of picture lines continues over a gap of 1 / 50 of the grid."""

_i64 = np.int64
TRIMMED, UNFRAMED = 0, 1
"""Rows that `find_frames` writes."""
FRAMES = 2


@kernel()
def _is_empty(rectangle: NDArray[np.int64]) -> bool:
    return bool(rectangle[TOP] == rectangle[BOTTOM] or rectangle[LEFT] == rectangle[RIGHT])


@kernel()
def _outermost(
    grid: NDArray[np.uint8], side: int, rectangle: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Return the outermost grid line of `rectangle` on one side."""
    at = rectangle[side] if side < BOTTOM else rectangle[side] - 1
    if side in (TOP, BOTTOM):
        return grid[at, rectangle[LEFT] : rectangle[RIGHT]]
    return grid[rectangle[TOP] : rectangle[BOTTOM], at]


@kernel()
def _median(line: NDArray[np.uint8]) -> int:
    """Return the lower median."""
    counts = np.zeros(256, np.int64)
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
def _peel(grid: NDArray[np.uint8], rectangle: NDArray[np.int64]) -> int:
    """Take the flat lines of one level off each side; return the last level taken, -1 for none.

    A rectangle whose lines are all flat becomes empty.
    """
    peeled = -1
    for side in (TOP, BOTTOM, LEFT, RIGHT):
        level = -1
        far = rectangle[(side + 2) % 4]
        while rectangle[side] != far:
            line = _outermost(grid, side, rectangle)
            if level < 0:
                level = _median(line)
            if not _is_flat(line, level):
                break
            peeled = level
            rectangle[side] += 1 if side < BOTTOM else -1
    return peeled


@kernel()
def _ring_level(grid: NDArray[np.uint8], rectangle: NDArray[np.int64]) -> int:
    """Return the middle of the commonest window of levels on the four sides, -1 if it is rare."""
    counts = np.zeros(256, np.int64)
    total = 0
    for side in range(4):
        line = _outermost(grid, side, rectangle)
        for value in line:
            counts[value] += 1
        total += line.size
    best, best_count = 0, -1
    for level in range(256):
        count = 0
        for near in range(max(level - NEAR, 0), min(level + NEAR + 1, 256)):
            count += counts[near]
        if count > best_count:
            best, best_count = level, count
    return best if 100 * best_count >= RING_PER_CENT * total else -1


@kernel()
def _longest_run(page: NDArray[np.int64], length: int, gap: int) -> tuple[int, int]:
    """Return first and end of the longest run, over short gaps, of lines less than half page."""
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
    grid: NDArray[np.uint8], level: int, gaps: tuple[int, int], rectangle: NDArray[np.int64]
) -> None:
    """Narrow `rectangle` to the largest block that is not page; to nothing if there is none."""
    top, left = rectangle[TOP], rectangle[LEFT]
    page = np.empty((rectangle[BOTTOM] - top, rectangle[RIGHT] - left), np.uint8)
    for y in range(page.shape[0]):
        row = grid[top + y, left:]
        for x in range(page.shape[1]):
            page[y, x] = abs(_i64(row[x]) - level) <= NEAR
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
    plane: NDArray[np.uint8], step: int, side: int, rectangle: NDArray[np.int64]
) -> int:
    """Return the row or column of pixels at which an edge of a grid `rectangle` lies.

    Of the lines between the last grid line of the frame and the first of the picture, it is the
    one that differs most from the line before it.
    """
    by_row = side in (TOP, BOTTOM)
    lines = plane if by_row else plane.T
    across = LEFT if by_row else TOP
    grid_line = rectangle[side]
    if grid_line == 0 or grid_line * step >= lines.shape[0]:
        return int(min(grid_line * step, lines.shape[0]))
    first, end = rectangle[across] * step, (rectangle[across + 2] - 1) * step + 1
    samples = lines[:, first:end:step]
    best, best_sum = grid_line * step, _i64(-1)
    for at in range((grid_line - 1) * step + 1, grid_line * step + 1):
        difference = _i64(0)
        line, line_before = samples[at], samples[at - 1]
        for k in range(line.size):
            difference += abs(_i64(line[k]) - _i64(line_before[k]))
        if difference > best_sum:
            best, best_sum = at, difference
    return int(best)


@kernel()
def _to_pixels(plane: NDArray[np.uint8], step: int, rectangle: NDArray[np.int64]) -> None:
    if _is_empty(rectangle):
        rectangle[:] = 0
        return
    edges = np.empty(4, np.int64)
    for side in range(4):
        edges[side] = _sharpen_edge(plane, step, side, rectangle)
    for side in range(4):
        rectangle[side] = edges[side]


@kernel("(Array(uint8, 2, 'C', True), int64, int64, int64[:, ::1])")
def find_frames(
    pixels: NDArray[np.uint8], channels: int, step: int, rectangles: NDArray[np.int64]
) -> None:
    """Write the `trimmed` and the `unframed` rectangle of a picture to `rectangles` (FRAMES, 4).

    `pixels` (H, W * channels) uint8, interleaved RGB (`channels` 3) or grey (1), 1x1 at least;
    `step` >= 1. A rectangle is top, left, bottom, right in pixels, the last two exclusive: the
    whole picture if it has no frame, zeros if it is nothing but frame.
    """
    plane = pixels[:, (1 if channels == RGB else 0) :: channels]
    grid = plane[::step, ::step]
    trimmed, unframed = rectangles[TRIMMED], rectangles[UNFRAMED]
    trimmed[:] = 0
    trimmed[BOTTOM], trimmed[RIGHT] = grid.shape
    level = _peel(grid, trimmed)
    for side in range(4):
        unframed[side] = trimmed[side]
    if not _is_empty(trimmed):
        if level >= 0:
            inner_level = _peel(grid, unframed)
            level = inner_level if inner_level >= 0 else level
        else:
            level = _ring_level(grid, unframed)
        if level >= 0 and not _is_empty(unframed):
            gaps = grid.shape[0] // GAP_SHARE, grid.shape[1] // GAP_SHARE
            _largest_picture(grid, level, gaps, unframed)
    _to_pixels(plane, step, trimmed)
    _to_pixels(plane, step, unframed)
