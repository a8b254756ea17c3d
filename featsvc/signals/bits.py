"""Hashes as hex digits and as 64-bit words."""

import re

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import InvalidSignal

_NOT_HEX = re.compile(r"[^0-9a-f]")


def check_hex(digits: str, field: str, *, skipped: int = 0) -> None:
    """Raise InvalidSignal for the first character that is not a lower-case hex digit.

    `skipped` is the number of characters before `digits`, which the position in the message counts.
    """
    if bad := _NOT_HEX.search(digits):
        position = bad.start() + 1 + skipped
        raise InvalidSignal(
            f"{field}: {bad.group()!r} at position {position} is not a hex digit", field=field
        )


def to_words(values: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Convert rows of bytes (n, bytes) to rows of 64-bit words, zero-padded.

    The result is a view where the rows need no padding.
    """
    count, width = values.shape
    if width % 8 == 0:
        return np.ascontiguousarray(values).view(np.uint64)
    padded = np.zeros((count, -(-width // 8) * 8), np.uint8)
    padded[:, :width] = values
    return padded.view(np.uint64)
