"""The hashes of the `imagehash` library, bit for bit, from a grey plane or from colours.

Bits are bool arrays in the order in which `imagehash` writes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from featsvc_kernels import colour, resample, segments, wavelet
from featsvc_kernels.pictures import RGB, is_grey
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageFilter

from featsvc.hashing import transforms
from featsvc.hashing.picture import Bits, Made, Picture, of_grey, pack_bits
from featsvc.hashing.planes import GreyPlane
from featsvc.signals.algorithms import Algorithm
from featsvc.signals.variants import ORIGINAL

_HIGH_FREQUENCY_FACTOR = 4
# Of 0..255 summed: far above float64's noise, far below the distance of distinct values.
_CERTAIN = 1e-6
# Settling a tie as PyWavelets does takes some 50 bytes a pixel: 200 MB at this side.
_EXACT_SCALE = 2048


@of_grey
def average_hash(plane: GreyPlane, size: int) -> Bits:
    """`imagehash.average_hash`: brighter than the mean; (size, size)."""
    pixels = plane.thumbnail(size, size)
    return np.asarray(pixels > pixels.mean())


@of_grey
def phash(plane: GreyPlane, size: int) -> Bits:
    """`imagehash.phash`: low frequencies above their median; (size, size)."""
    side = size * _HIGH_FREQUENCY_FACTOR
    columns = transforms.dct(plane.thumbnail(side, side).T)
    low = transforms.dct(np.ascontiguousarray(columns.T[:size]))[:, :size]
    return np.asarray(low > np.median(low))


@of_grey
def phash_simple(plane: GreyPlane, size: int) -> Bits:
    """`imagehash.phash_simple`: low frequencies of rows above their mean; (size, size)."""
    side = size * _HIGH_FREQUENCY_FACTOR
    low = transforms.dct(plane.thumbnail(side, side))[:size, 1 : size + 1]
    return np.asarray(low > low.mean())


@of_grey
def dhash(plane: GreyPlane, size: int) -> Bits:
    """`imagehash.dhash`: brighter than the pixel to the left; (size, size)."""
    return _differences(plane, size)


def _differences(plane: GreyPlane, size: int) -> Bits:
    pixels = plane.thumbnail(size + 1, size)
    return np.asarray(pixels[:, 1:] > pixels[:, :-1])


@of_grey
def dhash_vertical(plane: GreyPlane, size: int) -> Bits:
    """`imagehash.dhash_vertical`: brighter than the pixel above; (size, size)."""
    pixels = plane.thumbnail(size, size + 1)
    return np.asarray(pixels[1:, :] > pixels[:-1, :])


def wavelet_scale(plane: GreyPlane, size: int) -> int:
    """Side of the square that is decomposed: the largest power of two in the short side."""
    natural = 1 << (min(plane.height, plane.width).bit_length() - 1)
    return max(natural, size)


@of_grey
def whash(plane: GreyPlane, size: int) -> Bits:
    """`imagehash.whash(mode="haar")`: low-pass band above its median; (size, size).

    The band is, on paper, the sums of equal blocks of pixels. Where the two middle sums differ,
    so do the floats, by far more than their noise; only a tie asks for PyWavelets' roundings. A
    tie in a picture of 4,096 px or more on its short side is taken as "not above" instead.
    """
    scale = wavelet_scale(plane, size)
    pixels = plane.thumbnail(scale, scale)
    sums = np.empty((size, size), np.int64)
    resample.block_sums(pixels, sums)
    middle = np.sort(sums, axis=None)[sums.size // 2 - 1 : sums.size // 2 + 1]
    if middle[0] < middle[1] or scale > _EXACT_SCALE:
        return np.asarray(sums > middle[0])
    return _above_median_exactly(pixels, transforms.HAAR, scale, size)


@of_grey
def whash_db4(plane: GreyPlane, size: int) -> Bits:
    """`imagehash.whash(mode="db4")`: the same with Daubechies' wavelet; a larger square of bits.

    It has (14, 14) bits for size 8 where the short side is 64 pixels or more.
    """
    scale = wavelet_scale(plane, size)
    pixels = plane.thumbnail(scale, scale)
    matrix = transforms.low_pass_matrix(scale, _levels(scale, size))
    band = np.empty((matrix.shape[0], matrix.shape[0]))
    wavelet.project(pixels, matrix, band)
    ranked = np.sort(band, axis=None)
    # With an odd count the median is an element itself, and no neighbour may be near it.
    odd = band.size % 2
    around = ranked[band.size // 2 - 1 : band.size // 2 + 1 + odd]
    if np.diff(around).min() > _CERTAIN or scale > _EXACT_SCALE:
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


def colorhash(picture: Picture, kind: Algorithm, /) -> Iterator[Made]:
    """`imagehash.colorhash`: 14 shares of `size` bits each."""
    yield ORIGINAL, pack_bits(colour_shares(picture.pixels, kind.size)), picture.quality


def colour_shares(pixels: NDArray[np.uint8], binbits: int) -> Bits:
    """Of RGB (H, W, 3) or grey (H, W): 14 shares of `binbits` bits each."""
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


@dataclass(frozen=True, slots=True)
class Box:
    """Rows `top` to `bottom` and columns `left` to `right`, the ends left out."""

    top: int
    left: int
    bottom: int
    right: int


def find_boxes(plane: GreyPlane) -> tuple[Box, ...]:
    """The segments of `imagehash.crop_resistant_hash`, bright ones first, in pixels of `plane`."""
    side = _SEGMENTATION_SIDE
    found = np.empty((side * side // _MIN_SEGMENT_PIXELS, segments.SEGMENT_COLUMNS), np.int64)
    count = segments.find_segments(
        _smoothed(plane.thumbnail(side, side)), _SEGMENT_THRESHOLD, _MIN_SEGMENT_PIXELS, found
    )
    if count == 0:
        found[0, : segments.PIXELS], count = (0, 0, side - 1, side - 1), 1
    scale_y, scale_x = plane.height / side, plane.width / side
    boxes = []
    for top, left, bottom, right in found[:count, : segments.PIXELS].tolist():
        # Pillow's crop rounds half to even, as Python does.
        boxes.append(
            Box(
                round(top * scale_y),
                round(left * scale_x),
                max(round((bottom + 1) * scale_y), round(top * scale_y) + 1),
                max(round((right + 1) * scale_x), round(left * scale_x) + 1),
            )
        )
    return tuple(boxes)


def _smoothed(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pillow's Gaussian blur, which is three box blurs and takes 0.6 ms, then the 3x3 median."""
    blurred = np.asarray(PillowImage.fromarray(grey).filter(_BLUR))
    out = np.empty_like(blurred)
    segments.median_3x3(blurred, out)
    return out


def crop_resistant_hash(picture: Picture, kind: Algorithm, /) -> Iterator[Made]:
    """`imagehash.crop_resistant_hash`: the dhash of each segment's box."""
    plane = picture.grey
    boxes = (plane.crop(b.top, b.left, b.bottom, b.right) for b in find_boxes(plane))
    value = b"".join(pack_bits(_differences(box, kind.size)) for box in boxes)
    yield ORIGINAL, value, picture.quality
