"""The groups of a lossless WebP: as its writer chose them, and as the twin counts them."""

import struct

import numpy as np
import pytest
from featsvc_kernels import reference_vp8l
from featsvc_kernels.vp8l import DAMAGED, TOO_LARGE, count_groups
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.hashing.photographs import encode, photograph
from tests.media.write_vp8l import groups_stream

MOST = 2**20
ASTRONAUT = Image.fromarray(photograph("astronaut.png")).resize((160, 150))


def count(data: bytes, width: int, height: int, most: int = MOST) -> tuple[int, int, int]:
    return count_groups(np.frombuffer(data, np.uint8), width, height, most)


def stream(picture: Image.Image, method: int) -> bytes:
    """The data after the header of a picture that Pillow wrote."""
    content = encode(picture, "WEBP", lossless=True, method=method)
    assert content[12:16] == b"VP8L"
    (size,) = struct.unpack_from("<I", content, 16)
    return content[25 : 20 + size]


PICTURES = {
    "photograph": ASTRONAUT,
    "2 colours": ASTRONAUT.convert("1").convert("RGB"),
    "12 colours": ASTRONAUT.quantize(12).convert("RGB"),
    "200 colours": ASTRONAUT.quantize(200).convert("RGB"),
    "halves": Image.fromarray(
        np.hstack([np.asarray(ASTRONAUT), np.zeros((150, 160, 3), np.uint8)])
    ),
}
STREAMS = [(stream(p, method), *p.size) for p in PICTURES.values() for method in (0, 4, 6)]


@pytest.mark.parametrize(("side", "groups"), [(4, 1), (16, 16), (64, 200), (64, 256), (256, 4096)])
def test_groups_are_counted(side: int, groups: int) -> None:
    data = groups_stream(side, groups)
    assert count(data, side, side) == (groups, 0, (side // 4) ** 2)


@pytest.mark.parametrize(("data", "width", "height"), STREAMS)
def test_what_an_encoder_writes_is_counted_as_by_the_twin(
    data: bytes, width: int, height: int
) -> None:
    groups = count(data, width, height)
    assert groups == reference_vp8l.count_groups(data, width, height, MOST)
    assert 1 <= groups[0] <= 2600  # libwebp's encoder never makes more


@given(
    which=st.integers(0, len(STREAMS) - 1),
    flips=st.lists(st.integers(0, 8 * 120 - 1), max_size=4),
    kept=st.integers(0, 400),
)
def test_damage_is_seen_as_by_the_twin(which: int, flips: list[int], kept: int) -> None:
    data, width, height = STREAMS[which]
    damaged = bytearray(data[:kept])
    for flip in flips:
        if flip // 8 < len(damaged):
            damaged[flip // 8] ^= 1 << flip % 8
    ours = count(bytes(damaged), width, height)[0]
    twin = reference_vp8l.count_groups(bytes(damaged), width, height, MOST)[0]
    # Past the end the kernel reads zeros; it notices that within the small images.
    assert ours == twin or (DAMAGED in (ours, twin) and len(damaged) < len(data))


def test_many_small_pixels_are_too_many() -> None:
    data = groups_stream(64, 256)
    assert count(data, 64, 64, 255)[0] == TOO_LARGE
    assert count(data, 64, 64, 256)[0] == 256


def test_nothing_has_one_group() -> None:
    assert count(b"", 1, 1)[0] == 1
