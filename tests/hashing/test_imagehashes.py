"""Hashes equal those of `imagehash` 4.3.2, bit for bit."""

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from featsvc.hashing import imagehashes
from featsvc.hashing.perceptual import hash_image
from featsvc.hashing.planes import GreyPlane
from featsvc.media import DecodeOptions, Limits, decode
from featsvc.media import Image as Decoded
from featsvc.signals.algorithms import ALGORITHMS, get_algorithm
from featsvc.signals.distance import distance
from featsvc.signals.signal import Signal
from tests.hashing.oracles import PICTURE_ORACLES
from tests.hashing.photographs import PHOTOGRAPHS, encode, noise, photograph

EVERY_BUT_SEGMENTS = tuple(
    name for name in PICTURE_ORACLES if name not in ("pdq", "crop_resistant")
)
# PyWavelets warns that db4 exceeds small bands, as intended.
pytestmark = pytest.mark.filterwarnings("ignore:Level value of")


def decoded(picture: Image.Image) -> Decoded:
    return Decoded("image/png", *picture.size, np.asarray(picture))


def text_of(picture: Image.Image, name: str) -> str | None:
    signals = hash_image(decoded(picture), [get_algorithm(name)])
    return signals[0].text if signals else None


def sized(name: str, size: int) -> str:
    return name if ALGORITHMS[name].size == size else f"{name}-{size}"


def check(picture: Image.Image, name: str, size: int) -> None:
    """The hash equals the oracle's, or is missing for a picture too small for db4."""
    expected, _ = PICTURE_ORACLES[name](picture, size)
    actual = text_of(picture, sized(name, size))
    if actual is None:
        assert name == "whash_db4"
        assert min(picture.size) < 8 * size
        return
    assert actual == expected, (name, size, picture.size)


def rgb(name: str) -> Image.Image:
    return Image.fromarray(photograph(name)).convert("RGB")


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_at_the_default_size(name: str) -> None:
    for algorithm in EVERY_BUT_SEGMENTS:
        check(rgb(name), algorithm, ALGORITHMS[algorithm].size)


@pytest.mark.parametrize("algorithm", EVERY_BUT_SEGMENTS)
def test_every_size(algorithm: str) -> None:
    sizes = {"whash": (2, 4, 16, 32), "whash_db4": (2, 4, 16, 32), "colorhash": (1, 2, 4, 8)}
    for name in ("coffee.png", "logo.png", "page.png"):
        for size in sizes.get(algorithm, range(2, 33)):
            check(rgb(name), algorithm, size)


@pytest.mark.slow
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_crop_resistant(name: str) -> None:
    picture = rgb(name).resize((260, 200)) if min(photograph(name).shape[:2]) > 900 else rgb(name)
    assert text_of(picture, "crop_resistant") == str(imagehash.crop_resistant_hash(picture))


@settings(max_examples=60)
@given(
    width=st.integers(1, 500),
    height=st.integers(1, 500),
    kind=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_any_shape_even_flat_ones(width: int, height: int, kind: int, seed: int) -> None:
    """Plain pictures have many ties, which the oracle's rounding decides."""
    if kind == 0:
        picture = Image.fromarray(noise(seed, height, width))
    elif kind == 1:
        picture = Image.new("RGB", (width, height), (seed, 2 * seed, 255 - seed))
    elif kind == 2:
        picture = Image.new("RGB", (width, height), "white")
        box = (width // 4, height // 4, width // 2, height // 2)
        ImageDraw.Draw(picture).rectangle(box, fill=(seed, 20, 30))
    else:
        ramp = np.linspace(0, 255, width).astype(np.uint8)
        picture = Image.fromarray(np.broadcast_to(ramp[None, :, None], (height, width, 3)).copy())
    for algorithm in EVERY_BUT_SEGMENTS:
        check(picture, algorithm, ALGORITHMS[algorithm].size)


@pytest.mark.parametrize("size", [(4096, 3), (3, 4096), (1, 1), (4096, 21), (2, 700), (1000, 1993)])
def test_extreme_shapes(size: tuple[int, int]) -> None:
    picture = Image.fromarray(noise(9, size[1], size[0]))
    for algorithm in EVERY_BUT_SEGMENTS:
        check(picture, algorithm, ALGORITHMS[algorithm].size)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "YCbCr"])
def test_every_mode_hashes_as_its_decoded_pixels(mode: str) -> None:
    """The oracle hashes the pixels that the decoder returns, whatever mode the file has."""
    picture = rgb("chelsea.png")
    if mode == "I;16":
        grey = np.asarray(picture.convert("L"))
        content = encode(Image.fromarray(grey.astype(np.uint16) * 257), "PNG")
    else:
        file_format = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
        content = encode(picture.convert(mode), file_format)
    image = decode(content, DecodeOptions(), Limits())
    pixels = Image.fromarray(image.pixels)
    for signal in hash_image(image, [ALGORITHMS[name] for name in EVERY_BUT_SEGMENTS]):
        kind = signal.algorithm
        # colorhash needs a picture that converts to HSV.
        oracle_input = pixels.convert("RGB") if kind.base == "colorhash" else pixels
        assert signal.text == PICTURE_ORACLES[kind.base](oracle_input, kind.size)[0]


def test_boxes_of_tiny_pictures_are_not_empty() -> None:
    picture = Image.fromarray(noise(2, 3, 2))
    for box in imagehashes.find_boxes(GreyPlane(np.asarray(picture))):
        assert box.bottom > box.top
        assert box.right > box.left


def segments(signal: Signal) -> list[Signal]:
    kind, value = signal.algorithm, signal.value
    return [Signal(kind, value[i : i + kind.bytes]) for i in range(0, len(value), kind.bytes)]


@pytest.mark.slow
def test_segments_match_by_the_rule_of_imagehash() -> None:
    whole = rgb("coffee.png")
    pictures = [whole, whole.crop((60, 40, 540, 380)), rgb("chelsea.png"), rgb("astronaut.png")]
    signals = [hash_image(decoded(p), [ALGORITHMS["crop_resistant"]])[0] for p in pictures]
    hashes = [imagehash.crop_resistant_hash(p) for p in pictures]
    for a, ours in zip(hashes, signals, strict=True):
        for b, theirs in zip(hashes, signals, strict=True):
            nearest = [min(distance(s, t) for t in segments(theirs)) for s in segments(ours)]
            matching = [bits for bits in nearest if bits <= 16]
            assert (len(matching), sum(matching)) == a.hash_diff(b, bit_error_rate=0.25)


def test_quality_is_that_of_the_picture() -> None:
    flat = hash_image(decoded(Image.new("RGB", (99, 99), "red")), list(ALGORITHMS.values())[:10])
    assert all(isinstance(s, Signal) and s.low_quality for s in flat)
