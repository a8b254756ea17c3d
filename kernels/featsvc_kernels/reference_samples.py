"""NumPy twins of `featsvc_kernels.samples`."""

import numpy as np
from numpy.typing import NDArray


def unpack_bits(
    rows: NDArray[np.uint8], bits: int, samples: int, *, scaled: bool
) -> NDArray[np.uint8]:
    """Return (H, samples) uint8 of `rows` (H, bytes): each sample as the sum of its bits."""
    digits = np.unpackbits(rows, axis=1)[:, : samples * bits].reshape(len(rows), samples, bits)
    values = digits.astype(int) @ (1 << np.arange(bits)[::-1])
    if bits > 8:  # noqa: PLR2004
        values >>= bits - 8
    elif scaled:
        values = np.floor(values * 255 / (2**bits - 1) + 0.5).astype(int)
    return np.asarray(values.astype(np.uint8))


def _rounded(products: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.floor(products / 255 + 0.5).astype(np.int64)


def composite(
    levels: NDArray[np.uint8], colours: int, background: int, *, premultiplied: bool
) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8: the colours of `levels` (H, W, colours + 1) over the background."""
    alpha = levels[..., colours, None].astype(np.int64)
    values = np.broadcast_to(levels[..., :colours], (*levels.shape[:2], 3)).astype(np.int64)
    if premultiplied:
        values = np.where(alpha, np.minimum(values * 255 // np.maximum(alpha, 1), 255), 0)
    if background >= 0:
        values = _rounded(background * (255 - alpha) + values * alpha)
    return values.astype(np.uint8)


def flatten(rgba: NDArray[np.uint8], background: int) -> NDArray[np.uint8]:
    """Return RGBA (H, W, 4) on a grey background, to the nearest level; below 0: no background."""
    if background < 0:
        return rgba[..., :3]
    colour, alpha = rgba[..., :3].astype(float), rgba[..., 3:] / 255
    return np.asarray(np.rint(colour * alpha + background * (1 - alpha)).astype(np.uint8))


def cmyk_to_rgb(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 of `levels` (H, W, 4)."""
    light = 255 - levels[..., 3, None].astype(np.int64)
    return (light - _rounded(levels[..., :3] * light)).astype(np.uint8)
