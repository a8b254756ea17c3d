"""Input and output of the perceptual hash functions."""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, wraps
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from featsvc.hashing.pdq import measure_quality
from featsvc.hashing.planes import GreyPlane
from featsvc.hashing.variants import VariantMaker, make_original
from featsvc.signals.algorithms import Algorithm
from featsvc.signals.variants import ORIGINAL

Bits = NDArray[np.bool_]


class HashedVariant(NamedTuple):
    """What a `Signal` has of its fields of the same names."""

    variant: str
    value: bytes
    quality: int
    unstable: bool = False


class Picture:
    """Pixels, RGB (H, W, 3) or grey (H, W), and intermediate results that several hashes share.

    `variants` yields PDQ of the original and its variants.
    """

    def __init__(self, pixels: NDArray[np.uint8], variants: VariantMaker = make_original) -> None:
        self.pixels = pixels
        self.variants = variants

    @cached_property
    def grey(self) -> GreyPlane:
        return GreyPlane(self.pixels)

    @cached_property
    def quality(self) -> int:
        """PDQ's quality, 0 to 100."""
        return measure_quality(self.pixels)


class PictureHash(Protocol):
    """A function that the table of algorithms names for a hash of pictures."""

    def __call__(self, picture: Picture, kind: Algorithm, /) -> Iterable[HashedVariant]:
        """Yield nothing where the picture is too small. Synchronous and thread-safe."""
        ...


def grey_hash(compute_bits: Callable[[GreyPlane, int], Bits]) -> PictureHash:
    """Make a `PictureHash` of a function of the grey plane and the size.

    It yields one signal, or none where the function returns too few bits.
    """

    @wraps(compute_bits)
    def hash_picture(picture: Picture, kind: Algorithm, /) -> Iterator[HashedVariant]:
        bits = compute_bits(picture.grey, kind.size)
        if bits.size == kind.bits:
            yield HashedVariant(ORIGINAL, pack_bits(bits), picture.quality)

    return hash_picture


def pack_bits(bits: Bits) -> bytes:
    """Pack bits, the first one most significant, into a right-aligned big-endian number.

    Its hex is what imagehash prints.
    """
    flat = bits.ravel()
    padded = np.zeros(-(-flat.size // 8) * 8, np.bool_)
    padded[padded.size - flat.size :] = flat
    return np.packbits(padded).tobytes()
