"""The NumPy twin of `projection`."""

import numpy as np
from numpy.typing import NDArray


def filter_rows(
    codes: NDArray[np.int8],
    tails: NDArray[np.uint8],
    weights: NDArray[np.float32],
    tail_weights: NDArray[np.float32],
    min_bound: float,
) -> NDArray[np.int64]:
    """Return the rows whose bound is at least `min_bound` after every block, ascending."""
    blocks, groups, _, lanes = codes.shape
    in_play = np.ones((groups, lanes), bool)
    products = np.zeros((groups, lanes), np.float64)
    for s in range(blocks):
        products += np.einsum("gjl,j->gl", codes[s].astype(np.float64), weights[s])
        passes = products + float(tail_weights[s]) * tails[s] >= min_bound
        # A group stays in play while any of its vectors passes.
        in_play &= passes.any(axis=1)[:, None]
    return np.flatnonzero(in_play & passes)
