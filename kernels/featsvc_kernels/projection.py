"""A filter for vectors of length 1: which can have a given inner product with a query.

An orthonormal basis P of K of the D dimensions splits a vector x into y = P'x and the rest, of
length t = sqrt(1 - |y|^2). By Cauchy and Schwarz

    <q, x>  <=  <y_q, y_x> + t_q t_x

so x is ruled out if the right side is too small, and no match is lost. y is stored as int8 times a
scale per dimension, t as uint8 in units of 1/255, rounded up. The error of int8 is at most
|y_q| |e|, which callers subtract from the bound. The dimensions come in blocks of BLOCK, each with
the t that remains after it: the first block rules out most vectors. (Filter and refine with lower
bounds: Faloutsos, Ranganathan and Manolopoulos, "Fast subsequence matching in time-series
databases", 1994, section 3; with principal components they are tightest.)

Values lie in groups of GROUP vectors, dimension by dimension, so that one instruction handles as
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
def filter_rows(
    codes: NDArray[np.int8],
    tails: NDArray[np.uint8],
    weights: NDArray[np.float32],
    tail_weights: NDArray[np.float32],
    min_bound: float,
    rows: NDArray[np.int64],
) -> int:
    """Write the rows whose bound is at least `min_bound` after every block, ascending.

    `codes` (S, G, BLOCK, GROUP): dimension j of block s of row 64 g + l is `codes[s, g, j, l]`.
    `tails` (S, G, GROUP): t after block s. `weights` (S, BLOCK): the query's value times the
    scale. `tail_weights` (S,): the query's t after block s, over 255. Rows that pad the last group
    may be among the result. Returns the number of rows, or TOO_MANY if they do not fit. Reads the
    first block of all vectors, O(N), and the other blocks of few.
    """
    blocks, groups = codes.shape[0], codes.shape[1]
    bounds = np.empty(GROUP, np.float32)
    count = 0
    for g in range(groups):
        for lane in range(GROUP):
            bounds[lane] = np.float32(0)
        passed = 0
        for s in range(blocks):
            for j in range(0, BLOCK, 4):
                # Four at a time, so that the sums are written a quarter as often.
                w0, w1 = weights[s, j], weights[s, j + 1]
                w2, w3 = weights[s, j + 2], weights[s, j + 3]
                for lane in range(GROUP):
                    bounds[lane] += (
                        np.float32(codes[s, g, j, lane]) * w0
                        + np.float32(codes[s, g, j + 1, lane]) * w1
                    ) + (
                        np.float32(codes[s, g, j + 2, lane]) * w2
                        + np.float32(codes[s, g, j + 3, lane]) * w3
                    )
            tail = tail_weights[s]
            passed = 0
            for lane in range(GROUP):
                passed += bounds[lane] + tail * np.float32(tails[s, g, lane]) >= min_bound
            if passed == 0:
                break
        if passed == 0:
            continue
        if count + passed > rows.size:
            return TOO_MANY
        tail = tail_weights[blocks - 1]
        for lane in range(GROUP):
            if bounds[lane] + tail * np.float32(tails[blocks - 1, g, lane]) >= min_bound:
                rows[count] = g * GROUP + lane
                count += 1
    return count
