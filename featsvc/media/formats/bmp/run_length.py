"""The run-length codes of BMP, RLE8 and RLE4.

n v        n pixels of v; in RLE4 its two halves in turn
0 0        the end of a row
0 1        the end of the bitmap
0 2 x y    skip x pixels and y rows; what is skipped has index 0
0 n ...    n pixels as they are, filled up to 16 bits
"""

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import MediaCorrupt
from featsvc.media.task import Budget

_CODES_PER_LOOK = 4096


def decode_runs(
    data: bytes, height: int, width: int, *, half_bytes: bool, budget: Budget
) -> NDArray[np.uint8]:
    """Return the indices (H, W) in the order of the file.

    Raises MediaCorrupt where codes end before the last row or exceed a row, TimedOut.
    """
    out = np.zeros(height * width, np.uint8)
    at = x = y = codes = 0
    # The end of the last row may go without saying.
    while y < height - 1 or (y < height and x < width):
        codes += 1
        if codes % _CODES_PER_LOOK == 0:
            budget.check()
        if at + 2 > len(data):
            raise _damaged("end early")
        count, value = data[at], data[at + 1]
        at += 2
        if count:
            run = bytes((value,)) if not half_bytes else bytes((value >> 4, value & 15))
        elif value > 2:
            size = (value + 1) // 2 if half_bytes else value
            run, count = data[at : at + size], value
            if len(run) < size:
                raise _damaged("end early")
            at += size + (size & 1)
            if half_bytes:
                run = bytes(half for byte in run for half in (byte >> 4, byte & 15))
        else:
            x, y, at = _skip(data, at, value, (x, y), (width, height))
            continue
        # Encoders may fill up the last byte of a row.
        count = min(count, width - x)
        if len(run) < count:
            run = run * (count // len(run) + 1)
        start = y * width + x
        out[start : start + count] = np.frombuffer(run, np.uint8, count)
        x += count
    return out.reshape(height, width)


def _skip(
    data: bytes, at: int, code: int, place: tuple[int, int], size: tuple[int, int]
) -> tuple[int, int, int]:
    """Return x, y and where the next code is, after the end of a row, of the bitmap, or a jump."""
    (x, y), (width, height) = place, size
    if code == 0:
        return 0, y + 1, at
    if code == 1:
        if y < height - 1 or x < width:
            raise _damaged("end early")
        return 0, height, at
    if at + 2 > len(data):
        raise _damaged("end early")
    x, y = x + data[at], y + data[at + 1]
    if x > width or y > height:
        raise _damaged("jump out of the picture")
    return x, y, at + 2


def _damaged(what: str) -> MediaCorrupt:
    return MediaCorrupt(f"the BMP's runs {what}; it is truncated or damaged; send the whole file")
