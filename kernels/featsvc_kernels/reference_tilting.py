"""The NumPy twin of `tilting`, before rounding."""

import numpy as np
from numpy.typing import NDArray


def shrink(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.float64]:
    """RGB (H, W, 3) or grey (H, W) to luma, averaged over squares of `factor` pixels a side."""
    luma = pixels.astype(np.float64)
    if luma.ndim == 3:
        luma = luma @ np.array([0.299, 0.587, 0.114])
    height, width = luma.shape[0] // factor, luma.shape[1] // factor
    squares = luma[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return np.asarray(squares.mean(axis=(1, 3)))


def tilt(plane: NDArray[np.uint8], radians: float, zoom: float, fill: int) -> NDArray[np.float64]:
    """Return the turned plane."""
    height, width = plane.shape
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    y, x = np.mgrid[:height, :width] - middle[:, None, None]
    sine, cosine = np.sin(radians) / zoom, np.cos(radians) / zoom
    from_x, from_y = cosine * x - sine * y + middle[1], sine * x + cosine * y + middle[0]
    inside = (from_x >= 0) & (from_x <= width - 1) & (from_y >= 0) & (from_y <= height - 1)
    from_x, from_y = np.where(inside, from_x, 0), np.where(inside, from_y, 0)
    x0, y0 = from_x.astype(int), from_y.astype(int)
    right, below = from_x - x0, from_y - y0
    padded = np.pad(plane.astype(float), ((0, 1), (0, 1)), mode="edge")
    top = (1 - right) * padded[y0, x0] + right * padded[y0, x0 + 1]
    bottom = (1 - right) * padded[y0 + 1, x0] + right * padded[y0 + 1, x0 + 1]
    return np.where(inside, (1 - below) * top + below * bottom, fill)
