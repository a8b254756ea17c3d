"""NumPy twin of `projection`."""

import numpy as np
from numpy.typing import NDArray


def sift(
    codes: NDArray[np.int8],
    tails: NDArray[np.uint8],
    weights: NDArray[np.float32],
    tail_weights: NDArray[np.float32],
    least: float,
) -> NDArray[np.int64]:
    """Rows, ascending, whose bound is at least `least` after every block."""
    blocks, groups, _, lanes = codes.shape
    left = np.ones((groups, lanes), bool)
    products = np.zeros((groups, lanes), np.float64)
    for s in range(blocks):
        products += np.einsum("gjl,j->gl", codes[s].astype(np.float64), weights[s])
        # A group is looked at further while any of its vectors may belong.
        here = products + float(tail_weights[s]) * tails[s] >= least
        left &= here.any(axis=1)[:, None]
    return np.flatnonzero(left & here)
