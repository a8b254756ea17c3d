"""The NumPy twins of `search`."""

import numpy as np
from numpy.typing import NDArray


def scan(
    values: NDArray[np.uint64], queries: NDArray[np.uint64], radius: int
) -> list[list[tuple[int, int]]]:
    """Return (row, distance) of every hash within `radius` of each query, by row."""
    hits = []
    for query in queries:
        distances = np.bitwise_count(values ^ query).sum(axis=1)
        rows = np.flatnonzero(distances <= radius)
        hits.append([(int(row), int(distances[row])) for row in rows])
    return hits


def key(words: NDArray[np.uint64], first_bit: int, width: int) -> int:
    """Return the bits first_bit to first_bit + width of a hash as a number."""
    number = sum(int(word) << (64 * i) for i, word in enumerate(words))
    return (number >> first_bit) & ((1 << width) - 1)


def post(values: NDArray[np.uint64], first_bit: int, width: int) -> list[list[int]]:
    """Return the rows of each key, ascending."""
    lists: list[list[int]] = [[] for _ in range(1 << width)]
    for row, words in enumerate(values):
        lists[key(words, first_bit, width)].append(row)
    return lists
