"""Kernels that embeddings share: PDQF's compression, normalisation, pixels as a model's tensor."""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel

_f32 = np.float32
_SHORTEST_SQUARED = 1e-12


@kernel("(Array(float32, 2, 'C', True), float32[::1])")
def pdqf(coefficients: NDArray[np.float32], values: NDArray[np.float32]) -> None:
    """Write the signed square roots of `coefficients` (16, 16) to `values` (256,), not normalised.

    The root keeps a few strong frequencies from dominating (Perronnin et al., "Improving the
    Fisher kernel", ECCV 2010, section 3.1). Element k belongs to bit k of PDQ's hex, left to right.
    """
    flat = coefficients.ravel()
    for k in range(flat.size):
        c = flat[flat.size - 1 - k]
        values[k] = np.sqrt(c) if c > _f32(0) else -np.sqrt(-c)


@kernel("boolean(float32[::1])")
def normalise(values: NDArray[np.float32]) -> bool:
    """Scale `values` to Euclidean length 1, in place; False, and unchanged, if that is impossible.

    It is impossible for NaN, infinity and a length under 1e-6.
    """
    total = 0.0
    for v in values:
        total += np.float64(v) * np.float64(v)
    if not _SHORTEST_SQUARED <= total < np.inf:
        return False
    scale = 1.0 / np.sqrt(total)
    for i in range(values.size):
        values[i] = _f32(values[i] * scale)
    return True


@kernel("(Array(uint8, 3, 'C', True), float32[::1], float32[::1], boolean, boolean, float32[::1])")
def to_tensor(
    pixels: NDArray[np.uint8],
    factors: NDArray[np.float32],
    offsets: NDArray[np.float32],
    reverse: bool,
    planar: bool,
    tensor: NDArray[np.float32],
) -> None:
    """Write `pixels` (H, W, 3) RGB times `factors` (3,) plus `offsets` (3,) to the flat `tensor`.

    `reverse` writes the channels as BGR; factors and offsets are in the order of the result.
    `planar` writes CHW, else HWC.
    """
    flat = pixels.ravel()
    count = flat.size // 3
    for c in range(3):
        source = 2 - c if reverse else c
        factor, offset = factors[c], offsets[c]
        if planar:
            plane = tensor[c * count : (c + 1) * count]
            for i in range(count):
                plane[i] = _f32(flat[3 * i + source]) * factor + offset
        else:
            for i in range(count):
                tensor[3 * i + c] = _f32(flat[3 * i + source]) * factor + offset
