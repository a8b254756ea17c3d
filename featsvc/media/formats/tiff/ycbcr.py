"""YCbCr that no codec converts: packed blocks of subsampled chroma, by libtiff's own integers.

TIFF 6.0, section 21. A block has h x v values of Y, then one Cb and one Cr; chroma is repeated,
not interpolated. The tables are those of libtiff's tif_color.c (TIFFYCbCrToRGBInit).
"""

import numpy as np
from numpy.typing import NDArray

from featsvc.media.formats.tiff.directory import Tag, damaged
from featsvc.media.formats.tiff.layout import Layout

_LUMA_SHARES = (0.299, 0.587, 0.114)
_BLACK_AND_WHITE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)
_SHIFT = 16
_HALF = 1 << (_SHIFT - 1)
_LIMIT = 128 * 32
_f32 = np.float32


class YCbCr:
    """Converts the rows of one page."""

    def __init__(self, layout: Layout) -> None:
        shares = layout.directory.ratios(Tag.LUMA_SHARES, _LUMA_SHARES)
        scales = layout.directory.ratios(Tag.BLACK_AND_WHITE, _BLACK_AND_WHITE)
        red, green, blue = (_f32(share) for share in shares)
        if not green:
            raise damaged("its YCbCr coefficients have no green")
        self._subsampling = layout.subsampling
        codes = np.arange(256)
        self._y = _levels(codes, scales[0], scales[1], 255)
        cb = _levels(codes - 128, scales[2] - 128, scales[3] - 128, 127)
        cr = _levels(codes - 128, scales[4] - 128, scales[5] - 128, 127)
        two = _f32(2)
        for_red, for_blue = two - two * red, two - two * blue
        self._cr_red = (_fixed(for_red) * cr + _HALF) >> _SHIFT
        self._cb_blue = (_fixed(for_blue) * cb + _HALF) >> _SHIFT
        self._cr_green = -_fixed(red * for_red / green) * cr
        self._cb_green = -_fixed(blue * for_blue / green) * cb + _HALF

    def convert_packed(self, rows: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Convert rows of blocks (rows / v, bytes) to `out` (H, W, 3), which ends within them."""
        h, v = self._subsampling
        blocks = rows.reshape(len(rows), -1, h * v + 2)
        by_row = blocks[..., : h * v].reshape(len(rows), -1, v, h).transpose(0, 2, 1, 3)
        luma = by_row.reshape(len(rows) * v, -1)
        chroma = blocks[..., h * v :].repeat(v, axis=0).repeat(h, axis=1)
        height, width, _ = out.shape
        levels = np.concatenate((luma[..., None], chroma), axis=2)
        self.convert(levels[:height, :width], out)

    def convert(self, levels: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Convert (H, W, 3) uint8 of Y, Cb and Cr to RGB."""
        y, cb, cr = self._y[levels[..., 0]], levels[..., 1], levels[..., 2]
        np.clip(y + self._cr_red[cr], 0, 255, out=out[..., 0], casting="unsafe")
        green = (self._cb_green[cb] + self._cr_green[cr]) >> _SHIFT
        np.clip(y + green, 0, 255, out=out[..., 1], casting="unsafe")
        np.clip(y + self._cb_blue[cb], 0, 255, out=out[..., 2], casting="unsafe")


def _levels(codes: NDArray[np.int64], black: float, white: float, top: int) -> NDArray[np.int32]:
    """Return libtiff's Code2V: 0 at black, `top` at white."""
    low, high = _f32(black), _f32(white)
    span = high - low if high != low else _f32(1)
    values = (codes - int(low)).astype(np.float32) * _f32(top) / span
    clipped = np.clip(np.nan_to_num(values), -_LIMIT, _LIMIT)
    return np.asarray(clipped.astype(np.int32))


def _fixed(share: np.float32) -> int:
    return int(float(np.clip(share, _f32(0), _f32(2))) * (1 << _SHIFT) + 0.5)
