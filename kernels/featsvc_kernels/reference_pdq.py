"""The NumPy twin of `pdq`: float64, whole matrices, no bands."""

import numpy as np
from numpy.typing import NDArray


def jarosz_matrix(n: int) -> NDArray[np.float64]:
    """Return two box filters of ceil(n / 128), edge-normalised, then 64 samples, as (64, n)."""
    window = (n + 127) // 128
    right = (window + 2) // 2 - 1
    left = window - right - 1
    positions = np.arange(n)
    offsets = positions[None, :] - positions[:, None]
    box = ((-left <= offsets) & (offsets <= right)).astype(np.float64)
    box /= box.sum(axis=1, keepdims=True)
    samples = ((np.arange(64) + 0.5) * n / 64).astype(int)
    return np.asarray((box @ box)[samples])


def downsample(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """RGB (H, W, 3) or grey (H, W) to 64x64 luma."""
    luma = pixels.astype(np.float64)
    if luma.ndim == 3:
        luma = luma @ np.array([0.299, 0.587, 0.114])
    rows, cols = jarosz_matrix(luma.shape[0]), jarosz_matrix(luma.shape[1])
    return np.asarray(rows @ luma @ cols.T)


def dct(block: NDArray[np.float64]) -> NDArray[np.float64]:
    """(64, 64) to frequencies 1 to 16 of the orthonormal 2-D DCT-II, (16, 16)."""
    k, n = np.arange(1, 17)[:, None], np.arange(64)[None, :]
    basis = np.sqrt(2 / 64) * np.cos(np.pi / 128 * k * (2 * n + 1))
    return np.asarray(basis @ block @ basis.T)


def quality(block: NDArray[np.float64]) -> int:
    """Return 0 to 100, from gradients cut to whole per cents."""
    down = np.abs(np.trunc(np.diff(block, axis=0) * 100 / 255)).sum()
    across = np.abs(np.trunc(np.diff(block, axis=1) * 100 / 255)).sum()
    return min(int(down + across) // 90, 100)


def bits(coefficients: NDArray[np.float64]) -> bytes:
    """Return 32 bytes: bit `16 * i + j`, last first, is coefficient (i, j) > the lower median."""
    flat = coefficients.ravel()
    above = flat > np.sort(flat)[127]
    return np.packbits(above[::-1]).tobytes()
