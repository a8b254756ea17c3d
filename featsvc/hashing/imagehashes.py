"""The hashes of the `imagehash` library, bit for bit.

Bits are bool arrays in the order in which `imagehash` writes them.
"""

from collections.abc import Iterator

import numpy as np
from featsvc_kernels import colour, resample, segments, wavelet
from featsvc_kernels.pictures import RGB, is_grey
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageFilter

from featsvc.hashing import transforms
from featsvc.hashing.picture import Bits, HashedVariant, Picture, grey_hash, pack_bits
from featsvc.hashing.planes import GreyPlane, Rectangle
from featsvc.signals.algorithms import Algorithm
from featsvc.signals.variants import ORIGINAL

_HIGH_FREQUENCY_FACTOR = 4
# Values of a band that differ by less may be a tie: far above float64's rounding errors, far below
# the difference of distinct values.
_TIE_TOLERANCE = 1e-6
# Breaking ties as PyWavelets does takes about 50 bytes a pixel: 200 MB at this side.
_MAX_EXACT_SCALE = 2048


@grey_hash
def average_hash(plane: GreyPlane, size: int) -> Bits:
    """`imagehash.average_hash`: brighter than the mean; (size, size)."""
    pixels = plane.thumbnail(size, size)
    return np.asarray(pixels > pixels.mean())


@grey_hash
def phash(plane: GreyPlane, size: int) -> Bits:
    """`imagehash.phash`: low frequencies above their median; (size, size)."""
    side = size * _HIGH_FREQUENCY_FACTOR
    columns = transforms.dct(plane.thumbnail(side, side).T)
    low = transforms.dct(np.ascontiguousarray(columns.T[:size]))[:, :size]
    return np.asarray(low > np.median(low))


@grey_hash
def phash_simple(plane: GreyPlane, size: int) -> Bits:
    """`imagehash.phash_simple`: low frequencies of rows above their mean; (size, size)."""
    side = size * _HIGH_FREQUENCY_FACTOR
    low = transforms.dct(plane.thumbnail(side, side))[:size, 1 : size + 1]
    return np.asarray(low > low.mean())


@grey_hash
def dhash(plane: GreyPlane, size: int) -> Bits:
    """`imagehash.dhash`: brighter than the pixel to the left; (size, size)."""
    return _differences(plane, size)


def _differences(plane: GreyPlane, size: int) -> Bits:
    pixels = plane.thumbnail(size + 1, size)
    return np.asarray(pixels[:, 1:] > pixels[:, :-1])


@grey_hash
def dhash_vertical(plane: GreyPlane, size: int) -> Bits:
    """`imagehash.dhash_vertical`: brighter than the pixel above; (size, size)."""
    pixels = plane.thumbnail(size, size + 1)
    return np.asarray(pixels[1:, :] > pixels[:-1, :])


def wavelet_scale(plane: GreyPlane, size: int) -> int:
    """Return the side of the square to decompose: the largest power of two in the short side."""
    natural = 1 << (min(plane.height, plane.width).bit_length() - 1)
    return max(natural, size)


@grey_hash
def whash(plane: GreyPlane, size: int) -> Bits:
    """`imagehash.whash(mode="haar")`: low-pass band above its median; (size, size).

    In exact arithmetic the band is the sums of equal blocks of pixels. Where the two middle sums
    differ, the floats differ too; only a tie needs PyWavelets' rounding. In a picture of 4,096 px
    or more on its short side a tie counts as "not above" instead.
    """
    scale = wavelet_scale(plane, size)
    pixels = plane.thumbnail(scale, scale)
    sums = np.empty((size, size), np.int64)
    resample.block_sums(pixels, sums)
    middle = np.sort(sums, axis=None)[sums.size // 2 - 1 : sums.size // 2 + 1]
    if middle[0] < middle[1] or scale > _MAX_EXACT_SCALE:
        return np.asarray(sums > middle[0])
    return _above_median_exactly(pixels, transforms.HAAR, scale, size)


@grey_hash
def whash_db4(plane: GreyPlane, size: int) -> Bits:
    """`imagehash.whash(mode="db4")`: low-pass band of Daubechies' wavelet above its median.

    (14, 14) bits for size 8 where the short side is 64 pixels or more.
    """
    scale = wavelet_scale(plane, size)
    pixels = plane.thumbnail(scale, scale)
    matrix = transforms.low_pass_matrix(scale, _levels(scale, size))
    band = np.empty((matrix.shape[0], matrix.shape[0]))
    wavelet.project(pixels, matrix, band)
    ranked = np.sort(band, axis=None)
    # With an odd count the median is an element: check the neighbours on both sides.
    odd = band.size % 2
    around = ranked[band.size // 2 - 1 : band.size // 2 + 1 + odd]
    if np.diff(around).min() > _TIE_TOLERANCE or scale > _MAX_EXACT_SCALE:
        return np.asarray(band > (around[-2] + around[-1]) / 2)
    return _above_median_exactly(pixels, transforms.DB4, scale, size)


def _levels(scale: int, size: int) -> int:
    return (scale // size).bit_length() - 1


def _above_median_exactly(
    pixels: NDArray[np.uint8], taps: tuple[float, ...], scale: int, size: int
) -> Bits:
    centred = transforms.remove_mean_by_haar(pixels / 255.0)
    band = transforms.low_pass_2d(centred, taps, _levels(scale, size))
    return np.asarray(band > np.median(band))


def colorhash(picture: Picture, kind: Algorithm, /) -> Iterator[HashedVariant]:
    """`imagehash.colorhash`; see `colour_shares`."""
    value = pack_bits(colour_shares(picture.pixels, kind.size))
    yield HashedVariant(ORIGINAL, value, picture.quality)


def colour_shares(pixels: NDArray[np.uint8], binbits: int) -> Bits:
    """Return 14 colour shares, `binbits` bits each, of RGB (H, W, 3) or grey (H, W) pixels."""
    counts = np.empty(colour.BINS, np.int64)
    if is_grey(pixels):
        counts[:] = 0
        dark = int(np.count_nonzero(pixels < colour.DARK))
        counts[colour.BLACK], counts[colour.GREY] = dark, pixels.size - dark
    else:
        colour.count_colours(np.ascontiguousarray(pixels).reshape(-1, RGB), counts)
    total = pixels.shape[0] * pixels.shape[1]
    levels = 1 << binbits
    coloured = max(1, int(counts[colour.FAINT :].sum()))
    shares = [int(int(counts[i]) / total * levels) for i in (colour.BLACK, colour.GREY)]
    shares += [
        int(int(count) * levels * 1.0 / coloured) for count in counts[colour.FAINT : colour.NEITHER]
    ]
    bits = [
        (min(share, levels - 1) >> (binbits - i - 1)) % (1 << (binbits - i)) > 0
        for share in shares
        for i in range(binbits)
    ]
    return np.array(bits, dtype=np.bool_)


_SEGMENTATION_SIDE = 300
_BLUR = ImageFilter.GaussianBlur()
_SEGMENT_THRESHOLD = 128
_MIN_SEGMENT_PIXELS = 500


def find_boxes(plane: GreyPlane) -> tuple[Rectangle, ...]:
    """Find the segments of `imagehash.crop_resistant_hash`, bright ones first."""
    side = _SEGMENTATION_SIDE
    rows = np.empty((side * side // _MIN_SEGMENT_PIXELS, segments.SEGMENT_COLUMNS), np.int64)
    count = segments.find_segments(
        _smoothed(plane.thumbnail(side, side)), _SEGMENT_THRESHOLD, _MIN_SEGMENT_PIXELS, rows
    )
    if count == 0:
        rows[0, : segments.PIXELS], count = (0, 0, side - 1, side - 1), 1
    scale_y, scale_x = plane.height / side, plane.width / side
    boxes = []
    for top, left, bottom, right in rows[:count, : segments.PIXELS].tolist():
        # Pillow's crop rounds half to even, as Python does.
        boxes.append(
            Rectangle(
                round(top * scale_y),
                round(left * scale_x),
                max(round((bottom + 1) * scale_y), round(top * scale_y) + 1),
                max(round((right + 1) * scale_x), round(left * scale_x) + 1),
            )
        )
    return tuple(boxes)


def _smoothed(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Apply Pillow's Gaussian blur (three box blurs, 0.6 ms), then the 3x3 median."""
    blurred = np.asarray(PillowImage.fromarray(grey).filter(_BLUR))
    out = np.empty_like(blurred)
    segments.median_3x3(blurred, out)
    return out


def crop_resistant_hash(picture: Picture, kind: Algorithm, /) -> Iterator[HashedVariant]:
    """`imagehash.crop_resistant_hash`: dhash of the box of each segment."""
    plane = picture.grey
    boxes = map(plane.crop, find_boxes(plane))
    value = b"".join(pack_bits(_differences(box, kind.size)) for box in boxes)
    yield HashedVariant(ORIGINAL, value, picture.quality)
