"""AVIF and HEIC: what the boxes say is what is shown, and what they cannot mean is refused."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featsvc.errors import FeatsvcError, MediaCorrupt, MediaTooLarge, UnsupportedMedia
from featsvc.media import DecodeOptions, Frames, Kind, Limits, decode, decode_frames, probe
from featsvc.media.codecs import libavif
from featsvc.media.exif import apply_orientation
from tests.hashing.photographs import encode, photograph
from tests.media import write_isobmff as write
from tests.media.write_isobmff import clap, imir, irot, with_properties

EXACT, LIMITS = DecodeOptions(), Limits()
PICTURE = photograph("astronaut.png")[100:148, 150:214]
CONTENT = encode(Image.fromarray(PICTURE), "AVIF", speed=10, quality=90)


def stored() -> NDArray[np.uint8]:
    """What Pillow shows, which neither crops nor turns."""
    return np.asarray(Image.open(io.BytesIO(CONTENT)))


def shown(content: bytes) -> NDArray[np.uint8]:
    return decode(content, EXACT, LIMITS).pixels


def assert_close(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> None:
    """A crop is converted with another rounding than Pillow's."""
    assert a.shape == b.shape
    assert np.abs(a.astype(int) - b).max() <= 3


CROP = clap((32, 1), (24, 1), (-4, 1), (2, 1))
CROPPED = np.s_[14:38, 12:44]


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("cropped", [False, True])
def test_steps_are_taken_in_their_order(quarters: int, axis: int | None, cropped: bool) -> None:
    steps = [irot(quarters)]
    wanted = stored()
    if cropped:
        steps.insert(0, CROP)
        wanted = wanted[CROPPED]
    before = wanted
    wanted = np.rot90(wanted, quarters)
    if axis is not None:
        steps.append(imir(axis))
        wanted = wanted[:, ::-1] if axis else wanted[::-1]
    content = with_properties(CONTENT, *steps)
    image = decode(content, EXACT, LIMITS)
    assert_close(image.pixels, wanted)
    assert (image.height, image.width) == wanted.shape[:2]
    assert image.provenance.orientation_applied
    ignored = decode(content, replace(EXACT, ignore_orientation=True), LIMITS)
    assert_close(ignored.pixels, before)
    turned = apply_orientation(ignored.pixels, image.provenance.orientation)
    np.testing.assert_array_equal(turned, image.pixels)


def test_a_mirror_before_a_turn_is_another_picture() -> None:
    mirrored = stored()[:, ::-1]
    np.testing.assert_array_equal(
        shown(with_properties(CONTENT, imir(1), irot(1))), np.rot90(mirrored)
    )


def test_a_crop_after_a_turn_counts_in_turned_pixels() -> None:
    turned = np.rot90(stored())
    content = with_properties(CONTENT, irot(1), clap((24, 1), (32, 1), (0, 1), (0, 1)))
    assert_close(shown(content), turned[16:48, 12:36])


def test_turns_of_exif_do_not_count() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode(Image.fromarray(PICTURE), "AVIF", speed=10, exif=exif)
    assert content.count(b"irot") == 1
    assert shown(content).shape == (64, 48, 3)
    at = content.index(b"irot") + 4
    upright = content[:at] + b"\0" + content[at + 1 :]
    assert shown(upright).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("box", "error", "message"),
    [
        (clap((66, 1), (24, 1), (0, 1), (0, 1)), MediaCorrupt, "outside of its 64 x 48"),
        (clap((32, 1), (24, 1), (17, 1), (0, 1)), MediaCorrupt, "outside of its"),
        (clap((0, 1), (24, 1), (0, 1), (0, 1)), MediaCorrupt, "outside of its"),
        (clap((32, 0), (24, 1), (0, 1), (0, 1)), MediaCorrupt, "divides by zero"),
        (clap((31, 1), (24, 1), (0, 1), (0, 1)), UnsupportedMedia, "between two pixels"),
        (clap((63, 2), (24, 1), (0, 1), (0, 1)), UnsupportedMedia, "between two pixels"),
        (b"\0\0\0\x0cclap\0\0\0\0", MediaCorrupt, "cut short"),
    ],
)
def test_a_crop_that_means_nothing_is_refused(
    box: bytes, error: type[FeatsvcError], message: str
) -> None:
    with pytest.raises(error, match=message):
        decode(with_properties(CONTENT, box), EXACT, LIMITS)


def test_without_libavif_a_crop_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libavif, "is_available", lambda: False)
    np.testing.assert_array_equal(shown(CONTENT), stored())
    with pytest.raises(UnsupportedMedia, match="does not crop"):
        shown(with_properties(CONTENT, CROP))


def test_half_pixels_that_add_up_are_whole() -> None:
    content = with_properties(CONTENT, clap((31, 1), (23, 1), (1, 2), (-1, 2)))
    assert_close(shown(content), stored()[12:35, 17:48])


@pytest.mark.slow
def test_a_truncated_avif_is_whole_or_corrupt() -> None:
    whole = shown(CONTENT)
    for size in range(12, len(CONTENT)):
        try:
            pixels = shown(CONTENT[:size])
        except (MediaCorrupt, UnsupportedMedia):
            continue
        np.testing.assert_array_equal(pixels, whole)


def test_trailing_bytes_are_harmless() -> None:
    np.testing.assert_array_equal(shown(CONTENT + b"junk after it"), stored())


def edited(name: bytes, offset: int, value: bytes) -> bytes:
    """The AVIF with bytes written at a place of a box's payload."""
    at = CONTENT.index(name) + 4 + offset
    return CONTENT[:at] + value + CONTENT[at + len(value) :]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (edited(b"pitm", 4, b"\0\7"), MediaCorrupt, "no primary picture"),
        (edited(b"iloc", 18, b"\x7f\0\0\0"), MediaCorrupt, "does not hold all bytes"),
        (edited(b"infe", 8, b"iovl"), UnsupportedMedia, "an overlay of pictures"),
        (edited(b"infe", 8, b"iden"), UnsupportedMedia, "a derived picture"),
        (edited(b"infe", 8, b"hvc1"), MediaCorrupt, "no parameters of its picture"),
        (CONTENT.replace(b"avif", b"mif1").replace(b"MA1B", b"mif1"), UnsupportedMedia, "brand"),
    ],
)
def test_what_cannot_be_shown_is_named(
    content: bytes, error: type[FeatsvcError], message: str
) -> None:
    with pytest.raises(error, match=message):
        decode(content, EXACT, LIMITS)


def test_the_stream_bounds_the_decoder_not_the_box() -> None:
    """The box says 64 x 1, the stream of the picture more: the stream is what is decoded."""
    content = edited(b"ispe", 4, struct.pack(">II", 64, 1))
    assert probe(content, LIMITS).width * probe(content, LIMITS).height == PICTURE[..., 0].size
    with pytest.raises(MediaTooLarge):
        probe(content, Limits(max_pixels=1000))


def test_a_sequence_shows_its_frames() -> None:
    pictures = [Image.fromarray(np.roll(PICTURE, shift, 1)) for shift in (0, 9, 18)]
    content = encode(pictures[0], "AVIF", speed=10, save_all=True, append_images=pictures[1:])
    assert probe(content, LIMITS).frames == 3
    images = [*decode_frames(content, replace(EXACT, frames=Frames.ALL), LIMITS)]
    with Image.open(io.BytesIO(content)) as oracle:
        for index, image in enumerate(images):
            oracle.seek(index)
            np.testing.assert_array_equal(image.pixels, np.asarray(oracle))
    assert [(image.frame, image.frames) for image in images] == [(0, 3), (1, 3), (2, 3)]
    with pytest.raises(MediaTooLarge, match="frames"):
        [*decode_frames(content, replace(EXACT, frames=Frames.ALL), Limits(max_frames=2))]


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_the_header_says_what_the_stream_holds(bits: int) -> None:
    if bits == 8:
        content = write.avif(Kind(compression="4:2:0"), Image.fromarray(PICTURE))
    else:
        content = (write.SAMPLES / f"{bits}_420.avif").read_bytes()
    kind = probe(content, LIMITS).kind
    assert (kind.colour, kind.bits, kind.compression) == ("rgb", bits, "4:2:0")
