"""What a perceptual hash is given, and what it gives: a decoded picture, and bits of it."""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, wraps
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featsvc.hashing.pdq import measure_quality
from featsvc.hashing.planes import GreyPlane
from featsvc.hashing.variants import MakeVariants, make_original
from featsvc.signals.algorithms import Algorithm
from featsvc.signals.variants import ORIGINAL

Bits = NDArray[np.bool_]

Made: TypeAlias = tuple[str, bytes, int]
"""Variant, value and quality of one signal."""


class Picture:
    """Pixels, RGB (H, W, 3) or grey (H, W), and what several hashes of them share.

    `variants` says which turns and parts of it PDQ is made of, the original first.
    """

    def __init__(self, pixels: NDArray[np.uint8], variants: MakeVariants = make_original) -> None:
        self.pixels = pixels
        self.variants = variants

    @cached_property
    def grey(self) -> GreyPlane:
        return GreyPlane(self.pixels)

    @cached_property
    def quality(self) -> int:
        """PDQ's measure, 0 to 100."""
        return measure_quality(self.pixels)


class PictureHash(Protocol):
    """What the table names for a hash of pictures."""

    def __call__(self, picture: Picture, kind: Algorithm, /) -> Iterable[Made]:
        """None where the picture is too small for it. Synchronous and thread-safe."""
        ...


def of_grey(bits: Callable[[GreyPlane, int], Bits]) -> PictureHash:
    """From a function of the grey plane and the size: one signal, where it has all of its bits."""

    @wraps(bits)
    def made(picture: Picture, kind: Algorithm, /) -> Iterator[Made]:
        found = bits(picture.grey, kind.size)
        if found.size == kind.bits:
            yield ORIGINAL, pack_bits(found), picture.quality

    return made


def pack_bits(bits: Bits) -> bytes:
    """A row of bits, first one most significant, as a right-aligned big-endian number.

    Its hex is what imagehash prints.
    """
    flat = bits.ravel()
    padded = np.zeros(-(-flat.size // 8) * 8, np.bool_)
    padded[padded.size - flat.size :] = flat
    return np.packbits(padded).tobytes()
