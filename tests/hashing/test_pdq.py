"""PDQ of a picture does not depend on its file format."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from featsvc.hashing.content import hash_content
from featsvc.hashing.pdq import hash_pdq
from featsvc.media import DecodeOptions, Limits
from featsvc.signals.signal import Signal
from tests.hashing.photographs import encode, hamming, noise, photograph
from tests.photographs import SHARED, needs_shared
from tests.vectors.record_pdq import ask_pdqhash

NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


def pdq_of(content: bytes) -> Signal:
    return hash_content(content, ("pdq",), DecodeOptions(), Limits()).signals[0]


def wide_png(rgb: Image.Image) -> bytes:
    """16 bits a sample; grey, as Pillow writes no 16-bit RGB."""
    return encode(Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257), "PNG")


def containers(rgb: Image.Image) -> dict[str, tuple[bytes, int]]:
    """Content, and how many bits may differ; 16 where the format reduces colours."""
    return {
        "RGB JPEG": (encode(rgb, "JPEG", quality=90), 10),
        "progressive JPEG": (encode(rgb, "JPEG", quality=90, progressive=True), 10),
        "CMYK JPEG": (encode(rgb.convert("CMYK"), "JPEG", quality=90), 10),
        "grey JPEG": (encode(rgb.convert("L"), "JPEG", quality=90), 10),
        "palette PNG": (encode(rgb.quantize(256), "PNG"), 16),
        "RGBA PNG": (encode(rgb.convert("RGBA"), "PNG"), 10),
        "grey PNG": (encode(rgb.convert("L"), "PNG"), 10),
        "16-bit PNG": (wide_png(rgb), 10),
        "WebP": (encode(rgb, "WEBP", quality=90), 10),
        "AVIF": (encode(rgb, "AVIF", quality=90, speed=10), 10),
        "GIF": (encode(rgb, "GIF"), 16),
        "BMP": (encode(rgb, "BMP"), 10),
        "TIFF": (encode(rgb, "TIFF"), 10),
        "CMYK TIFF": (encode(rgb.convert("CMYK"), "TIFF"), 10),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_container_does_not_change_the_hash(name: str) -> None:
    rgb = Image.fromarray(photograph(name))
    expected = hash_pdq(np.asarray(rgb)).value
    distances = {
        kind: (hamming(pdq_of(content).value, expected), most)
        for kind, (content, most) in containers(rgb).items()
    }
    assert {kind: d for kind, (d, most) in distances.items() if d > most} == {}


@pytest.mark.parametrize("size", [(640, 512), (1000, 1400)])
def test_the_luma_plane_costs_at_most_two_bits(size: tuple[int, int]) -> None:
    for name in NAMES:
        content = encode(Image.fromarray(photograph(name)).resize(size), "JPEG", quality=90)
        signal = pdq_of(content)
        assert signal.provenance is not None
        assert signal.provenance.luma_plane
        rgb = np.asarray(Image.open(io.BytesIO(content)))
        assert hamming(signal.value, hash_pdq(rgb).value) <= 2


@needs_shared
def test_within_metas_rule_of_the_published_hashes() -> None:
    with (SHARED / "pdq" / "expected.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    for row in rows:
        signal = pdq_of((SHARED / "pdq" / row["file"]).read_bytes())
        assert (signal.quality or 0) >= 80
        assert hamming(signal.value, bytes.fromhex(row["pdq"])) <= 10


def test_any_memory_layout() -> None:
    pixels = photograph("chelsea.png")
    expected = hash_pdq(np.ascontiguousarray(pixels[::-1]))
    assert hash_pdq(pixels[::-1]) == expected
    assert hash_pdq(np.asfortranarray(pixels[::-1])) == expected


@pytest.mark.parametrize("shape", [(1, 1), (4, 100, 3), (100, 4, 3)])
def test_tiny_pictures_hash_to_zeros(shape: tuple[int, ...]) -> None:
    result = hash_pdq(np.full(shape, 77, np.uint8))
    assert (result.value, result.quality) == (bytes(32), 0)


@settings(max_examples=40)
@given(height=st.integers(1, 300), width=st.integers(1, 4096), turned=st.booleans())
def test_any_size_equals_pdqhash(height: int, width: int, turned: bool) -> None:
    pytest.importorskip("pdqhash", reason="needs the extra `peers`")
    pixels = noise(height + width, *((width, height) if turned else (height, width)))
    text, quality, near_median = ask_pdqhash(pixels)
    result = hash_pdq(pixels)
    assert hamming(result.value, bytes.fromhex(text)) <= near_median
    assert abs(result.quality - quality) <= 1
