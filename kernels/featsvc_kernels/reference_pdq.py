"""The NumPy twins of `pdq`, in float64, by whole matrices, and of `jarosz`, by running sums."""

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


def _running_means(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Box filter along the first axis: one running sum a column, in float32."""
    n = len(plane)
    window = (n + 127) // 128
    ahead = (window + 2) // 2 - 1
    means = np.empty_like(plane)
    total = np.zeros(plane.shape[1], np.float32)
    count = 0
    for y in range(n + ahead):
        if y < n:
            total = total + plane[y]
            count += 1
        if y >= window:
            total = total - plane[y - window]
            count -= 1
        if y >= ahead:
            means[y - ahead] = total / np.float32(count)
    return means


def downsample_in_order(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """RGB (H, W, 3) or grey (H, W) to 64x64 luma, rounded as Meta's reference rounds."""
    wide = pixels.astype(np.float64)
    if wide.ndim == 3:
        wide = wide[:, :, 0] * 0.299 + wide[:, :, 1] * 0.587 + wide[:, :, 2] * 0.114
    luma = wide.astype(np.float32)
    for _ in range(2):
        luma = _running_means(_running_means(luma.T).T)
    rows, cols = ((2 * np.arange(64) + 1) * n // 128 for n in luma.shape)
    return np.asarray(luma[rows][:, cols])


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
