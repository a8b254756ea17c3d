"""The NumPy twin of `framing`: whole planes, slices and means."""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.framing import FLAT_PER_CENT, GAP_SHARE, NEAR, RING_PER_CENT
from featsvc_kernels.pictures import BOTTOM, LEFT, RIGHT, TOP, is_grey

Rectangle = tuple[int, int, int, int]


def sides(plane: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return the plane's lines from the top, the left, the bottom and the right."""
    return [plane, plane.T, plane[::-1], plane.T[::-1]]


def cut(plane: NDArray[np.uint8], rectangle: Rectangle) -> NDArray[np.uint8]:
    top, left, bottom, right = rectangle
    return plane[top:bottom, left:right]


def peel(plane: NDArray[np.uint8], rectangle: Rectangle) -> tuple[Rectangle, int]:
    """Take the flat lines of one level off each side; return the last level taken off too."""
    edges, peeled = list(rectangle), -1
    for side in (TOP, BOTTOM, LEFT, RIGHT):
        lines = sides(cut(plane, (edges[0], edges[1], edges[2], edges[3])))[side].astype(int)
        if not lines.size:
            break
        level = int(np.sort(lines[0])[(lines.shape[1] - 1) // 2])
        near = (abs(lines - level) <= NEAR).sum(axis=1)
        flat = 100 * near >= FLAT_PER_CENT * lines.shape[1]
        count = len(flat) if flat.all() else int(flat.argmin())
        peeled = level if count else peeled
        edges[side] += count if side in (TOP, LEFT) else -count
    return (edges[0], edges[1], edges[2], edges[3]), peeled


def ring_level(plane: NDArray[np.uint8]) -> int:
    ring = np.concatenate([lines[0] for lines in sides(plane)]).astype(int)
    counts = [int((abs(ring - level) <= NEAR).sum()) for level in range(256)]
    return int(np.argmax(counts)) if 100 * max(counts) >= RING_PER_CENT * len(ring) else -1


def longest_run(page: NDArray[np.bool_], gap: int) -> slice:
    """Return the longest run of rows that are less than half page."""
    picture = np.flatnonzero(2 * page.sum(axis=1) < page.shape[1])
    if not len(picture):
        return slice(0, 0)
    runs = np.split(picture, np.flatnonzero(np.diff(picture) - 1 > gap) + 1)
    # `max` returns the first of equally long runs.
    longest = max(runs, key=lambda run: int(run[-1] - run[0]))
    return slice(int(longest[0]), int(longest[-1]) + 1)


def largest_picture(
    plane: NDArray[np.uint8], rectangle: Rectangle, level: int, gaps: tuple[int, int]
) -> Rectangle:
    top, left, bottom, right = rectangle
    page = abs(plane.astype(int) - level) <= NEAR
    for _ in range(3):
        before = top, left, bottom, right
        rows = longest_run(page[top:bottom, left:right], gaps[0])
        top, bottom = top + rows.start, top + rows.stop
        columns = longest_run(page[top:bottom, left:right].T, gaps[1])
        left, right = left + columns.start, left + columns.stop
        if before == (top, left, bottom, right):
            break
    return top, left, bottom, right


def sharpen(pixels: NDArray[np.uint8], step: int, rectangle: Rectangle) -> Rectangle:
    """Return the rectangle in pixels: each edge is where two neighbouring lines differ most."""
    top, left, bottom, right = rectangle
    if top == bottom or left == right:
        return 0, 0, 0, 0
    plane = (pixels if is_grey(pixels) else pixels[..., 1]).astype(int)
    rows = plane[:, left * step : (right - 1) * step + 1 : step]
    columns = plane.T[:, top * step : (bottom - 1) * step + 1 : step]

    def edge(lines: NDArray[np.int64], at: int) -> int:
        if at == 0 or at * step >= len(lines):
            return min(at * step, len(lines))
        first = (at - 1) * step
        differences = abs(np.diff(lines[first : at * step + 1], axis=0)).sum(axis=1)
        return first + 1 + int(differences.argmax())

    return edge(rows, top), edge(columns, left), edge(rows, bottom), edge(columns, right)


def find_frames(pixels: NDArray[np.uint8], step: int) -> tuple[Rectangle, Rectangle]:
    """Return the trimmed and the unframed rectangle of RGB (H, W, 3) or grey (H, W)."""
    plane = (pixels if is_grey(pixels) else pixels[..., 1])[::step, ::step]
    height, width = plane.shape
    trimmed, level = peel(plane, (0, 0, height, width))
    unframed = trimmed
    if cut(plane, trimmed).size:
        if level >= 0:
            unframed, inner_level = peel(plane, trimmed)
            level = inner_level if inner_level >= 0 else level
        else:
            level = ring_level(plane)
        if level >= 0 and cut(plane, unframed).size:
            gaps = height // GAP_SHARE, width // GAP_SHARE
            unframed = largest_picture(plane, unframed, level, gaps)
    return sharpen(pixels, step, trimmed), sharpen(pixels, step, unframed)
