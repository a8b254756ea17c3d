"""Compute the perceptual signals of a decoded picture."""

from collections.abc import Iterator, Sequence

from featsvc.hashing.picture import HashedVariant, Picture, PictureHash
from featsvc.hashing.variants import VariantMaker, make_original
from featsvc.media import Image
from featsvc.signals.algorithms import Algorithm
from featsvc.signals.computing import resolve
from featsvc.signals.signal import Signal


def hash_image(
    image: Image, algorithms: Sequence[Algorithm], variants: VariantMaker = make_original
) -> tuple[Signal, ...]:
    """Return the perceptual signals of one picture, in the order of `algorithms`.

    An algorithm that needs a larger picture gives none (`whash_db4` needs 8 pixels a bit on the
    short side). `variants` yields PDQ of the original and its variants.
    """
    picture = Picture(image.pixels, variants)
    provenance = image.provenance
    signals: list[Signal] = []
    for kind in algorithms:
        compute: PictureHash = resolve(kind.compute)
        for variant, value, quality, unstable in compute(picture, kind):
            signals.append(Signal(kind, value, quality, variant, image.frame, provenance, unstable))
    return tuple(signals)


def pdq(picture: Picture, kind: Algorithm, /) -> Iterator[HashedVariant]:
    """Compute PDQ of the picture and its variants, each with the quality of its own pixels."""
    for variant, pdq_hash in picture.variants(picture.pixels):
        yield HashedVariant(variant, pdq_hash.value, pdq_hash.quality, pdq_hash.unstable)
