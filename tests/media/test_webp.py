"""WebP: equal to Pillow's pixels, whole or refused, within the memory that its header tells."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from featsvc.errors import MediaCorrupt, MediaTooLarge, TimedOut
from featsvc.media import (
    Alpha,
    DecodeOptions,
    Frames,
    Limits,
    decode,
    decode_frames,
    probe,
)
from featsvc.media.codecs import libwebp
from featsvc.media.task import Budget
from tests.hashing.photographs import encode, photograph
from tests.media.write_vp8l import picture_of_groups
from tests.media.write_webp import on_white, with_alpha

EXACT, LIMITS = DecodeOptions(), Limits()
PICTURE = photograph("astronaut.png")[100:148, 150:214]
RGB, RGBA = Image.fromarray(PICTURE), with_alpha(PICTURE)
EXIF = Image.Exif()
EXIF[0x0112] = 6
STILLS = {
    "lossy": encode(RGB, "WEBP"),
    "lossless": encode(RGB, "WEBP", lossless=True),
    "lossy alpha": encode(RGBA, "WEBP"),
    "lossless alpha": encode(RGBA, "WEBP", lossless=True),
    "exif": encode(RGB, "WEBP", exif=EXIF),
}
ANIMATION = encode(
    RGBA, "WEBP", save_all=True, append_images=[RGBA.rotate(20), RGB.rotate(40)], lossless=True
)


@pytest.mark.parametrize("name", STILLS)
def test_stills_equal_pillows_pixels(name: str) -> None:
    pixels = decode(STILLS[name], replace(EXACT, ignore_orientation=True), LIMITS).pixels
    np.testing.assert_array_equal(pixels, on_white(STILLS[name]))


@pytest.mark.parametrize("alpha", Alpha)
def test_animations_equal_pillows_frames(alpha: Alpha) -> None:
    options = replace(EXACT, frames=Frames.ALL, alpha=alpha)
    images = [*decode_frames(ANIMATION, options, LIMITS)]
    assert len(images) == probe(ANIMATION, LIMITS).frames == 3
    with Image.open(io.BytesIO(ANIMATION)) as oracle:
        for image in images:
            oracle.seek(image.frame)
            rgba = oracle.convert("RGBA")
            flat = Image.new("RGB", rgba.size, "black" if alpha is Alpha.BLACK else "white")
            flat.paste(rgba, mask=rgba.getchannel("A"))
            wanted = rgba.convert("RGB") if alpha is Alpha.IGNORE else flat
            np.testing.assert_array_equal(image.pixels, np.asarray(wanted))


@pytest.mark.parametrize("content", [*STILLS.values(), ANIMATION])
def test_a_truncated_webp_is_corrupt(content: bytes) -> None:
    for size in range(12, len(content), 7):
        with pytest.raises(MediaCorrupt):
            decode(content[:size], EXACT, LIMITS)


@pytest.mark.parametrize("content", [*STILLS.values(), ANIMATION])
def test_data_that_ends_early_in_a_whole_container_is_corrupt(content: bytes) -> None:
    """The sizes of the chunks agree; only the coded data stops."""
    at = max(content.rfind(name) for name in (b"VP8 ", b"VP8L"))
    (size,) = struct.unpack_from("<I", content, at + 4)
    for kept in range(10, size - 16, size // 9):
        data = content[at + 8 : at + 8 + kept + kept % 2]
        body = content[8:at] + content[at : at + 4] + struct.pack("<I", len(data)) + data
        cut = b"RIFF" + struct.pack("<I", len(body)) + body
        with pytest.raises(MediaCorrupt):
            [*decode_frames(cut, replace(EXACT, frames=Frames.ALL), LIMITS)]


def test_trailing_bytes_are_harmless() -> None:
    for content in (*STILLS.values(), ANIMATION):
        np.testing.assert_array_equal(
            decode(content + b"junk", EXACT, LIMITS).pixels, decode(content, EXACT, LIMITS).pixels
        )


def test_two_sizes_are_corrupt() -> None:
    content = bytearray(STILLS["lossy alpha"])
    content[24] += 1
    with pytest.raises(MediaCorrupt, match="declares 65 x 48, its picture 64 x 48"):
        decode(bytes(content), EXACT, LIMITS)


def test_codes_count_in_the_estimate() -> None:
    """300 KB that make libwebp build 65,536 groups of codes, for a picture of a megapixel."""
    content = picture_of_groups(1024, 65_536)
    peak = probe(content, LIMITS).peak_bytes
    assert peak > 65_536 * 5 * 1024
    with pytest.raises(MediaTooLarge, match="at its peak"):
        decode(content, EXACT, Limits(max_decode_bytes=2**28))
    few = picture_of_groups(1024, 100)
    assert probe(few, LIMITS).peak_bytes < 16 * 2**20


def test_a_slow_decode_is_stopped_between_slices() -> None:
    content = encode(Image.fromarray(np.tile(PICTURE, (25, 30, 1))), "WEBP", method=0)
    header = probe(content, LIMITS)

    class Twice(Budget):
        looks = 0

        def check(self, ahead_ms: float = 0) -> None:
            self.looks += 1
            if self.looks > 2:
                raise TimedOut("stopped")

    with pytest.raises(TimedOut):
        libwebp.decode_still(content, header.width, header.height, libwebp.RGB, Twice(1))


@pytest.mark.parametrize("content", [*STILLS.values(), ANIMATION])
def test_without_libwebp_pillow_decodes_the_same(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = decode(content, EXACT, LIMITS)
    monkeypatch.setattr(libwebp, "is_available", lambda: False)
    image = decode(content, EXACT, LIMITS)
    np.testing.assert_array_equal(image.pixels, ours.pixels)
    assert image.provenance == ours.provenance
