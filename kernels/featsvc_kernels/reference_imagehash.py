"""The NumPy twins of `resample`, `colour`, `segments` and `wavelet`."""

import math

import numpy as np
from numpy.typing import NDArray


def to_grey(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) to (H, W), as Pillow's `convert("L")`."""
    luma = rgb.astype(np.int64) @ np.array([19595, 38470, 7471])
    return np.asarray((luma + 0x8000) >> 16, dtype=np.uint8)


def lanczos_matrix(in_size: int, out_size: int) -> NDArray[np.int64]:
    """(out, in) weights with 22 fractional bits."""
    scale = in_size / out_size
    stretch = max(scale, 1.0)
    matrix = np.zeros((out_size, in_size), np.int64)
    for i in range(out_size):
        center = (i + 0.5) * scale
        first = max(int(center - 3 * stretch + 0.5), 0)
        end = min(int(center + 3 * stretch + 0.5), in_size)
        exact = [_lanczos((x - center + 0.5) / stretch) for x in range(first, end)]
        total = math.fsum(exact)
        for x, weight in zip(range(first, end), exact, strict=True):
            matrix[i, x] = int(weight / total * 2**22 + math.copysign(0.5, weight))
    return matrix


def _lanczos(x: float) -> float:
    return float(np.sinc(x) * np.sinc(x / 3)) if -3 <= x < 3 else 0.0


def resample_rows(grey: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """(H, W) to (height, W)."""
    sums = lanczos_matrix(grey.shape[0], height) @ grey.astype(np.int64)
    return np.asarray(np.clip((sums + (1 << 21)) >> 22, 0, 255), dtype=np.uint8)


def block_sums(grey: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    side = grey.shape[0] // size
    return np.asarray(grey.reshape(size, side, size, side).sum(axis=(1, 3), dtype=np.int64))


def count_colours(rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(N, 3) to counts of 16 bins, by Pillow's `rgb2hsv_row` in the same types."""
    r, g, b = (rgb[:, i].astype(np.float32) for i in range(3))
    high, low = rgb.max(axis=1).astype(np.float32), rgb.min(axis=1).astype(np.float32)
    spread = np.maximum(high - low, np.float32(1))
    saturation = ((high - low) / np.maximum(high, np.float32(1))).astype(float) * 255.0
    rc, gc, bc = ((high - c) / spread for c in (r, g, b))
    of_green = (2.0 + rc.astype(float) - bc.astype(float)).astype(np.float32)
    of_blue = (4.0 + gc.astype(float) - rc.astype(float)).astype(np.float32)
    h = np.where(r == high, bc - gc, np.where(g == high, of_green, of_blue))
    turns = np.fmod(h.astype(float) / 6.0 + 1.0, 1.0).astype(np.float32)
    hue = np.clip((turns.astype(float) * 255.0).astype(int), 0, 255)
    s = np.clip(saturation.astype(int), 0, 255)
    hue_bin = np.digitize(hue, [42.5, 85, 127.5, 170, 212.5])
    coloured = np.where(s < 170, 2 + hue_bin, np.where(s > 170, 8 + hue_bin, 14))
    bins = np.where(s < 85, 1, coloured)
    bins[to_grey(rgb[None])[0] < 32] = 0
    return np.bincount(bins, minlength=16).astype(np.int64)


def median_3x3(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    padded = np.pad(grey, 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    return np.asarray(np.median(windows, axis=(2, 3)), dtype=np.uint8)


def project(grey: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(matrix @ grey.astype(np.float64) @ matrix.T)
