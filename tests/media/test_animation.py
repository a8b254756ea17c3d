"""APNG: frames as the animation shows them, and its damage."""

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from featsvc.errors import MediaCorrupt
from featsvc.media import Alpha, DecodeOptions, Frames, Limits, decode, decode_frames
from tests.hashing.photographs import photograph
from tests.media.write_apng import Frame, animate, control, rgba
from tests.media.write_png import SIGNATURE, chunk, damaged, header

EXACT = DecodeOptions()
LIMITS = Limits()
GROUNDS = {Alpha.WHITE: 255, Alpha.BLACK: 0}
ROWS = bytes(9) * 8
IHDR, IEND = header(8, 8, 8, 0), chunk(b"IEND")
IDAT = chunk(b"IDAT", zlib.compress(ROWS))


def composed(frames: Sequence[Frame], size: tuple[int, int]) -> list[NDArray[np.float64]]:
    """The canvas after each frame, as the standard says, in exact shares of 1."""
    canvas = np.zeros((size[1], size[0], 4))
    shown = []
    for number, ((left, top, width, height), disposal, blend, pixels) in enumerate(frames):
        area = canvas[top : top + height, left : left + width]
        before, source = area.copy(), pixels / 255
        if blend == 1:
            share = source[..., 3:] + area[..., 3:] * (1 - source[..., 3:])
            sums = source[..., :3] * source[..., 3:] + area[..., :3] * area[..., 3:] * (
                1 - source[..., 3:]
            )
            colours = np.where(share > 0, sums / np.where(share > 0, share, 1), area[..., :3])
            area[:] = np.concatenate((colours, share), axis=-1)
        else:
            area[:] = source
        shown.append(canvas.copy())
        if disposal == 1 or (disposal == 2 and number == 0):
            area[:] = 0
        elif disposal == 2:
            area[:] = before
    return shown


@st.composite
def animations(draw: st.DrawFn) -> tuple[list[Frame], tuple[int, int], bool]:
    width, height = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    hidden = draw(st.booleans())
    frames: list[Frame] = []
    for number in range(draw(st.integers(1, 5))):
        left = top = 0
        w, h = width, height
        if number or hidden:
            left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
            w, h = draw(st.integers(1, width - left)), draw(st.integers(1, height - top))
        pixels = rgba(draw(st.integers(0, 99)), w, h)
        if draw(st.booleans()):
            pixels[..., 3] = np.where(pixels[..., 3] < 128, 0, 255)
        frames.append(((left, top, w, h), draw(st.integers(0, 2)), draw(st.integers(0, 1)), pixels))
    return frames, (width, height), hidden


@settings(max_examples=80, deadline=None)
@given(animation=animations(), alpha=st.sampled_from([Alpha.WHITE, Alpha.BLACK]))
def test_frames_are_composed_as_the_standard_says(
    animation: tuple[list[Frame], tuple[int, int], bool], alpha: Alpha
) -> None:
    frames, size, hidden = animation
    content = animate(frames, size, hidden=hidden)
    options = replace(EXACT, alpha=alpha, frames=Frames.ALL)
    images = list(decode_frames(content, options, LIMITS))
    assert [(image.frame, image.frames) for image in images] == [
        (i, len(frames)) for i in range(len(frames))
    ]
    for number, (image, canvas) in enumerate(zip(images, composed(frames, size), strict=True)):
        share = canvas[..., 3:]
        wanted = 255 * canvas[..., :3] * share + GROUNDS[alpha] * (1 - share)
        # Each frame may round the canvas by half a level.
        assert np.abs(image.pixels - wanted).max() <= 1 + number
    first = decode(content, options, LIMITS)
    np.testing.assert_array_equal(first.pixels, images[0].pixels)
    assert first.frames == len(frames)


def test_opaque_animations_equal_pillow() -> None:
    pictures = [Image.fromarray(photograph("astronaut.png")[i : i + 60, :80]) for i in (0, 9, 40)]
    for mode in ("RGB", "L", "P", "RGBA"):
        out = io.BytesIO()
        first, *rest = [picture.convert(mode) for picture in pictures]
        first.save(out, "PNG", save_all=True, append_images=rest, blend=1, disposal=0)
        content = out.getvalue()
        with Image.open(io.BytesIO(content)) as reader:
            for image in decode_frames(content, replace(EXACT, frames=Frames.ALL), LIMITS):
                reader.seek(image.frame)
                wanted = np.asarray(reader.convert("RGB"))
                pixels = image.pixels if image.pixels.ndim == 3 else image.pixels[..., None]
                np.testing.assert_array_equal(pixels + np.zeros_like(wanted), wanted)


BOX = (0, 0, 8, 8)
ACTL = chunk(b"acTL", struct.pack(">II", 2, 0))
START = SIGNATURE + IHDR + ACTL + control(0, BOX) + IDAT
PART = zlib.compress(ROWS)
FDAT = chunk(b"fdAT", struct.pack(">I", 2) + PART)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (START + IEND, "fewer frames than 2"),
        (START + control(1, BOX) + IEND, "fewer frames than 2"),
        (START + control(1, BOX) + control(2, BOX) + IEND, "a frame of its animation has no data"),
        (START + control(2, BOX) + FDAT + IEND, "out of order"),
        (START + control(1, BOX) + chunk(b"fdAT", b"\0\0\0\3" + PART) + IEND, "out of order"),
        (START + control(1, BOX) + chunk(b"fdAT", b"\0") + IEND, "out of order"),
        (START + control(1, (1, 0, 8, 8)) + FDAT + IEND, "outside the picture"),
        (START + control(1, (0, 0, 0, 8)) + FDAT + IEND, "outside the picture"),
        (START + control(1, BOX, 3) + FDAT + IEND, "outside the picture or is of no known way"),
        (START + control(1, BOX, 0, 2) + FDAT + IEND, "outside the picture or is of no known way"),
        (START + chunk(b"fdAT", struct.pack(">I", 1) + PART) + IEND, "data without a frame"),
        (START + damaged(control(1, BOX)) + FDAT + IEND, "checksum of its fcTL"),
        (START + control(1, BOX) + damaged(FDAT) + IEND, "checksum of its fdAT"),
        (START + control(1, BOX) + FDAT[:20], "fdAT chunk ends too early"),
        (START + chunk(b"fcTL", b"\0\0\0\1") + FDAT + IEND, "fcTL chunk has 4 bytes"),
        (SIGNATURE + IHDR + chunk(b"acTL", b"\0") + IDAT + IEND, "acTL chunk has 1 bytes"),
        (SIGNATURE + IHDR + damaged(ACTL) + IDAT + IEND, "checksum of its acTL"),
        (
            SIGNATURE + IHDR + ACTL + control(0, (0, 0, 4, 8)) + IDAT + IEND,
            "first frame of its animation is smaller",
        ),
    ],
)
def test_a_damaged_animation(content: bytes, message: str) -> None:
    with pytest.raises(MediaCorrupt, match=message):
        list(decode_frames(content, replace(EXACT, frames=Frames.ALL), LIMITS))


def test_the_first_frame_of_a_damaged_animation_is_whole() -> None:
    pixels = decode(START, EXACT, LIMITS).pixels
    np.testing.assert_array_equal(pixels, np.zeros((8, 8)))
