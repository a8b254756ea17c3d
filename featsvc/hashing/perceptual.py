"""Which function makes which perceptual signal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featsvc.hashing import imagehashes
from featsvc.hashing.pdq import measure_quality
from featsvc.hashing.planes import GreyPlane
from featsvc.hashing.variants import MakeVariants, make_original
from featsvc.media import Image
from featsvc.signals.algorithms import Algorithm
from featsvc.signals.signal import Signal
from featsvc.signals.variants import ORIGINAL

_FROM_GREY: Mapping[str, Callable[[GreyPlane, int], imagehashes.Bits]] = {
    "phash": imagehashes.phash,
    "phash_simple": imagehashes.phash_simple,
    "ahash": imagehashes.average_hash,
    "dhash": imagehashes.dhash,
    "dhash_vertical": imagehashes.dhash_vertical,
    "whash": imagehashes.whash,
    "whash_db4": imagehashes.whash_db4,
}


class _Picture:
    """Pixels, and what several hashes of them share."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels

    @cached_property
    def grey(self) -> GreyPlane:
        return GreyPlane(self.pixels)

    @cached_property
    def quality(self) -> int:
        return measure_quality(self.pixels)


def pack_bits(bits: imagehashes.Bits) -> bytes:
    """A row of bits, first one most significant, as a right-aligned big-endian number.

    Its hex is what imagehash prints.
    """
    flat = bits.ravel()
    padded = np.zeros(-(-flat.size // 8) * 8, np.bool_)
    padded[padded.size - flat.size :] = flat
    return np.packbits(padded).tobytes()


def hash_image(
    image: Image, algorithms: Sequence[Algorithm], variants: MakeVariants = make_original
) -> tuple[Signal, ...]:
    """Perceptual signals of one decoded picture, in the order of `algorithms`.

    An algorithm that the picture is too small for gives none (`whash_db4` wants 8 pixels a bit on
    the short side). `variants` says which PDQ is made of, the original first.
    """
    picture = _Picture(image.pixels)
    provenance = image.provenance
    signals: list[Signal] = []
    for kind in algorithms:
        for variant, value, quality in _values(picture, kind, variants):
            signals.append(Signal(kind.name, value, quality, variant, image.frame, provenance))
    return tuple(signals)


def _values(
    picture: _Picture, kind: Algorithm, variants: MakeVariants
) -> Iterator[tuple[str, bytes, int]]:
    """Variant, value and quality of each signal of one kind."""
    if kind.base == "pdq":
        for variant, pdq in variants(picture.pixels):
            yield variant, pdq.value, pdq.quality
        return
    if kind.base == "colorhash":
        value = pack_bits(imagehashes.colorhash(picture.pixels, kind.size))
    elif kind.base == "crop_resistant":
        value = b"".join(map(pack_bits, imagehashes.crop_resistant_hash(picture.grey, kind.size)))
    else:
        bits = _FROM_GREY[kind.base](picture.grey, kind.size)
        if bits.size != kind.bits:
            return
        value = pack_bits(bits)
    yield ORIGINAL, value, picture.quality
