"""GIF: whole or refused, also where its data ends early but cleanly."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featsvc.errors import MediaCorrupt
from featsvc.media import DecodeOptions, Frames, Limits, decode, decode_frames, probe
from tests.hashing.photographs import encode, photograph

EXACT, LIMITS = DecodeOptions(), Limits()
EVERY = replace(EXACT, frames=Frames.ALL)
RGB = Image.fromarray(photograph("astronaut.png")[100:140, 150:200])
FRAMES = [RGB.rotate(angle) for angle in (0, 20, 40)]
ANIMATION = encode(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:])


def parts(content: bytes) -> tuple[bytes, bytes]:
    """What stands before the data of the only picture, and the data without its blocks."""
    at = 13 + (3 << (content[10] & 7) + 1 if content[10] & 0x80 else 0)
    while content[at] == 0x21:
        at += 2
        while content[at]:
            at += content[at] + 1
        at += 1
    flags = content[at + 9]
    start = at = at + 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    data = b""
    while content[at]:
        data += content[at + 1 : at + 1 + content[at]]
        at += content[at] + 1
    return content[:start], data


def blocks(data: bytes) -> bytes:
    pieces = [data[i : i + 255] for i in range(0, len(data), 255)]
    return b"".join(bytes((len(piece),)) + piece for piece in pieces) + b"\0;"


def whole_or_corrupt(content: bytes, whole: NDArray[np.uint8]) -> None:
    try:
        pixels = decode(content, EXACT, LIMITS).pixels
    except MediaCorrupt:
        return
    np.testing.assert_array_equal(pixels, whole)


@pytest.mark.parametrize("interlace", [0, 1])
def test_data_that_ends_early_is_corrupt(interlace: int) -> None:
    content = encode(RGB, "GIF", interlace=interlace)
    whole = decode(content, EXACT, LIMITS).pixels
    head, data = parts(content)
    for size in range(0, len(data), 23):
        whole_or_corrupt(head + blocks(data[:size]), whole)
        whole_or_corrupt(content[: len(head) + size], whole)
    with pytest.raises(MediaCorrupt):
        decode(head + blocks(data[: len(data) // 2]), EXACT, LIMITS)


def test_missing_frames_are_corrupt_where_all_are_asked_for() -> None:
    """Without the end mark nobody knows how many frames there were."""
    cut = ANIMATION[: ANIMATION.rindex(b"\x21\xf9")]
    assert probe(cut, LIMITS).frames == 2
    np.testing.assert_array_equal(
        decode(cut, EXACT, LIMITS).pixels, decode(ANIMATION, EXACT, LIMITS).pixels
    )
    with pytest.raises(MediaCorrupt, match="frames may be missing"):
        [*decode_frames(cut, EVERY, LIMITS)]
    assert len([*decode_frames(ANIMATION, EVERY, LIMITS)]) == 3


def test_a_gif_without_a_picture_is_corrupt() -> None:
    with pytest.raises(MediaCorrupt, match="no picture"):
        decode(ANIMATION[:13] + b";", EXACT, LIMITS)


def test_trailing_bytes_are_harmless() -> None:
    for content in (encode(RGB, "GIF"), ANIMATION):
        np.testing.assert_array_equal(
            decode(content + b"junk", EXACT, LIMITS).pixels, decode(content, EXACT, LIMITS).pixels
        )
