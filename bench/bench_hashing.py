"""Hashing compared with its peers: PDQ kernels, whole JPEGs, imagehash's algorithms.

One thread, both sides in one group of one run: read the ratio, not the time.
"""

import io
import warnings
from collections.abc import Callable
from functools import cache
from inspect import unwrap

import imagehash
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

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

pdqhash = pytest.importorskip("pdqhash", reason="of the `peers` extra")

SIZES = [(512, 384), (1600, 1004), (4000, 3000)]
by_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")


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


@pytest.mark.benchmark(group="pdq-kernel")
@by_size
class TestPdqKernel:
    def test_pdqhash(self, benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
        benchmark(pdqhash.compute, rgb(size))

    def test_ours_rgb(self, benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
        benchmark(hash_pdq, rgb(size))

    def test_ours_grey(self, benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
        benchmark(hash_pdq, grey(size))

    def test_ours_dihedral(self, benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
        benchmark(hash_pdq_dihedral, rgb(size))

    def test_ours_default_variants(
        self, benchmark: BenchmarkFixture, size: tuple[int, int]
    ) -> None:
        wanted = frozenset(DEFAULT_QUERY_VARIANTS)
        benchmark(lambda: list(make_query(wanted, rgb(size))))

    def test_sum_of_the_array(self, benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
        benchmark(rgb(size).sum)


@pytest.mark.benchmark(group="jpeg-to-pdq")
@pytest.mark.parametrize("size", SIZES[1:], ids=["1.6MP", "12MP"])
class TestJpegToPdq:
    def test_threatexchange(self, benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
        signal = pytest.importorskip("threatexchange.signal_type.pdq.signal").PdqSignal
        benchmark(signal.hash_from_bytes, jpeg(size))

    def test_ours(self, benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
        benchmark(hash_content, jpeg(size), ("pdq",), DecodeOptions(), Limits())

    def test_bare_grey_decode(self, benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
        benchmark(simplejpeg.decode_jpeg, jpeg(size), "GRAY")


IMAGEHASH_SIZE = (1024, 768)
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


@pytest.mark.parametrize("name", IMAGEHASHES)
class TestImagehash:
    def test_imagehash(self, benchmark: BenchmarkFixture, name: str) -> None:
        benchmark.group = f"imagehash {name} 1024x768"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyWavelets warns that db4 exceeds small bands
            benchmark(IMAGEHASHES[name], picture(IMAGEHASH_SIZE))

    def test_ours(self, benchmark: BenchmarkFixture, name: str) -> None:
        benchmark.group = f"imagehash {name} 1024x768"
        benchmark(ours, name, rgb(IMAGEHASH_SIZE))


@pytest.mark.benchmark(group="imagehash, all in one pass 1024x768")
class TestAllImagehashes:
    def test_imagehash(self, benchmark: BenchmarkFixture) -> None:
        def run() -> None:
            for function in IMAGEHASHES.values():
                function(picture(IMAGEHASH_SIZE))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            benchmark(run)

    def test_ours(self, benchmark: BenchmarkFixture) -> None:
        image = Decoded("image/png", *IMAGEHASH_SIZE, rgb(IMAGEHASH_SIZE))
        benchmark(hash_image, image, [ALGORITHMS[name] for name in IMAGEHASHES])


@pytest.mark.benchmark(group="content, every algorithm, one decode 1.6MP")
def test_every_algorithm_of_a_jpeg(benchmark: BenchmarkFixture) -> None:
    names = tuple(name for name, kind in ALGORITHMS.items() if kind.kind is Kind.PICTURE)
    benchmark(hash_content, jpeg(SIZES[1]), names, DecodeOptions(), Limits())


@pytest.mark.benchmark(group="decode 1600x1004")
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_formats_to_pdq(benchmark: BenchmarkFixture, file_format: str) -> None:
    out = io.BytesIO()
    picture(SIZES[1]).save(out, file_format)
    benchmark(hash_content, out.getvalue(), ("pdq",), DecodeOptions(), Limits())
