"""BMP: equal to Pillow's pixels where Pillow is right, and right where it is not."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from featsvc.errors import FeatsvcError, MediaCorrupt, UnsupportedMedia
from featsvc.media import DecodeOptions, Limits, decode
from tests.media.write_bmp import BITFIELDS, bmp, packed, padded, runs

EXACT, LIMITS = DecodeOptions(), Limits()
MASKS = {
    16: [(0xF800, 0x7E0, 0x1F, 0), (0x7C00, 0x3E0, 0x1F, 0)],
    24: [(0xFF0000, 0xFF00, 0xFF, 0)],
    32: [(0xFF0000, 0xFF00, 0xFF, 0), (0xFF000000, 0xFF0000, 0xFF00, 0)],
}
"""Those that Pillow knows and that have no alpha."""


def pixels_of(content: bytes) -> NDArray[np.uint8]:
    return decode(content, EXACT, LIMITS).pixels


def noise(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 9),
    depth=st.sampled_from((1, 4, 8, 16, 24, 32)),
    header_bytes=st.sampled_from((12, 40, 52, 56, 64, 108, 124)),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_equal_pillows(
    width: int, height: int, depth: int, header_bytes: int, seed: int
) -> None:
    rows = noise(seed, height, (width * depth + 31) // 32 * 4).tobytes()
    palette = noise(seed, 1 << depth, 3 if header_bytes == 12 else 4) if depth <= 8 else noise(0, 0)
    body = bmp(width, height, depth, rows, extra=b"", header_bytes=header_bytes)
    start = 14 + header_bytes
    content = bytearray(body[:start] + palette.tobytes() + body[start:])
    struct.pack_into("<I", content, 10, start + palette.size)
    with Image.open(io.BytesIO(content)) as oracle:
        wanted = np.asarray(oracle.convert("L" if oracle.mode in ("1", "L") else "RGB"))
    np.testing.assert_array_equal(pixels_of(bytes(content)), wanted)


@pytest.mark.parametrize("depth", MASKS)
@pytest.mark.parametrize("top_down", [False, True])
def test_bitfields_equal_pillows(depth: int, top_down: bool) -> None:
    for masks in MASKS[depth]:
        rows = noise(depth, 7, (9 * depth + 31) // 32 * 4).tobytes()
        content = bmp(
            9,
            -7 if top_down else 7,
            depth,
            rows,
            compression=BITFIELDS,
            extra=struct.pack("<4I", *masks),
            header_bytes=108,
        )
        with Image.open(io.BytesIO(content)) as oracle:
            np.testing.assert_array_equal(pixels_of(content), np.asarray(oracle.convert("RGB")))


@given(
    width=st.integers(1, 200),
    height=st.integers(1, 5),
    half_bytes=st.booleans(),
    gap=st.sampled_from((b"", b"\0")),
    seed=st.integers(0, 2**32 - 1),
)
def test_runs_are_right_wherever_they_begin(
    width: int, height: int, half_bytes: bool, gap: bytes, seed: int
) -> None:
    """Pillow aligns runs by their place in the file: with a gap it shows another picture."""
    rng = np.random.default_rng(seed)
    indices = np.repeat(rng.integers(0, 16, (height, width), dtype=np.uint8), 2, axis=1)[:, :width]
    palette = noise(seed, 16 if half_bytes else 256, 4)
    depth, code = (4, 2) if half_bytes else (8, 1)
    data = runs(indices, half_bytes=half_bytes)
    content = bmp(width, height, depth, data, compression=code, extra=palette.tobytes(), gap=gap)
    wanted = palette[indices][..., 2::-1]
    np.testing.assert_array_equal(pixels_of(content), wanted)
    for size in range(14, len(content), 11):
        try:
            pixels = pixels_of(content[:size])
        except (MediaCorrupt, UnsupportedMedia):
            continue
        np.testing.assert_array_equal(pixels, wanted)


def test_jumps_show_the_first_colour() -> None:
    data = b"\x02\x01\0\0" + b"\0\x02\x01\x00" + b"\x02\x01\0\0\0\1"
    palette = bytes(range(0, 200, 50)) + bytes([255] * 4) + bytes(4 * 254)
    content = bmp(3, 2, 8, data, compression=1, extra=palette)
    skipped, drawn = [100, 50, 0], [255, 255, 255]
    assert pixels_of(content).tolist() == [[skipped, drawn, drawn], [drawn, drawn, skipped]]


def test_two_colours_of_eight_bits() -> None:
    """Black and white pictures of 8 bits a pixel: Pillow takes their rows for bits."""
    indices = noise(3, 20, 30) & np.uint8(1)
    palette = struct.pack("<II", 0, 0xFFFFFF)
    content = bmp(30, 20, 8, padded(indices), extra=palette, colours=2)
    np.testing.assert_array_equal(pixels_of(content), indices * 255)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_packed_indices(depth: int) -> None:
    indices = noise(4, 5, 13) & np.uint8((1 << depth) - 1)
    palette = noise(5, 1 << depth, 4)
    content = bmp(13, 5, depth, padded(packed(indices, depth)), extra=palette.tobytes())
    np.testing.assert_array_equal(pixels_of(content), palette[indices][..., 2::-1])


def test_alpha_that_is_zero_everywhere_means_nothing() -> None:
    bgra = noise(6, 5, 7, 4)
    bgra[..., 3] = 0
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    content = bmp(
        7,
        5,
        32,
        padded(bgra.reshape(5, -1)),
        compression=BITFIELDS,
        extra=masks,
        header_bytes=108,
    )
    np.testing.assert_array_equal(pixels_of(content), bgra[..., 2::-1])


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (bmp(4, 4, 24, bytes(47)[:-12]), MediaCorrupt, "needs 102 bytes, 89 are here"),
        (bmp(4, 4, 8, bytes(16), extra=bytes(40), colours=20), MediaCorrupt, "BMP"),
        (bmp(4, 4, 24, bytes(48), compression=4), UnsupportedMedia, "JPEG at 24 bits"),
        (bmp(4, 4, 24, bytes(48), compression=5), UnsupportedMedia, "PNG at 24 bits"),
        (bmp(4, 4, 1, bytes(16), compression=3, header_bytes=64), UnsupportedMedia, "Huffman"),
        (bmp(4, 4, 64, bytes(128)), UnsupportedMedia, "64 bits a pixel"),
        (
            bmp(4, 4, 32, bytes(64), compression=3, extra=struct.pack("<3I", 5, 8, 16)),
            UnsupportedMedia,
            "over the bits 0x5",
        ),
    ],
)
def test_what_is_not_whole_or_not_known_is_refused(
    content: bytes, error: type[FeatsvcError], message: str
) -> None:
    with pytest.raises(error, match=message):
        decode(content, EXACT, LIMITS)


def test_what_fills_up_the_last_row_may_be_missing() -> None:
    rows = noise(7, 3, 4 * 5)[:, : 3 * 5]
    data = padded(rows)
    content = bmp(5, 3, 24, data)
    np.testing.assert_array_equal(pixels_of(content[:-1]), pixels_of(content))
    with pytest.raises(MediaCorrupt):
        pixels_of(content[:-2])
