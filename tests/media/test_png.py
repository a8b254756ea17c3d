"""PNG: every kind, layout and damage, animations, orientation, and what decoding may take."""

import io
import os
import random
import struct
import tracemalloc
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from featsvc.errors import InvalidInput, MediaCorrupt, MediaTooLarge, TimedOut, UnsupportedMedia
from featsvc.media import (
    Alpha,
    DecodeOptions,
    Frames,
    Limits,
    decode,
    decode_frames,
    probe,
)
from featsvc.media.exif import apply_orientation
from featsvc.media.formats import png
from featsvc.media.formats.png.chunks import CHANNELS, DEPTHS
from featsvc.media.task import Budget, Task
from tests.hashing.photographs import noise, photograph
from tests.media.write_apng import ANIMATION
from tests.media.write_png import SIGNATURE, Samples, chunk, damaged, header, write

LIMITS = Limits(max_aspect_ratio=1_000_000)
EXACT = DecodeOptions()
MUTANTS = int(os.environ.get("TEST_PNG_MUTANTS", "600"))
KINDS = [(colour, depth) for colour, depths in DEPTHS.items() for depth in depths]
GROUNDS = {Alpha.WHITE: 255, Alpha.BLACK: 0}
GREY = np.asarray(Image.fromarray(photograph("astronaut.png")).convert("L"))[100:172, 150:246]
WHOLE = write(GREY[:, :, None].astype(np.uint16), 8, 0, range(5), cuts=(500, 900))


def decoded(content: bytes, alpha: Alpha = Alpha.WHITE) -> NDArray[np.uint8]:
    return decode(content, replace(EXACT, alpha=alpha), LIMITS).pixels


def through_pillow(content: bytes, alpha: Alpha = Alpha.WHITE) -> NDArray[np.uint8]:
    """Pillow's pixels, of 16 bits the high byte, pasted by Pillow on the background."""
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        if picture.mode.startswith("I"):
            return (np.asarray(picture) >> 8).astype(np.uint8)
        if picture.mode not in ("RGBA", "LA", "PA") and "transparency" not in picture.info:
            return np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))
        rgba = picture.convert("RGBA")
        if alpha is Alpha.IGNORE:
            return np.asarray(rgba.convert("RGB"))
        flat = Image.new("RGB", rgba.size, (GROUNDS[alpha],) * 3)
        flat.paste(rgba, mask=rgba.getchannel("A"))
        return np.asarray(flat)


def flat(rgba: NDArray[np.uint8], alpha: Alpha) -> NDArray[np.uint8]:
    """RGBA on its background, as the standard says: to the nearest level."""
    if alpha is Alpha.IGNORE:
        return rgba[..., :3]
    share = rgba[..., 3:] / 255
    return np.rint(rgba[..., :3] * share + GROUNDS[alpha] * (1 - share)).astype(np.uint8)


def truth(
    samples: Samples, depth: int, colour: int, palette: bytes, transparency: bytes | None
) -> NDArray[np.uint8]:
    """What the samples show, as 8-bit RGBA (H, W, 4)."""
    rgba = np.full((*samples.shape[:2], 4), 255, np.uint8)
    wide = samples.astype(int)
    if colour == 3:
        alphas = np.full(256, 255)
        alphas[: len(transparency or b"")] = list(transparency or b"")
        rgba[..., :3] = np.frombuffer(palette, np.uint8).reshape(-1, 3)[wide[..., 0]]
        rgba[..., 3] = alphas[wide[..., 0]]
        return rgba
    eight = wide >> 8 if depth == 16 else wide * 255 // ((1 << depth) - 1)
    colours = 3 if colour in (2, 6) else 1
    rgba[..., :3] = eight[..., :colours]
    if colour in (4, 6):
        rgba[..., 3] = eight[..., -1]
    elif transparency is not None:
        key = np.frombuffer(transparency, ">u2").astype(int)
        rgba[..., 3] = np.where((wide == key).all(axis=-1), 0, 255)
    return rgba


@st.composite
def pictures(draw: st.DrawFn) -> tuple[bytes, NDArray[np.uint8], bool, bool]:
    """A file, the RGBA it shows, whether it decodes to grey, and whether Pillow is right."""
    colour, depth = draw(st.sampled_from(KINDS))
    height, width = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels = draw(st.sampled_from([2, 1 << depth]))
    samples = rng.integers(0, levels, (height, width, CHANNELS[colour])).astype(np.uint16)
    palette, transparency = b"", None
    keyed = draw(st.booleans()) and colour in (0, 2, 3)
    if colour == 3:
        palette = rng.bytes(3 * (1 << depth))
        transparency = rng.bytes(draw(st.integers(1, 1 << depth))) if keyed else None
    elif keyed:
        key = samples[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))]
        transparency = key.astype(">u2").tobytes()
    content = write(
        samples,
        depth,
        colour,
        draw(st.lists(st.integers(0, 4), min_size=1, max_size=8)),
        interlaced=draw(st.booleans()),
        palette=palette,
        transparency=transparency,
        cuts=draw(st.lists(st.integers(0, 300), max_size=5)),
    )
    pillow_is_right = not keyed or colour == 3 or depth in (1, 8)
    shown = truth(samples, depth, colour, palette, transparency)
    return content, shown, colour == 0 and not keyed, pillow_is_right


@settings(max_examples=150, deadline=None)
@given(picture=pictures(), alpha=st.sampled_from(Alpha))
def test_every_picture_decodes_to_its_pixels(
    picture: tuple[bytes, NDArray[np.uint8], bool, bool], alpha: Alpha
) -> None:
    content, shown, is_grey, pillow_is_right = picture
    pixels = decoded(content, alpha)
    wanted = flat(shown, alpha)
    np.testing.assert_array_equal(pixels, wanted[..., 0] if is_grey else wanted)
    assert pixels.flags.c_contiguous
    if pillow_is_right:
        np.testing.assert_array_equal(pixels, through_pillow(content, alpha))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("colour", [0, 2, 6])
def test_a_picture_of_many_strips(colour: int, interlaced: bool) -> None:
    samples = np.random.default_rng(3).integers(0, 256, (700, 301, CHANNELS[colour]))
    content = write(samples.astype(np.uint16), 8, colour, range(5), interlaced=interlaced)
    np.testing.assert_array_equal(decoded(content), through_pillow(content))


@pytest.mark.parametrize(("width", "height"), [(1, 70_000), (70_000, 1), (300_000, 2)])
def test_long_and_thin(width: int, height: int) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (height, 3 * width), dtype=np.uint8)
    rows = np.insert(pixels, 0, 0, axis=1)
    content = with_data(zlib.compress(rows.tobytes()), width=width, height=height, colour=2)
    np.testing.assert_array_equal(decoded(content), pixels.reshape(height, width, 3))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("height", "width"), [(7, 11), (1, 5), (5, 1), (1, 1)])
def test_pixels_are_turned_as_they_are_decoded(
    orientation: int, interlaced: bool, height: int, width: int
) -> None:
    for colour in (0, 2, 6):
        samples = np.random.default_rng(orientation).integers(
            0, 256, (height, width, CHANNELS[colour])
        )
        content = write(
            samples.astype(np.uint16), 8, colour, interlaced=interlaced, before=exif(orientation)
        )
        stored = decode(content, replace(EXACT, ignore_orientation=True), LIMITS)
        image = decode(content, EXACT, LIMITS)
        assert (stored.width, stored.height) == (width, height)
        assert (image.height, image.width) == image.pixels.shape[:2]
        assert image.provenance.orientation == stored.provenance.orientation == orientation
        assert image.pixels.flags.c_contiguous
        np.testing.assert_array_equal(image.pixels, apply_orientation(stored.pixels, orientation))


def block(orientation: int) -> bytes:
    """An EXIF block with nothing but the orientation."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"MM\0*\0\0\0\x08\0\x01" + entry + bytes(4)


def exif(orientation: int) -> bytes:
    return chunk(b"eXIf", block(orientation))


def profile(name: bytes, orientation: int, *, packed: bool) -> bytes:
    """A raw profile as ImageMagick writes it: 36 bytes a line."""
    data = (b"Exif\0\0" + block(orientation)).hex()
    lines = "\n".join(data[i : i + 72] for i in range(0, len(data), 72))
    text = f"\n{name.decode()}\n{len(data) // 2:8}\n{lines}\n".encode()
    key = b"Raw profile type " + name + b"\0"
    return (
        chunk(b"zTXt", key + b"\0" + zlib.compress(text)) if packed else chunk(b"tEXt", key + text)
    )


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize(
    ("chunks", "orientation"),
    [
        (exif(6), 6),
        (profile(b"exif", 3, packed=False), 3),
        (profile(b"exif", 8, packed=True), 8),
        (profile(b"APP1", 5, packed=False), 5),
        (profile(b"APP1", 7, packed=True), 7),
        (profile(b"exif", 3, packed=True) + exif(6), 6),
        (chunk(b"tEXt", b"Raw profile type APP1\0\nAPP1\n  4\n687474703a\n"), 0),
        (chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  4\nnothing in hex\n"), 0),
        (chunk(b"tEXt", b"Raw profile type exif\0"), 0),
        (chunk(b"zTXt", b"Raw profile type exif\0\0no zlib"), 0),
        (chunk(b"zTXt", b"Raw profile type exif\0"), 0),
        (chunk(b"eXIf", b"MM"), 0),
        (damaged(exif(6)), 0),
        (exif(9), 0),
    ],
)
def test_orientation(chunks: bytes, orientation: int, place: str) -> None:
    samples = GREY[:, :, None].astype(np.uint16)
    content = (
        write(samples, 8, 0, before=chunks)
        if place == "before"
        else write(samples, 8, 0, after=chunks)
    )
    assert decode(content, EXACT, LIMITS).provenance.orientation == orientation


def test_a_text_that_inflates_without_end_is_cut() -> None:
    bomb = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\n" * 2**24))
    content = write(GREY[:, :, None].astype(np.uint16), 8, 0, before=bomb * 3)
    tracemalloc.start()
    decode(content, EXACT, LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**21


# Damage


def with_data(data: bytes, *, width: int = 8, height: int = 8, colour: int = 0) -> bytes:
    """A file of any pixel data."""
    return b"".join(
        (SIGNATURE, header(width, height, 8, colour), chunk(b"IDAT", data), chunk(b"IEND"))
    )


ROWS = bytes(9) * 8
DATA = zlib.compress(ROWS)
PALETTE = chunk(b"PLTE", bytes(range(9)))
IHDR, IEND = header(8, 8, 8, 0), chunk(b"IEND")
PALETTE_IHDR = header(8, 8, 8, 3)
IDAT = chunk(b"IDAT", DATA)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (with_data(zlib.compress(ROWS[:36])), "fewer pixels than its header says"),
        (with_data(zlib.compress(ROWS[:-1])), "fewer pixels than its header says"),
        (with_data(DATA[:-4]), "pixel data end too early"),
        (with_data(DATA[:5]), "pixel data end too early"),
        (with_data(b""), "pixel data end too early"),
        (with_data(DATA[:-1] + bytes([DATA[-1] ^ 1])), "pixel data are damaged"),
        (with_data(b"\0" + DATA[1:]), "pixel data are damaged"),
        (with_data(zlib.compress(ROWS[:-9] + b"\5" + ROWS[-8:])), "row 7 has filter 5"),
        (SIGNATURE + IHDR + damaged(IDAT) + IEND, "checksum of its IDAT"),
        (SIGNATURE + damaged(IHDR) + IDAT + IEND, "checksum of its IHDR"),
        (SIGNATURE + PALETTE_IHDR + damaged(PALETTE) + IDAT + IEND, "checksum of its PLTE"),
        (SIGNATURE + IHDR + damaged(chunk(b"tRNS", b"\0\0")) + IDAT + IEND, "checksum of its tRNS"),
        # A changed letter turned the transparent colour into a chunk of no known name.
        (
            SIGNATURE + IHDR + chunk(b"tRNS", b"\0\0").replace(b"tRNS", b"tRNs") + IDAT + IEND,
            "checksum of its tRNs",
        ),
        (SIGNATURE + IHDR + IDAT[:-1], "IDAT chunk ends too early"),
        (SIGNATURE + IHDR + IDAT[:7], "ends inside a chunk"),
        (SIGNATURE + IHDR + IEND, "IEND chunk comes before the pixel data"),
        (SIGNATURE + IHDR, "no pixel data"),
        (SIGNATURE, "does not begin with a header"),
        (SIGNATURE + IDAT + IHDR + IEND, "does not begin with a header"),
        (SIGNATURE + chunk(b"IHDR", bytes(12)) + IDAT, "does not begin with a header"),
        (SIGNATURE + IHDR + IHDR + IDAT + IEND, "IHDR chunk comes before"),
        (SIGNATURE + IHDR + bytes(12) + IDAT + IEND, "at byte 33 there is no chunk"),
        (SIGNATURE + PALETTE_IHDR + IDAT + IEND, r"palette \(PLTE\) is missing"),
        (SIGNATURE + PALETTE_IHDR + IDAT + PALETTE + IEND, r"palette \(PLTE\) is missing"),
        (SIGNATURE + PALETTE_IHDR + chunk(b"PLTE", b"") + IDAT, "not one of 1 to 256 colours"),
        (SIGNATURE + PALETTE_IHDR + chunk(b"PLTE", bytes(8)) + IDAT, "not one of 1 to 256"),
        (SIGNATURE + PALETTE_IHDR + chunk(b"PLTE", bytes(771)) + IDAT, "not one of 1 to 256"),
        (SIGNATURE + PALETTE_IHDR + PALETTE * 2 + IDAT, "not one of 1 to 256"),
        (SIGNATURE + PALETTE_IHDR + chunk(b"tRNS", b"\0") + PALETTE + IDAT, "before the palette"),
        (SIGNATURE + IHDR + chunk(b"tRNS", b"\0") + IDAT + IEND, "has 1 bytes"),
        (SIGNATURE + IHDR + chunk(b"tRNS", b"\0\0") * 2 + IDAT + IEND, "two tRNS"),
        (SIGNATURE + header(8, 8, 3, 0) + IDAT + IEND, "colour type 0 with 3 bits"),
        (SIGNATURE + header(8, 8, 4, 2) + IDAT + IEND, "colour type 2 with 4 bits"),
        (SIGNATURE + header(8, 8, 8, 1) + IDAT + IEND, "colour type 1 with 8 bits"),
        (SIGNATURE + chunk(b"IHDR", IHDR[8:20] + b"\2") + IDAT, "interlacing 2 is unknown"),
        (SIGNATURE + chunk(b"IHDR", IHDR[8:18] + b"\1\0\0") + IDAT, "compression 1"),
        (SIGNATURE + chunk(b"IHDR", IHDR[8:19] + b"\x40\0") + IDAT, "filter 64"),
        (
            SIGNATURE
            + PALETTE_IHDR
            + PALETTE
            + chunk(b"IDAT", zlib.compress((b"\0" + b"\3" * 8) * 8)),
            "colour 3 of a palette of 3",
        ),
    ],
)
def test_damage_that_concerns_pixels_is_named(content: bytes, message: str) -> None:
    with pytest.raises(MediaCorrupt, match=message) as caught:
        decode(content, EXACT, LIMITS)
    assert "send the whole file" in str(caught.value)


BAD_TEXT = damaged(chunk(b"tEXt", b"Comment\0lost"))


@pytest.mark.parametrize(
    "content",
    [
        with_data(zlib.compress(ROWS + bytes(9))),
        with_data(DATA + b"junk"),
        SIGNATURE + IHDR + IDAT,
        SIGNATURE + IHDR + IDAT + IEND[:5],
        SIGNATURE + IHDR + IDAT + b"junk",
        SIGNATURE + IHDR + IDAT + IEND + b"junk" * 99,
        SIGNATURE + IHDR + IDAT + damaged(IEND),
        SIGNATURE + IHDR + BAD_TEXT + IDAT + BAD_TEXT + IEND,
        SIGNATURE + IHDR + chunk(b"iCCP", b"bad") + chunk(b"gAMA", b"") + IDAT + IEND,
        SIGNATURE + IHDR + PALETTE + IDAT + IEND,
        SIGNATURE + IHDR + chunk(b"IDAT") + IDAT[:0] + IDAT + chunk(b"IDAT") + IEND,
        SIGNATURE + header(8, 8, 8, 3) + PALETTE + chunk(b"tRNS", b"\xff" * 300) + IDAT + IEND,
        SIGNATURE + IHDR + chunk(b"acTL", bytes(8)) + IDAT + IEND,
        SIGNATURE + IHDR + chunk(b"acTL", b"\0\0\0\1" * 2) * 2 + IDAT + IEND,
    ],
)
def test_damage_that_concerns_no_pixel_is_harmless(content: bytes) -> None:
    pixels = decoded(content)
    first = [0, 1, 2] if pixels.ndim == 3 else 0
    np.testing.assert_array_equal(pixels, np.zeros_like(pixels) + np.array(first))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (SIGNATURE + chunk(b"CgBI", bytes(4)) + IHDR + IDAT + IEND, "Apple's CgBI"),
        (SIGNATURE + IHDR + chunk(b"ABCD") + IDAT + IEND, "a ABCD chunk"),
    ],
)
def test_other_formats_in_the_same_chunks_are_unsupported(content: bytes, what: str) -> None:
    with pytest.raises(UnsupportedMedia, match=what):
        decode(content, EXACT, LIMITS)


def test_a_window_that_is_declared_too_small_is_no_damage() -> None:
    """Old encoders wrote such headers; zlib reads them."""
    picture = np.asarray(noise(1, 60, 60))
    data = bytearray(zlib.compress(b"".join(b"\0" + row.tobytes() for row in picture) * 2))
    data[:2] = b"\x18\x19"
    content = with_data(bytes(data), width=60, height=120, colour=2)
    np.testing.assert_array_equal(decoded(content), np.concatenate((picture, picture)))


@pytest.mark.parametrize("at", range(8, len(WHOLE), 7))
def test_a_file_that_is_cut_anywhere_is_whole_or_corrupt(at: int) -> None:
    whole = decoded(WHOLE)
    if at < len(WHOLE) - 12:
        with pytest.raises(MediaCorrupt, match="send the whole file"):
            decode(WHOLE[:at], EXACT, LIMITS)
    else:
        np.testing.assert_array_equal(decoded(WHOLE[:at]), whole)


def refreshed(content: bytes) -> bytes:
    """The file with the right checksum for each chunk, so that damage gets further."""
    out, at = bytearray(content), 8
    while at + 12 <= len(out):
        (length,) = struct.unpack_from(">I", out, at)
        if at + 12 + length > len(out):
            break
        check = zlib.crc32(out[at + 4 : at + 8 + length])
        struct.pack_into(">I", out, at + 8 + length, check)
        at += 12 + length
    return bytes(out)


def seeds() -> Sequence[bytes]:
    """Small files of all kinds, and an animation."""
    rng = np.random.default_rng(7)
    files = [WHOLE, ANIMATION]
    for colour, depth in KINDS:
        samples = rng.integers(0, 1 << depth, (9, 13, CHANNELS[colour])).astype(np.uint16)
        palette = rng.bytes(3 << depth) if colour == 3 else b""
        for interlaced in (False, True):
            key = {0: b"\0\1", 2: bytes(6), 3: b"\0\x80"}.get(colour)
            files.append(
                write(
                    samples,
                    depth,
                    colour,
                    range(5),
                    interlaced=interlaced,
                    palette=palette,
                    transparency=key if interlaced else None,
                    before=exif(6),
                )
            )
    return files


@pytest.mark.slow
def test_mutated_files_decode_to_whole_pictures_or_fail_as_they_should() -> None:
    """Where checksums are kept, a changed file must not be OK with other pixels."""
    files, rng = seeds(), random.Random(5)
    every = replace(EXACT, frames=Frames.ALL)
    whole = [[image.pixels for image in decode_frames(file, every, LIMITS)] for file in files]
    tight = Limits(max_pixels=10_000, max_decode_ms=5_000)
    outcomes: dict[str, int] = {}
    for number in range(MUTANTS):
        which = rng.randrange(len(files))
        content = mutate(files[which], rng)
        keeps_checksums = number % 2 == 0
        if not keeps_checksums:
            content = refreshed(content)
        try:
            pixels = [image.pixels for image in decode_frames(content, every, tight)]
        except InvalidInput as exc:
            outcomes[exc.reason] = outcomes.get(exc.reason, 0) + 1
            continue
        outcomes["OK"] = outcomes.get("OK", 0) + 1
        if keeps_checksums:
            for image, frame in zip(pixels, whole[which], strict=True):
                turned = apply_orientation(image, 6), apply_orientation(image, 8), image
                assert any(np.array_equal(frame, candidate) for candidate in turned)
    assert {"OK", "MEDIA_CORRUPT"} <= outcomes.keys()


def mutate(content: bytes, rng: random.Random) -> bytes:
    """One to three bytes changed, taken out or put in, or the end cut off."""
    out = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(8, len(out))
        way = rng.randrange(4)
        if way == 0:
            out[at] = rng.choice([0, 1, 127, 128, 255, out[at] ^ 1 << rng.randrange(8)])
        elif way == 1:
            del out[at : at + rng.randint(1, 4)]
        elif way == 2:
            out[at:at] = rng.randbytes(rng.randint(1, 4))
        else:
            del out[max(at, len(out) - 40) :]
        if len(out) < 40:
            break
    return bytes(out)


# What decoding takes


def test_data_without_end_are_not_inflated() -> None:
    content = with_data(zlib.compress(bytes(2**25)))
    tracemalloc.start()
    np.testing.assert_array_equal(decoded(content), np.zeros((8, 8)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("name", [b"IDAT", b"tEXt"])
def test_millions_of_empty_chunks_are_not_read(name: bytes) -> None:
    many = chunk(name) * 200_000
    with pytest.raises(MediaTooLarge, match="cut into more than"):
        decode(SIGNATURE + IHDR + many + IDAT + IEND, EXACT, LIMITS)
    np.testing.assert_array_equal(decoded(SIGNATURE + IHDR + IDAT + many), np.zeros((8, 8)))


def test_data_in_chunks_of_one_byte() -> None:
    samples = GREY[:40, :40, None].astype(np.uint16)
    content = write(samples, 8, 0, (4,), cuts=range(1, 5_000))
    np.testing.assert_array_equal(decoded(content), GREY[:40, :40])


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), [(0, 1), (0, 8), (2, 8), (2, 16), (3, 8), (6, 16)])
def test_the_estimated_peak_holds(colour: int, depth: int, interlaced: bool) -> None:
    samples = np.zeros((900, 1_100, CHANNELS[colour]), np.uint16)
    content = write(
        samples, depth, colour, interlaced=interlaced, palette=bytes(3) if colour == 3 else b"",
        before=exif(6),
    )  # fmt: skip
    estimate = probe(content, LIMITS).peak_bytes
    decoded(content)
    tracemalloc.start()
    pixels = decoded(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pixels.nbytes <= peak <= estimate <= pixels.nbytes + 3 * 2**20


def test_the_budget_is_looked_at_in_every_strip() -> None:
    content = write(np.zeros((100, 2_000, 4), np.uint16), 16, 6)
    looks = []

    class Counting(Budget):
        def check(self, ahead_ms: float = 0) -> None:
            looks.append(self)
            if len(looks) == 5:
                raise TimedOut("enough")

    task = Task(content, probe(content, LIMITS), EXACT, LIMITS, Counting(1))
    with pytest.raises(TimedOut, match="enough"):
        next(png.decode(task))
    assert len(looks) == 5
