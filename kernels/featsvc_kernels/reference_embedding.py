"""The NumPy twins of `embedding`, `gist`, `hog` and `colour_layout`, in float64."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def pdqf(coefficients: Floats) -> Floats:
    """(16, 16) to (256,)."""
    flat = coefficients.ravel()[::-1]
    return np.asarray(np.sign(flat) * np.sqrt(np.abs(flat)))


def to_tensor(
    pixels: NDArray[np.uint8], factors: Floats, offsets: Floats, *, reverse: bool, planar: bool
) -> Floats:
    """(H, W, 3) to (3, H, W) where `planar`, else (H, W, 3)."""
    channels = pixels[:, :, ::-1] if reverse else pixels
    tensor = channels * factors + offsets
    return np.asarray(tensor.transpose(2, 0, 1) if planar else tensor)


def gist(block: Floats) -> Floats:
    """(64, 64) luma to (512,)."""
    if np.ptp(block) < 1e-3:
        return np.zeros(512)
    stretched = (block - block.min()) * 255 / np.ptp(block)
    plane = np.pad(np.log(stretched + 1), 32, mode="symmetric")
    f = np.fft.fftfreq(128) * 128
    radius = np.hypot(f[None, :], f[:, None])
    angle = np.arctan2(f[:, None], f[None, :])
    low_pass = np.exp(-((radius / (8 / np.sqrt(np.log(2)))) ** 2))

    def blur(x: Floats) -> Floats:
        return np.asarray(np.fft.ifft2(np.fft.fft2(x) * low_pass))

    plane = plane - blur(plane).real
    plane = plane / (0.2 + np.sqrt(np.abs(blur(plane**2))))
    spectrum = np.fft.fft2(plane)
    values = []
    for i in range(4):
        for j in range(8):
            turned = (angle + np.pi * j / 8 + np.pi) % (2 * np.pi) - np.pi
            closeness = -3.5 * (radius / 128 / (0.3 / 1.85**i) - 1) ** 2 - 2 * np.pi * turned**2
            response = np.abs(np.fft.ifft2(spectrum * np.exp(closeness)))[32:96, 32:96]
            values.append(response.reshape(4, 16, 4, 16).mean(axis=(1, 3)).ravel())
    return np.concatenate(values)


def hog(block: Floats) -> Floats:
    """(64, 64) luma to (1764,)."""
    down, across = np.zeros_like(block), np.zeros_like(block)
    down[1:-1] = block[2:] - block[:-2]
    across[:, 1:-1] = block[:, 2:] - block[:, :-2]
    direction = (np.degrees(np.arctan2(down, across)) % 180 // 20).astype(int).clip(max=8)
    votes = np.hypot(down, across)[..., None] * np.eye(9)[direction]
    cells = votes.reshape(8, 8, 8, 8, 9).mean(axis=(1, 3))
    values = []
    for y in range(7):
        for x in range(7):
            part = cells[y : y + 2, x : x + 2].ravel()
            part = np.minimum(part / np.sqrt((part**2).sum() + 1e-10), 0.2)
            values.append(part / np.sqrt((part**2).sum() + 1e-10))
    return np.concatenate(values)


def colour_layout(pixels: NDArray[np.uint8]) -> Floats:
    """RGB (H, W, 3) or grey (H, W) to (58,)."""
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
    cells = np.empty((8, 8, 3))
    for i in range(8):
        for j in range(8):
            top, left = i * rgb.shape[0] // 8, j * rgb.shape[1] // 8
            bottom = max((i + 1) * rgb.shape[0] // 8, top + 1)
            right = max((j + 1) * rgb.shape[1] // 8, left + 1)
            cells[i, j] = rgb[top:bottom, left:right].mean(axis=(0, 1))
    luma = cells @ [0.299, 0.587, 0.114]
    planes = [luma - 128, 0.564 * (cells[:, :, 2] - luma), 0.713 * (cells[:, :, 0] - luma)]
    k, n = np.arange(8)[:, None], np.arange(8)[None, :]
    dct = np.sqrt(2 / 8) * np.cos(np.pi / 16 * k * (2 * n + 1))
    dct[0] = np.sqrt(1 / 8)
    order = [
        (y, x) if (y + x) % 2 else (x, y)
        for diagonal in range(15)
        for y in range(8)
        for x in [diagonal - y]
        if 0 <= x < 8
    ]
    rows, cols = np.array(order).T
    parts = [(dct @ p @ dct.T)[rows, cols] for p in planes]
    return np.concatenate([parts[0][:28], parts[1][:15], parts[2][:15]])
