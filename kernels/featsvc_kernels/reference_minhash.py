"""The obvious NumPy twin of `featsvc_kernels.minhash`."""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels import minhash


def mix(x: int) -> int:
    """MurmurHash3's 64-bit finaliser."""
    mask = 2**64 - 1
    x ^= x >> 33
    x = x * 0xFF51AFD7ED558CCD & mask
    x ^= x >> 33
    x = x * 0xC4CEB9FE1A85EC53 & mask
    return x ^ (x >> 33)


def gram_hashes(text: str) -> NDArray[np.uint32]:
    """One hash for each 4 neighbouring characters."""
    points = [ord(c) for c in text]
    grams = zip(points, points[1:], points[2:], points[3:], strict=False)
    return np.array([mix(mix(a << 32 | b) ^ (c << 32 | d)) >> 32 for a, b, c, d in grams], "u4")


def signature(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """(128,): the least value of each permutation."""
    a, b = minhash._MULTIPLIERS[:, None], minhash._OFFSETS[:, None]
    values = (a.astype(object) * hashes.astype(object) + b.astype(object)) % 2**32
    return np.asarray(values.min(axis=1).astype("u4"))


def band_keys(whole: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """(64,): one key for each two minima."""
    pairs = whole.reshape(64, 2).tolist()
    return np.array([mix(first << 32 | second) for first, second in pairs], "u8")
