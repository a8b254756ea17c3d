"""Slow, obvious twins of `search`: what the kernels are tested against."""

import numpy as np
from numpy.typing import NDArray


def scan(
    values: NDArray[np.uint64], queries: NDArray[np.uint64], radius: int
) -> list[list[tuple[int, int]]]:
    """Per query the (row, distance) of every hash within `radius`, by row."""
    found = []
    for query in queries:
        distances = np.bitwise_count(values ^ query).sum(axis=1)
        rows = np.flatnonzero(distances <= radius)
        found.append([(int(row), int(distances[row])) for row in rows])
    return found


def key(words: NDArray[np.uint64], first_bit: int, width: int) -> int:
    """Bits first_bit to first_bit + width of one hash, as a number."""
    number = sum(int(word) << (64 * i) for i, word in enumerate(words))
    return (number >> first_bit) & ((1 << width) - 1)


def post(values: NDArray[np.uint64], first_bit: int, width: int) -> list[list[int]]:
    """Per key the rows that have it, ascending."""
    lists: list[list[int]] = [[] for _ in range(1 << width)]
    for row, words in enumerate(values):
        lists[key(words, first_bit, width)].append(row)
    return lists
