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
    a, b = minhash._MULTIPLIERS[:, None].astype("u8"), minhash._OFFSETS[:, None].astype("u8")
    values = (a * hashes.astype("u8") + b) % 2**32
    return np.asarray(values.min(axis=1).astype("u4"))


def band_keys(whole: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """(64,): one key for each two minima, and their place."""
    pairs = whole.reshape(64, 2).tolist()
    keys = [mix(mix(a << 32 | b) ^ band) >> 32 for band, (a, b) in enumerate(pairs)]
    return np.array(keys, "u4")


def windows(blocks: int) -> list[tuple[int, int]]:
    """First and last block (exclusive) of each window of a query of so many blocks."""
    found = [(0, blocks)] if blocks <= 16 else []
    for length in (1, 2, 4, 8, 16):
        if length < blocks:
            step, end = max(length // 4, 1), blocks - length
            found += [(first, first + length) for first in (*range(0, end, step), end)]
    return found


def passages(blocks: int) -> list[tuple[int, int]]:
    """The same of the passages of an entry."""
    if blocks <= 16:
        return [(0, blocks)]
    return [(first, first + 16) for first in (*range(0, blocks - 16, 8), blocks - 16)]


def near_copies(
    query: NDArray[np.uint32], entries: list[NDArray[np.uint32]], radius: float
) -> dict[int, float]:
    """Entry -> least distance, of every window and passage that share two bands."""
    found: dict[int, float] = {}
    places = windows(-(-query.size // 32))
    looked_at = [query[32 * first : 32 * last] for first, last in places]
    keys_of = [band_keys(signature(window)) for window in looked_at]
    for entry, grams in enumerate(entries):
        for a, b in passages(-(-grams.size // 32)):
            passage = np.unique(grams[32 * a : 32 * b])
            if passage.size < 16:
                continue
            keys = band_keys(signature(passage))
            for window, its_keys in zip(looked_at, keys_of, strict=True):
                if np.count_nonzero(its_keys == keys) < 2:
                    continue
                distance = 1.0 - int(np.isin(passage, window).sum()) / passage.size
                if distance <= min(radius, found.get(entry, 1.0)):
                    found[entry] = distance
    return found
