"""The NumPy twins of `minhash` and `near_copies`."""

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
    """Return one hash per 4 neighbouring characters."""
    points = [ord(c) for c in text]
    grams = zip(points, points[1:], points[2:], points[3:], strict=False)
    return np.array([mix(mix(a << 32 | b) ^ (c << 32 | d)) >> 32 for a, b, c, d in grams], "u4")


def signature(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the smallest value of each permutation, (128,)."""
    a, b = minhash._MULTIPLIERS[:, None].astype("u8"), minhash._OFFSETS[:, None].astype("u8")
    values = (a * hashes.astype("u8") + b) % 2**32
    return np.asarray(values.min(axis=1).astype("u4"))


def band_keys(minima: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return one key per two minima and their band, (64,)."""
    pairs = minima.reshape(64, 2).tolist()
    keys = [mix(mix(a << 32 | b) ^ band) >> 32 for band, (a, b) in enumerate(pairs)]
    return np.array(keys, "u4")


def windows(blocks: int) -> list[tuple[int, int]]:
    """Return first and last block (exclusive) of each window of a query of `blocks` blocks."""
    ranges = [(0, blocks)] if blocks <= 16 else []
    for length in (1, 2, 4, 8, 16):
        if length < blocks:
            step, end = max(length // 4, 1), blocks - length
            ranges += [(first, first + length) for first in (*range(0, end, step), end)]
    return ranges


def passages(blocks: int) -> list[tuple[int, int]]:
    """Return first and last block (exclusive) of each passage of an entry."""
    if blocks <= 16:
        return [(0, blocks)]
    return [(first, first + 16) for first in (*range(0, blocks - 16, 8), blocks - 16)]


def near_copies(
    query: NDArray[np.uint32], entries: list[NDArray[np.uint32]], radius: float
) -> dict[int, float]:
    """Return the smallest distance per entry, over windows and passages that share two bands."""
    nearest: dict[int, float] = {}
    ranges = windows(-(-query.size // 32))
    parts = [query[32 * first : 32 * last] for first, last in ranges]
    part_keys = [band_keys(signature(part)) for part in parts]
    for entry, grams in enumerate(entries):
        for a, b in passages(-(-grams.size // 32)):
            passage = np.unique(grams[32 * a : 32 * b])
            if passage.size < 16:
                continue
            keys = band_keys(signature(passage))
            for part, other_keys in zip(parts, part_keys, strict=True):
                if np.count_nonzero(other_keys == keys) < 2:
                    continue
                distance = 1.0 - int(np.isin(passage, part).sum()) / passage.size
                if distance <= min(radius, nearest.get(entry, 1.0)):
                    nearest[entry] = distance
    return nearest
