"""Hashing compared with its peers: PDQ kernels, whole files, imagehash's algorithms.

    make peers bench ARGS="-k hashing"

One thread.
"""

import io
import warnings
from collections.abc import Callable
from functools import cache, partial
from inspect import unwrap

import imagehash
import numpy as np
import pytest
import simplejpeg
from featsvc_kernels import pdq as kernels
from featsvc_kernels.pictures import as_rows
from numpy.typing import NDArray
from PIL import Image

from bench.compare import Compare, Side, peer
from bench.size import pick
from featsvc.hashing import imagehashes
from featsvc.hashing.content import hash_content
from featsvc.hashing.pdq import hash_pdq, hash_pdq_dihedral
from featsvc.hashing.perceptual import hash_image
from featsvc.hashing.picture import Picture
from featsvc.hashing.planes import GreyPlane
from featsvc.hashing.variants import make_query
from featsvc.media import DecodeOptions, Limits
from featsvc.media import Image as Decoded
from featsvc.signals.algorithms import ALGORITHMS, Kind
from featsvc.signals.computing import resolve
from featsvc.signals.variants import DEFAULT_QUERY_VARIANTS
from tests.hashing.photographs import encode, photograph
from tests.hashing.unstable import picture as unstable_picture

pdqhash = peer("pdqhash")
threatexchange = peer("threatexchange.signal_type.pdq.signal")

SIZES = pick([(512, 384), (1600, 1004), (4000, 3000)], smoke=[(160, 120), (320, 200)])
LARGER = SIZES[1:]


def by_size(sizes: list[tuple[int, int]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("size", sizes, ids=lambda size: f"{size[0]}x{size[1]}")


@cache
def picture(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(photograph("coffee.png")).resize(size, Image.Resampling.LANCZOS)


@cache
def rgb(size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.array(picture(size))


@cache
def grey(size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.array(picture(size).convert("L"))


@cache
def jpeg(size: tuple[int, int]) -> bytes:
    return encode(picture(size), "JPEG", quality=85)


@by_size(SIZES)
def bench_pdq_of_pixels(compare: Compare, size: tuple[int, int]) -> None:
    pixels, grey_pixels = rgb(size), grey(size)
    theirs = pdqhash and (lambda: pdqhash.compute(pixels))
    shape = f"{size[0]}x{size[1]}"

    def one() -> object:
        return hash_pdq(pixels)

    def with_variants() -> object:
        return list(make_query(frozenset(DEFAULT_QUERY_VARIANTS), pixels))

    compare(f"PDQ of RGB pixels, {shape}", one, {"pdqhash": theirs, "NumPy's sum": pixels.sum})
    compare(f"PDQ of grey pixels, {shape}", lambda: hash_pdq(grey_pixels), {"pdqhash": theirs})
    compare(f"eight turned PDQ, {shape}", lambda: hash_pdq_dihedral(pixels), {"one PDQ": one})
    compare(f"PDQ with default variants, {shape}", with_variants, {"one PDQ": one})


@by_size(SIZES)
def bench_unstable_pdq(compare: Compare, size: tuple[int, int]) -> None:
    """What hostile pictures cost: each is computed twice, the second time as the reference does."""
    width, height = size
    stable = rgb(size)
    # A width at which the 64 samples are symmetric: others leave less to rounding.
    half = next(n for n in range(width, 0, -2) if n % 128 and (n + 127) // 128 % 2) // 2
    mirrored = np.concatenate([stable[:, :half], stable[:, :half][:, ::-1]], axis=1)
    stripes = unstable_picture("tricolour", 1, height, width)

    def with_variants(pixels: NDArray[np.uint8]) -> object:
        return list(make_query(frozenset(DEFAULT_QUERY_VARIANTS), pixels))

    for name, pixels in {"mirrored": mirrored, "tricolour": stripes}.items():
        compare(
            f"PDQ of a {name} picture, {pixels.shape[1]}x{height}",
            partial(hash_pdq, pixels),
            {
                "pdqhash": pdqhash and partial(pdqhash.compute, pixels),
                "one PDQ": partial(hash_pdq, stable),
            },
        )
        compare(
            f"PDQ with default variants of a {name} picture, {pixels.shape[1]}x{height}",
            partial(with_variants, pixels),
            {"of a photograph": partial(with_variants, stable)},
        )


def bench_judging_pdq(compare: Compare) -> None:
    """Bits and marks from the coefficients: what detection can cost at most."""
    pixels = rgb(SIZES[0])
    coefficients, bits = np.empty((16, 16), np.float32), np.empty(32, np.uint8)
    block = np.empty((64, 64), np.float32)
    kernels.pdq_downsample(*as_rows(pixels), (0, 0, *pixels.shape[:2]), block)
    kernels.pdq_dct(block, coefficients)
    compare(
        "bits and marks of PDQ",
        lambda: kernels.pdq_bits(coefficients, bits),
        {"one PDQ": lambda: hash_pdq(pixels)},
    )


@by_size(LARGER)
def bench_jpeg_to_pdq(compare: Compare, size: tuple[int, int]) -> None:
    content = jpeg(size)
    signal = threatexchange and threatexchange.PdqSignal
    compare(
        f"JPEG to PDQ, {size[0] * size[1] / 1e6:.1f} megapixels",
        lambda: hash_content(content, ("pdq",), DecodeOptions(), Limits()),
        {
            "threatexchange": signal and (lambda: signal.hash_from_bytes(content)),
            "the bare grey decode": lambda: simplejpeg.decode_jpeg(content, "GRAY"),
        },
    )


IMAGEHASH_SIZE = pick((1024, 768), smoke=(256, 192))
SHAPE = f"{IMAGEHASH_SIZE[0]}x{IMAGEHASH_SIZE[1]}"
IMAGEHASHES: dict[str, Callable[[Image.Image], object]] = {
    "whash": imagehash.whash,
    "colorhash": imagehash.colorhash,
    "phash": imagehash.phash,
    "phash_simple": imagehash.phash_simple,
    "dhash": imagehash.dhash,
    "dhash_vertical": imagehash.dhash_vertical,
    "ahash": imagehash.average_hash,
    "whash_db4": lambda image: imagehash.whash(image, mode="db4"),
    "crop_resistant": imagehash.crop_resistant_hash,
}


def ours(name: str, pixels: NDArray[np.uint8]) -> object:
    """One hash of pixels, without shared intermediate results."""
    if name == "colorhash":
        return imagehashes.colour_shares(pixels, 3)
    kind = ALGORITHMS[name]
    make = resolve(kind.compute)
    # The bits only: the quality is computed once a picture.
    bits = unwrap(make)
    return list(make(Picture(pixels), kind)) if bits is make else bits(GreyPlane(pixels), 8)


def quietly(side: Side) -> Side:
    """The side without PyWavelets' warning that db4 exceeds small bands."""

    def run() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return side()

    return run


@pytest.mark.parametrize("name", IMAGEHASHES)
def bench_imagehash(compare: Compare, name: str) -> None:
    image, pixels = picture(IMAGEHASH_SIZE), rgb(IMAGEHASH_SIZE)
    theirs = quietly(lambda: IMAGEHASHES[name](image))
    compare(f"{name}, {SHAPE}", lambda: ours(name, pixels), {"imagehash": theirs})


def bench_imagehash_all(compare: Compare) -> None:
    image, pixels = picture(IMAGEHASH_SIZE), rgb(IMAGEHASH_SIZE)
    decoded = Decoded("image/png", *IMAGEHASH_SIZE, pixels)
    theirs = quietly(lambda: [function(image) for function in IMAGEHASHES.values()])
    kinds = [ALGORITHMS[name] for name in IMAGEHASHES]
    compare(
        f"all nine in one pass, {SHAPE}", lambda: hash_image(decoded, kinds), {"imagehash": theirs}
    )


def bench_every_algorithm(compare: Compare) -> None:
    names = tuple(name for name, kind in ALGORITHMS.items() if kind.kind is Kind.PICTURE)
    content = jpeg(LARGER[0])
    compare(
        f"every algorithm of a JPEG, {LARGER[0][0]}x{LARGER[0][1]}",
        lambda: hash_content(content, names, DecodeOptions(), Limits()),
    )


LARGE = Limits(max_content_bytes=2**28)
"""12 megapixels of BMP are 36 MB."""


@by_size(LARGER)
@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def bench_formats(compare: Compare, file_format: str, size: tuple[int, int]) -> None:
    """Files as Pillow writes them; JPEG has a bench of its own."""
    content = encode(picture(size), file_format)

    def pillow() -> NDArray[np.uint8]:
        with Image.open(io.BytesIO(content)) as opened:
            return np.asarray(opened.convert("RGB"))

    compare(
        f"{file_format} to PDQ, {size[0] * size[1] / 1e6:.1f} megapixels",
        lambda: hash_content(content, ("pdq",), DecodeOptions(), LARGE),
        {
            "Pillow and pdqhash": pdqhash and (lambda: pdqhash.compute(pillow())),
            "Pillow alone": pillow,
        },
    )
