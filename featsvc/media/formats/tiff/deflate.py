"""Deflated strips and tiles, inflated by ISA-L: libtiff does not compare the checksum at the end.

Source: TIFF Technical Note 2 and section 14 of TIFF 6.0 (predictor 2); Technical Note 3 (predictor
3, floating point).
"""

import sys

import numpy as np
from numpy.typing import NDArray

from featsvc.media.formats.tiff.directory import damaged
from featsvc.media.inflate import Inflater, cut
from featsvc.media.task import Budget

_DIFFERENCES, _FLOAT_DIFFERENCES = 2, 3
_WHOLE_BITS = (8, 16, 32, 64)
_SLICE_BYTES = 2**20
_NATIVE = "<" if sys.byteorder == "little" else ">"


def inflate(raw: NDArray[np.uint8], into: NDArray[np.uint8], budget: Budget, name: str) -> None:
    """Inflate a segment to fill `into`; what it has beyond that does not count, as in libtiff.

    Raises MediaCorrupt, TimedOut.
    """
    inflater = Inflater(cut(raw.data), lambda what: damaged(f"{name}: {what}"))
    for at in range(0, into.size, _SLICE_BYTES):
        budget.check()
        inflater.fill(into[at : at + _SLICE_BYTES].data)
    inflater.finish()


def undo_predictor(
    rows: NDArray[np.uint8], predictor: int, bits: int, samples: int, order: str
) -> None:
    """Turn differences (rows, row_bytes) to samples in the machine's byte order, in place.

    `samples` are those of a pixel, `order` is "<" or ">". Samples of other than whole bytes, which
    have no predictor, stay as they are.
    """
    if bits not in _WHOLE_BITS:
        return
    if predictor == _FLOAT_DIFFERENCES:
        np.add.accumulate(
            rows.reshape(len(rows), -1, samples), axis=1, out=rows.reshape(len(rows), -1, samples)
        )
        # The first bytes of all samples come first, then the second ones.
        planes = rows.reshape(len(rows), bits // 8, -1)
        planes = planes[:, ::-1] if _NATIVE == "<" else planes
        rows[:] = planes.transpose(0, 2, 1).reshape(rows.shape).copy()
        return
    values = rows.view(f"{_NATIVE}u{bits // 8}")
    if order != _NATIVE:
        values.byteswap(inplace=True)
    if predictor == _DIFFERENCES:
        pixels = values.reshape(len(rows), -1, samples)
        np.add.accumulate(pixels, axis=1, dtype=pixels.dtype, out=pixels)
