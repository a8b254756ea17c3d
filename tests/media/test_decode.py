"""Decoding: every format and option, and every kind of bad input."""

import struct
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from featsvc.errors import (
    InvalidInput,
    MediaCorrupt,
    MediaTooLarge,
    TimedOut,
    UnsupportedMedia,
)
from featsvc.media import (
    Alpha,
    DecodeOptions,
    Fidelity,
    Frames,
    Limits,
    decode,
    decode_frames,
    probe,
)
from featsvc.media.codecs import libheif
from featsvc.media.exif import apply_orientation
from tests.hashing.photographs import encode, noise, photograph

PHOTO = photograph("astronaut.png")
RGB = Image.fromarray(PHOTO)
EXACT = DecodeOptions()
LIMITS = Limits()
AVIF = pytest.param("AVIF", marks=pytest.mark.slow)  # slow to encode
ALL_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF")


def png(
    width: int,
    height: int,
    rows: bytes,
    *,
    depth: int = 8,
    colour: int = 0,
    interlaced: bool = False,
) -> bytes:
    """A PNG of raw rows, each after its filter byte: Pillow writes neither Adam7 nor 16-bit RGB."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    magic = b"\x89PNG\r\n\x1a\n"
    data = chunk(b"IDAT", zlib.compress(rows))
    return magic + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def png_header(width: int, height: int) -> bytes:
    """A small PNG whose header declares any size."""
    return png(width, height, bytes(1000))


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_keep_the_pixels(file_format: str) -> None:
    image = decode(encode(RGB, file_format), EXACT, LIMITS)
    np.testing.assert_array_equal(image.pixels, PHOTO)
    assert (image.width, image.height, image.frames) == (512, 512, 1)
    assert image.provenance.orientation == 0


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("WEBP", {"quality": 95}),
        pytest.param("AVIF", {"quality": 95}, marks=pytest.mark.slow),
        ("GIF", {}),
    ],
)
def test_lossy_formats_are_close(file_format: str, options: dict[str, object]) -> None:
    image = decode(encode(RGB, file_format, **options), EXACT, LIMITS)
    assert image.pixels.shape == PHOTO.shape
    assert np.abs(image.pixels.astype(int) - PHOTO).mean() < 8


def test_pixels_are_contiguous_uint8() -> None:
    for file_format in ALL_FORMATS:
        pixels = decode(encode(RGB, file_format), EXACT, LIMITS, luma_suffices=True).pixels
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous


def test_jpeg_luma_plane_is_taken_only_where_it_suffices() -> None:
    content = encode(RGB, "JPEG", quality=90)
    assert decode(content, EXACT, LIMITS).pixels.ndim == 3
    image = decode(content, EXACT, LIMITS, luma_suffices=True)
    assert image.pixels.shape == (512, 512)
    assert image.provenance.luma_plane
    small = encode(RGB.resize((511, 600)), "JPEG", quality=90)
    assert not decode(small, EXACT, LIMITS, luma_suffices=True).provenance.luma_plane


def test_grey_jpeg_is_not_a_luma_plane() -> None:
    image = decode(encode(RGB.convert("L"), "JPEG"), EXACT, LIMITS, luma_suffices=True)
    assert image.pixels.ndim == 2
    assert not image.provenance.luma_plane


@pytest.mark.parametrize(
    ("size", "denominator", "shape"),
    [
        ((1023, 1500), 2, (750, 512)),
        ((1022, 1500), 1, (1500, 1022)),
        ((2048, 2100), 4, (525, 512)),
        ((4096, 4200), 8, (525, 512)),
    ],
)
def test_fast_scales_while_512_pixels_stay(
    size: tuple[int, int], denominator: int, shape: tuple[int, int]
) -> None:
    content = encode(RGB.resize(size), "JPEG")
    image = decode(content, replace(EXACT, fidelity=Fidelity.FAST), LIMITS)
    assert image.provenance.scale_denominator == denominator
    assert image.pixels.shape[:2] == shape
    assert (image.width, image.height) == size
    assert decode(content, EXACT, LIMITS).provenance.scale_denominator == 1


def test_cmyk_jpeg_shows_the_same_picture() -> None:
    image = decode(encode(RGB.convert("CMYK"), "JPEG", quality=95), EXACT, LIMITS)
    assert np.abs(image.pixels.astype(int) - PHOTO).mean() < 8


def test_16_bit_grey_keeps_its_tones() -> None:
    grey = np.asarray(RGB.convert("L"))
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    for file_format in ("PNG", "TIFF"):
        np.testing.assert_array_equal(decode(encode(wide, file_format), EXACT, LIMITS).pixels, grey)


def test_16_bit_rgb_keeps_its_high_bytes() -> None:
    rows = b"".join(
        b"\0" + row.astype(">u2").tobytes() for row in PHOTO[:40, :50].astype(np.uint16) * 257
    )
    content = png(50, 40, rows, depth=16, colour=2)
    np.testing.assert_array_equal(decode(content, EXACT, LIMITS).pixels, PHOTO[:40, :50])


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_grey_levels_spread_over_the_range(depth: int) -> None:
    content = png(8 // depth, 1, b"\0" + b"\xff", depth=depth)
    assert np.unique(decode(content, EXACT, LIMITS).pixels).tolist() == [255]


def test_interlaced_png() -> None:
    grey = np.asarray(RGB.convert("L"))[:30, :21]
    starts = ((0, 0), (0, 4), (4, 0), (0, 2), (2, 0), (0, 1), (1, 0))
    steps = ((8, 8), (8, 8), (8, 4), (4, 4), (4, 2), (2, 2), (2, 1))
    passes = [grey[y::dy, x::dx] for (y, x), (dy, dx) in zip(starts, steps, strict=True)]
    rows = b"".join(b"\0" + row.tobytes() for part in passes for row in part)
    content = png(21, 30, rows, interlaced=True)
    np.testing.assert_array_equal(decode(content, EXACT, LIMITS).pixels, grey)


@pytest.mark.parametrize("orientation", [0, 3, 6, 8])
def test_heic(orientation: int) -> None:
    pytest.importorskip("pillow_heif", reason="of the extra `heic`").register_heif_opener()
    picture = Image.fromarray(photograph("coffee.png"))
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    content = encode(picture, "HEIF", quality=90, exif=exif.tobytes())
    ignored = decode(content, replace(EXACT, ignore_orientation=True), LIMITS)
    assert np.abs(ignored.pixels.astype(int) - np.asarray(picture)).mean() < 8
    image = decode(content, EXACT, LIMITS)
    assert (image.media_type, image.provenance.orientation) == ("image/heic", orientation)
    np.testing.assert_array_equal(image.pixels, apply_orientation(ignored.pixels, orientation))


def test_heic_without_the_extra_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libheif, "is_available", lambda: False)
    with pytest.raises(UnsupportedMedia, match=r"featsvc\[heic\]"):
        decode(b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf", EXACT, LIMITS)


def test_float_and_32_bit_tiff_are_stretched() -> None:
    grey = np.asarray(RGB.convert("L"))
    for samples in (grey.astype(np.float32) / 255, grey.astype(np.int32) * 1000):
        pixels = decode(encode(Image.fromarray(samples), "TIFF"), EXACT, LIMITS).pixels
        assert (int(pixels.min()), int(pixels.max())) == (0, 255)
        assert np.corrcoef(pixels.ravel(), grey.ravel())[0, 1] > 0.9999


@pytest.mark.parametrize(
    ("alpha", "value"), [(Alpha.WHITE, 255), (Alpha.BLACK, 0), (Alpha.IGNORE, 90)]
)
@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_transparent_pixels_have_the_chosen_background(
    alpha: Alpha, value: int, file_format: str
) -> None:
    clear = Image.new("RGBA", (8, 8), (90, 90, 90, 0))
    content = encode(
        clear, file_format, **({"lossless": True, "exact": True} if file_format == "WEBP" else {})
    )
    image = decode(content, replace(EXACT, alpha=alpha), LIMITS)
    assert np.unique(image.pixels).tolist() == [value]
    assert image.provenance.alpha is alpha


def test_half_transparent_is_mixed() -> None:
    content = encode(Image.new("LA", (8, 8), (0, 51)), "PNG")
    assert np.unique(decode(content, EXACT, LIMITS).pixels).tolist() == [204]


def test_palette_with_a_transparent_colour_is_composited() -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    for file_format in ("PNG", "GIF"):
        content = encode(picture, file_format, transparency=1)
        assert np.unique(decode(content, EXACT, LIMITS).pixels).tolist() == [255]


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", AVIF])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_orientation_is_applied_or_ignored_and_recorded(file_format: str, orientation: int) -> None:
    picture = Image.fromarray(photograph("coffee.png"))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(picture, file_format, exif=exif)
    upright = decode(encode(picture, file_format), EXACT, LIMITS).pixels
    applied = decode(content, EXACT, LIMITS)
    ignored = decode(content, replace(EXACT, ignore_orientation=True), LIMITS)
    for image, is_applied in ((applied, True), (ignored, False)):
        assert image.provenance.orientation == orientation
        assert image.provenance.orientation_applied is is_applied
    turns = {3: 2, 6: 3, 8: 1}[orientation]
    np.testing.assert_array_equal(ignored.pixels, upright)
    np.testing.assert_array_equal(applied.pixels, np.rot90(upright, turns))
    assert (applied.height, applied.width) == applied.pixels.shape[:2]


def test_empty_content() -> None:
    with pytest.raises(InvalidInput, match="content is empty") as caught:
        decode(b"", EXACT, LIMITS)
    assert caught.value.reason == "CONTENT_EMPTY"


@pytest.mark.parametrize("content", [b"%PDF-1.7", bytes(range(256)), b"\0\0\0\x18ftypisom"])
def test_unknown_formats_are_unsupported(content: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match="only byte hashes apply"):
        decode(content, EXACT, LIMITS)


@pytest.mark.parametrize("file_format", [*ALL_FORMATS[:-1], AVIF])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_corrupt(file_format: str, keep: float) -> None:
    content = encode(RGB, file_format)
    with pytest.raises(MediaCorrupt, match="send the whole file"):
        decode(content[: int(len(content) * keep)], EXACT, LIMITS)


def test_a_truncated_progressive_jpeg_is_corrupt() -> None:
    content = encode(RGB, "JPEG", progressive=True)
    with pytest.raises(MediaCorrupt, match="Premature end"):
        decode(content[: len(content) // 2], EXACT, LIMITS)


def test_a_damaged_jpeg_scan_is_corrupt() -> None:
    content = bytearray(encode(RGB, "JPEG", quality=90))
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(b ^ 0x55 for b in content[middle : middle + 40])
    with pytest.raises(MediaCorrupt):
        decode(bytes(content), EXACT, LIMITS)


def test_a_png_bomb_is_refused_by_its_header() -> None:
    bomb = png_header(20_000, 20_000)
    assert len(bomb) < 2_000
    with pytest.raises(
        MediaTooLarge, match="400,000,000 pixels, the limit is 100,000,000"
    ) as caught:
        decode(bomb, EXACT, LIMITS)
    assert caught.value.metadata["setting"] == "media.max_pixels"


@pytest.mark.parametrize("file_format", [*ALL_FORMATS[:-1], AVIF])
def test_every_format_is_held_to_the_pixel_limit(file_format: str) -> None:
    content = encode(Image.new("RGB", (50, 40)), file_format)
    probe(content, Limits(max_pixels=2_000))
    with pytest.raises(MediaTooLarge, match="2,000 pixels, the limit is 1,999"):
        decode(content, EXACT, Limits(max_pixels=1_999))


def test_bytes_are_limited() -> None:
    content = encode(RGB, "PNG")
    with pytest.raises(
        MediaTooLarge, match=r"bytes, the limit is 1,000 \(media.max_content_bytes\)"
    ):
        decode(content, EXACT, Limits(max_content_bytes=1_000))


def test_aspect_is_limited() -> None:
    decode(encode(Image.new("L", (200, 1)), "PNG"), EXACT, LIMITS)
    with pytest.raises(MediaTooLarge, match="201 to 1, the limit is 200"):
        decode(encode(Image.new("L", (201, 1)), "PNG"), EXACT, LIMITS)


def test_zero_pixels_are_corrupt() -> None:
    with pytest.raises(MediaCorrupt, match="0 x 5"):
        decode(png_header(0, 5), EXACT, LIMITS)


def test_frames_are_counted() -> None:
    frames = [Image.fromarray(noise(seed, 20, 30)) for seed in range(5)]
    for file_format in ("GIF", "PNG", "WEBP", "TIFF"):
        content = encode(frames[0], file_format, save_all=True, append_images=frames[1:])
        assert decode(content, EXACT, LIMITS).frames == 5
        assert probe(content, LIMITS).frames == 5


@pytest.mark.slow
def test_decoding_stops_after_its_time_limit() -> None:
    content = encode(Image.fromarray(noise(1, 3000, 3000)), "PNG", compress_level=1)
    with pytest.raises(TimedOut, match="more than 1 ms"):
        decode(content, EXACT, Limits(max_decode_ms=1))


def test_frames_come_one_by_one() -> None:
    frames = [Image.fromarray(noise(seed, 20, 30)) for seed in range(3)]
    content = encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    every = replace(EXACT, frames=Frames.ALL)
    images = list(decode_frames(content, every, LIMITS))
    assert [image.frame for image in images] == [0, 1, 2]
    for image, frame in zip(images, frames, strict=True):
        np.testing.assert_array_equal(image.pixels, np.asarray(frame))


def test_pillow_neither_warns_nor_logs(caplog: pytest.LogCaptureFixture) -> None:
    """A TIFF with a cut tag makes Pillow warn; the suite turns warnings into errors."""
    caplog.set_level("DEBUG")
    content = encode(Image.new("P", (9, 9)), "PNG", transparency=bytes(range(9)))
    decode(content, EXACT, LIMITS)
    tiff = bytearray(encode(RGB.resize((8, 8)), "TIFF"))
    tag = tiff.index(struct.pack("<HH", 258, 3))
    tiff[tag + 8 : tag + 12] = struct.pack("<I", 10**8)
    with pytest.raises(MediaCorrupt):
        decode(bytes(tiff), EXACT, LIMITS)
    assert not caplog.records


def test_what_decodes_nothing_loads_no_kernels() -> None:
    """Numba takes more than a second, which every command would pay: the limits are here."""
    program = "import sys, featsvc.config, featsvc.media.formats; print('numba' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
