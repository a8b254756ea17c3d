"""Perceptual signals of a decoded picture: each by the function that the table names."""

from collections.abc import Iterator, Sequence

from featsvc.hashing.picture import Made, Picture, PictureHash
from featsvc.hashing.variants import MakeVariants, make_original
from featsvc.media import Image
from featsvc.signals.algorithms import Algorithm
from featsvc.signals.computing import resolve
from featsvc.signals.signal import Signal


def hash_image(
    image: Image, algorithms: Sequence[Algorithm], variants: MakeVariants = make_original
) -> tuple[Signal, ...]:
    """Perceptual signals of one decoded picture, in the order of `algorithms`.

    An algorithm that the picture is too small for gives none (`whash_db4` wants 8 pixels a bit on
    the short side). `variants` says which PDQ is made of, the original first.
    """
    picture = Picture(image.pixels, variants)
    provenance = image.provenance
    signals: list[Signal] = []
    for kind in algorithms:
        make: PictureHash = resolve(kind.compute)
        for variant, value, quality in make(picture, kind):
            signals.append(Signal(kind, value, quality, variant, image.frame, provenance))
    return tuple(signals)


def pdq(picture: Picture, kind: Algorithm, /) -> Iterator[Made]:
    """PDQ of the picture and of its variants, each with the quality of its own pixels."""
    for variant, made in picture.variants(picture.pixels):
        yield variant, made.value, made.quality
