"""Which vectors of length 1 can have a given inner product with a query, from a few bytes of each.

A vector x is split by an orthonormal basis P of K of its D dimensions into y = P'x and the rest of
length t = sqrt(1 - |y|^2). By Cauchy and Schwarz

    <q, x>  <=  <y_q, y_x> + t_q t_x

so that x is ruled out once the right side is too small; nothing that belongs is lost. y is kept as
int8 times a scale for each dimension, t as uint8 of 1/255, rounded up. What int8 loses is at most
|y_q| |e|, which callers take off the bound beforehand. Blocks of BLOCK dimensions follow each
other, each with the t that is left after it: most vectors are ruled out by the first. (Filter and
refine with lower bounds: Faloutsos, Ranganathan and Manolopoulos, "Fast subsequence matching in
time-series databases", 1994, section 3; with principal components they are tightest.)

Values lie in groups of GROUP vectors, dimension by dimension, so that one instruction takes as
many vectors as it has lanes.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel

GROUP = 64
BLOCK = 32
TOO_MANY = -1


@kernel(
    "int64(Array(int8, 4, 'C', True), Array(uint8, 3, 'C', True), Array(float32, 2, 'C', True), "
    "Array(float32, 1, 'C', True), float32, int64[::1])"
)
def sift(
    codes: NDArray[np.int8],
    tails: NDArray[np.uint8],
    weights: NDArray[np.float32],
    tail_weights: NDArray[np.float32],
    least: float,
    rows: NDArray[np.int64],
) -> int:
    """Rows, ascending, whose bound is at least `least` after every block. O(N) of the first.

    `codes` (S, G, BLOCK, GROUP): dimension j of block s of row 64 g + l is `codes[s, g, j, l]`;
    `tails` (S, G, GROUP) what is left after block s; `weights` (S, BLOCK) the query's value times
    the scale, `tail_weights` (S,) what is left of the query after block s, over 255. Rows that
    fill up the last group may be among the answer. Returns how many went into `rows`, TOO_MANY
    where they had no room.
    """
    blocks, groups = codes.shape[0], codes.shape[1]
    bounds = np.empty(64, np.float32)
    filled = 0
    for g in range(groups):
        for lane in range(64):
            bounds[lane] = np.float32(0)
        passed = 0
        for s in range(blocks):
            for j in range(0, 32, 4):
                # Four at a time, so that the sums are written a fourth as often.
                w0, w1 = weights[s, j], weights[s, j + 1]
                w2, w3 = weights[s, j + 2], weights[s, j + 3]
                for lane in range(64):
                    bounds[lane] += (
                        np.float32(codes[s, g, j, lane]) * w0
                        + np.float32(codes[s, g, j + 1, lane]) * w1
                    ) + (
                        np.float32(codes[s, g, j + 2, lane]) * w2
                        + np.float32(codes[s, g, j + 3, lane]) * w3
                    )
            tail = tail_weights[s]
            passed = 0
            for lane in range(64):
                passed += bounds[lane] + tail * np.float32(tails[s, g, lane]) >= least
            if passed == 0:
                break
        if passed == 0:
            continue
        if filled + passed > rows.size:
            return TOO_MANY
        tail = tail_weights[blocks - 1]
        for lane in range(64):
            if bounds[lane] + tail * np.float32(tails[blocks - 1, g, lane]) >= least:
                rows[filled] = g * 64 + lane
                filled += 1
    return filled
