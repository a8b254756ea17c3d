"""HOG: histograms of oriented gradients over a 64x64 block.

Source: Dalal and Triggs, "Histograms of oriented gradients for human detection" (CVPR 2005),
section 6: 9 unsigned directions, cells of 8x8 px, blocks of 2x2 cells one cell apart, L2-Hys.
Votes are not shared between bins, as in scikit-image's `hog`; the values equal it.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel

SIDE = 64
CELL = 8
CELLS = SIDE // CELL
DIRECTIONS = 9
BLOCK = 2
BLOCKS = CELLS - BLOCK + 1
DIMENSIONS = BLOCKS * BLOCKS * BLOCK * BLOCK * DIRECTIONS

_EPSILON2 = 1e-10
_CLIP = 0.2
_f32 = np.float32


@kernel()
def _normalise_hys(values: NDArray[np.float32]) -> None:
    """Scale to length 1, clip at 0.2, scale to length 1 again, in place."""
    for clip in (_CLIP, np.inf):
        total = _EPSILON2
        for v in values:
            total += np.float64(v) * np.float64(v)
        scale = 1.0 / np.sqrt(total)
        for i in range(values.size):
            values[i] = _f32(min(values[i] * scale, clip))


@kernel("(Array(float32, 2, 'C', True), float32[::1])")
def hog(block: NDArray[np.float32], values: NDArray[np.float32]) -> None:
    """Write the HOG of `block` (64, 64) luma to `values` (1764,): block by block, cell by cell.

    Each block of 36 values has length 1 at most; the vector is not normalised.
    """
    cells = np.zeros((CELLS, CELLS, DIRECTIONS), np.float32)
    for y in range(SIDE):
        for x in range(SIDE):
            down = block[y + 1, x] - block[y - 1, x] if 0 < y < SIDE - 1 else _f32(0)
            across = block[y, x + 1] - block[y, x - 1] if 0 < x < SIDE - 1 else _f32(0)
            degrees = np.degrees(np.arctan2(down, across)) % _f32(180)
            # Slightly below 0 degrees wraps to 180.0 in float32.
            direction = min(int(degrees / _f32(180 / DIRECTIONS)), DIRECTIONS - 1)
            cells[y // CELL, x // CELL, direction] += np.hypot(down, across)
    cells /= _f32(CELL * CELL)
    at = 0
    for by in range(BLOCKS):
        for bx in range(BLOCKS):
            part = cells[by : by + BLOCK, bx : bx + BLOCK]
            first = at
            for cy in range(BLOCK):
                for cx in range(BLOCK):
                    for d in range(DIRECTIONS):
                        values[at] = part[cy, cx, d]
                        at += 1
            _normalise_hys(values[first:at])
