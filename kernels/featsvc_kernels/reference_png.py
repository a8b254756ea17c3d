"""Plain twins of the PNG kernels, by the formulas of the standard."""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def predict(left: int, above: int, corner: int) -> int:
    """Return Paeth's choice (9.4): the nearest to the estimate; left before above before corner."""
    estimate = left + above - corner
    return min((left, above, corner), key=lambda value: abs(estimate - value))


def unfilter(raw: Bytes, step: int, above: Bytes) -> Bytes:
    """Undo the filters (9.2) of rows (H, 1 + B); returns (H, B)."""
    out = np.zeros((len(raw), raw.shape[1] - 1), np.uint8)
    for y, (kind, *row) in enumerate(raw.tolist()):
        before = out[y - 1].tolist() if y else above.tolist()
        for i, byte in enumerate(row):
            left = int(out[y, i - step]) if i >= step else 0
            corner = before[i - step] if i >= step else 0
            guess = (
                0,
                left,
                before[i],
                (left + before[i]) // 2,
                predict(left, before[i], corner),
            )[kind]
            out[y, i] = (byte + guess) % 256
    return out


def look_up(rows: Bytes, bits: int, table: Bytes, width: int) -> Bytes:
    """Return the row of `table` of each packed sample (7.2): (H, width, C)."""
    unpacked = np.unpackbits(rows, axis=1)[:, : width * bits].reshape(len(rows), width, bits)
    samples = unpacked @ (1 << np.arange(bits)[::-1])
    return table[samples]


def to_rgba(rows: Bytes, channels: int, sample_bytes: int, key: NDArray[np.int64]) -> Bytes:
    """Return samples of 8 or 16 bits as 8-bit RGBA (H, W, 4)."""
    samples = rows.reshape(len(rows), -1, channels, sample_bytes)
    values = samples.astype(np.int64) @ (256 ** np.arange(sample_bytes)[::-1])
    high = samples[..., 0]
    colours = channels - (channels % 2 == 0)
    alpha = np.where((values[..., :colours] == key[:colours]).all(axis=-1), 0, 255)
    rgb = high[..., :colours] if colours > 1 else np.repeat(high[..., :1], 3, axis=-1)
    last = high[..., colours] if colours < channels else alpha
    return np.dstack((rgb, last)).astype(np.uint8)


def compose(frame: Bytes, canvas: Bytes) -> Bytes:
    """Return `frame` over `canvas`, both straight RGBA (13.16); where both are clear, the canvas.

    Sums are of whole numbers, so that halves round up and nothing else rounds.
    """
    over, under = frame.astype(np.int64), canvas.astype(np.int64)
    share = over[..., 3:] * 255
    rest = under[..., 3:] * (255 - over[..., 3:])
    total = share + rest
    mixed = (2 * (over[..., :3] * share + under[..., :3] * rest) + total) // np.maximum(
        2 * total, 1
    )
    result = np.concatenate((mixed, (total + 127) // 255), axis=-1)
    return np.where(total > 0, result, canvas).astype(np.uint8)
