"""TIFF of every kind: a generated matrix, Pillow beside it, and every way to be damaged."""

import io
import os
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, features
from PIL.TiffImagePlugin import OPEN_INFO

from featsvc.errors import (
    FeatsvcError,
    MediaCorrupt,
    MediaTooLarge,
    TimedOut,
    UnsupportedMedia,
)
from featsvc.media import (
    Alpha,
    DecodeOptions,
    Frames,
    Kind,
    Limits,
    decode,
    decode_frames,
    probe,
)
from featsvc.media.codecs import libtiff
from featsvc.media.exif import apply_orientation
from featsvc.media.formats.tiff.layout import KINDS
from featsvc.media.kinds import FLOAT as KIND_FLOAT
from tests.hashing.photographs import encode, noise, photograph
from tests.media import write_tiff as tiffs
from tests.media.write_tiff import Tiff, write, write_kind, write_pages

PICTURE = photograph("astronaut.png")[100:171, 150:247]
GREY = np.asarray(Image.fromarray(PICTURE).convert("L"))[:, :, None]
BITS = np.asarray(Image.fromarray(PICTURE).convert("1")).astype(np.uint8)
OPTIONS, LIMITS = DecodeOptions(), Limits()
KINDS_RUN = 400
MUTATIONS = int(os.environ.get("TEST_MUTATIONS", "300"))


def pixels_of(content: bytes, alpha: Alpha = Alpha.WHITE) -> NDArray[np.uint8]:
    return decode(content, replace(OPTIONS, alpha=alpha), LIMITS).pixels


# The matrix


def _storages() -> Iterator[dict[str, Any]]:
    forms: list[dict[str, Any]] = [
        {"rows_per_strip": 2**32 - 1},
        {"rows_per_strip": 10},
        {"tile": (32, 16)},
    ]
    for order, big, compression, form, predictor, fill_order in product(
        "<>", (False, True), tiffs.LOSSLESS, forms, (1, 2, 3), (1, 2)
    ):
        yield {
            "order": order,
            "big": big,
            "compression": compression,
            "predictor": predictor,
            "fill_order": fill_order,
            **form,
        }


def _fits(kind: Kind, storage: dict[str, Any]) -> bool:
    """Whether TIFF has the predictor for the kind and the codec."""
    predictor = storage["predictor"]
    if predictor == 1:
        return True
    if storage["compression"] in (tiffs.NONE, tiffs.PACKBITS):
        return False
    is_float = kind.sample_format == KIND_FLOAT
    return kind.bits in (8, 16, 32, 64) and (predictor == 2 or is_float)


def _matrix() -> list[tuple[Kind, dict[str, Any]]]:
    """All combinations with TEST_KINDS=all, else a fixed choice of them."""
    kinds = [kind for rule in KINDS for kind in rule.kinds()]
    storages = list(_storages())
    count = len(kinds) * len(storages)
    chosen = range(count)
    if os.environ.get("TEST_KINDS") != "all":
        chosen = np.random.default_rng(5).choice(count, KINDS_RUN, replace=False).tolist()
    rows = [(kinds[i // len(storages)], storages[i % len(storages)]) for i in chosen]
    return [row for row in rows if _fits(*row)]


@pytest.mark.slow
def test_every_kind_in_every_storage_is_its_8_bit_twin() -> None:
    matrix = _matrix()
    assert len(matrix) > KINDS_RUN // 3
    for kind, storage in matrix:
        twin = write_kind(kind, PICTURE, **storage)
        pixels = pixels_of(twin.content)
        wanted = twin.pixels.reshape(*twin.pixels.shape[:2], -1)
        difference = np.abs(pixels.reshape(*pixels.shape[:2], -1).astype(int) - wanted)
        assert difference.max() <= twin.levels, (kind, storage)


# Pillow beside it


def _pillow(content: bytes, alpha: Alpha) -> NDArray[np.uint8]:
    """What Pillow makes of it, by its own conversions."""
    picture = Image.open(io.BytesIO(content), formats=["TIFF"])
    picture.load()
    if picture.mode.startswith("I;16"):
        return np.asarray(np.asarray(picture) >> 8, np.uint8)
    if picture.mode in ("I", "F"):
        wide = np.asarray(picture).astype(np.float64)
        scale = 255.0 / (wide.max() - wide.min())
        return np.asarray(np.rint((wide - wide.min()) * scale), np.uint8)
    if picture.mode in ("RGBA", "LA", "PA", "La"):
        rgba = picture.convert("RGBA")
        if alpha is Alpha.IGNORE:
            return np.asarray(rgba.convert("RGB"))
        flat = Image.new("RGB", rgba.size, (255 if alpha is Alpha.WHITE else 0,) * 3)
        flat.paste(rgba, mask=rgba.getchannel("A"))
        return np.asarray(flat)
    target = "L" if picture.mode in ("1", "L") else "RGB"
    shown: NDArray[np.uint8] = np.asarray(picture.convert(target))
    return shown


def _pillow_is_right(key: Any, compression: int) -> bool:
    """Whether Pillow reads the kind; what it gets wrong is what was repaired here."""
    prefix, photometric, numbers, _, bits, _ = key
    (number, *_), (depth, *_) = numbers, bits
    wide = depth > 16 or number != tiffs.UNSIGNED
    return not (
        (number == tiffs.SIGNED and depth == 8)  # taken as unsigned
        or depth == 12  # 16 times too dark
        or (depth == 32 and number == tiffs.UNSIGNED)  # read as signed
        or (photometric == tiffs.WHITE_IS_ZERO and depth > 8)  # the negative
        or (wide and prefix == b"MM" and compression != tiffs.NONE)  # bytes swapped twice
        or (photometric == tiffs.BLACK_IS_ZERO and key[5] == (1,))  # not decoded
        or (key[3] == 2 and photometric in (tiffs.WHITE_IS_ZERO, tiffs.PALETTE))  # not decoded
        or (key[3] == 2 and depth == 16)  # not decoded
        or (photometric == tiffs.YCBCR and len(bits) == 1)  # not decoded
        or photometric == tiffs.CIELAB  # L* only
        or (photometric == tiffs.YCBCR and len(bits) > 1 and compression == tiffs.NONE)
        # by libjpeg's integers, 1 level apart
    )


@pytest.mark.slow
@pytest.mark.parametrize("compression", [tiffs.NONE, tiffs.LZW])
def test_pixels_equal_pillows(compression: int) -> None:
    rng = np.random.default_rng(1)
    compared = 0
    for key in OPEN_INFO:
        prefix, photometric, numbers, fill_order, bits, extra = key
        if len(numbers) > 1 or not _pillow_is_right(key, compression):
            continue
        top = 2 ** bits[0]
        shape = (13, 21, len(bits))
        samples: NDArray[Any]
        if numbers[0] == tiffs.FLOAT:
            samples = rng.normal(size=shape)
        else:
            low = -(top // 2) if numbers[0] == tiffs.SIGNED else 0
            samples = rng.integers(low, low + top, shape)
        tags: dict[int, Any] = {530: (1, 1)} if photometric == tiffs.YCBCR else {}
        if photometric == tiffs.PALETTE:
            tags[320] = tuple(rng.integers(0, 2**16, 3 * top).tolist())
        order = "<" if prefix == b"II" else ">"
        stored = Tiff(
            photometric, bits[0], numbers[0], order, compression=compression, extra=extra or None
        )
        content = write(samples, replace(stored, fill_order=fill_order, tags=tags))
        for alpha in Alpha:
            wanted = _pillow(content, alpha)
            np.testing.assert_array_equal(pixels_of(content, alpha), wanted, str(key))
        compared += 1
    assert compared > 90


CODECS = ("tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate", "zstd", "lzma", "jpeg")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr"])
def test_files_of_pillow_and_libtiff(mode: str, codec: str) -> None:
    """With real strings, runs and tables, which the writer of these tests does not make."""
    picture = Image.fromarray(PICTURE).convert(mode)
    for options in ({}, {"tiffinfo": {278: 16}}, {"strip_size": 4096}):
        content = encode(picture, "TIFF", compression=codec, **options)
        np.testing.assert_array_equal(pixels_of(content), _pillow(content, Alpha.WHITE))


@pytest.mark.parametrize("predictor", [1, 2])
def test_predictors_of_libtiff(predictor: int) -> None:
    picture = Image.fromarray(PICTURE)
    content = encode(picture, "TIFF", compression="tiff_lzw", tiffinfo={317: predictor})
    np.testing.assert_array_equal(pixels_of(content), PICTURE)


@pytest.mark.parametrize("compression", [tiffs.CCITT, tiffs.FAX3, tiffs.FAX4])
@pytest.mark.parametrize("rows", [2**32 - 1, 10])
@pytest.mark.parametrize("fill_order", [1, 2])
@pytest.mark.parametrize("photometric", [0, 1])
def test_fax(compression: int, rows: int, fill_order: int, photometric: int) -> None:
    stored = Tiff(
        photometric, 1, compression=compression, rows_per_strip=rows, fill_order=fill_order
    )
    content = write((BITS ^ (1 - photometric))[:, :, None], stored)
    np.testing.assert_array_equal(pixels_of(content), BITS * 255)


def test_thunderscan() -> None:
    samples = GREY[:, :96] >> 4
    content = write(samples, Tiff(bits=4, compression=tiffs.THUNDERSCAN, rows_per_strip=8))
    np.testing.assert_array_equal(pixels_of(content), samples[:, :, 0] * 17)


@pytest.mark.parametrize("photometric", [tiffs.BLACK_IS_ZERO, tiffs.RGB, tiffs.YCBCR])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_strips_and_tiles(photometric: int, progressive: bool) -> None:
    samples = GREY if photometric == tiffs.BLACK_IS_ZERO else PICTURE
    jpeg = partial(tiffs.jpeg, progressive=progressive)
    for changes in ({"rows_per_strip": 16}, {"tile": (32, 48)}):
        stored = Tiff(photometric, compression=tiffs.JPEG, **changes)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tiffs, "jpeg", jpeg)
            pixels = pixels_of(write(samples, stored))
        difference = np.abs(pixels.reshape(samples.shape).astype(int) - samples)
        assert difference.mean() < 3


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4), (1, 2)])
def test_subsampled_ycbcr(subsampling: tuple[int, int]) -> None:
    """Blocks of h x v luma and one chroma, against Pillow where something is compressed."""
    h, v = subsampling
    height, width = 36, 52
    ycbcr = np.asarray(Image.fromarray(PICTURE[:height, :width]).convert("YCbCr"))
    luma = ycbcr[..., 0].reshape(height // v, v, width // h, h).transpose(0, 2, 1, 3)
    blocks = luma.reshape(height // v, width // h, h * v)
    blocks = np.concatenate((blocks, ycbcr[::v, ::h, 1:]), axis=2)
    # The writer takes one row of blocks for a row of bytes: tell the true size by tags.
    rows = blocks.reshape(height // v, -1, 1)
    tags: dict[int, Any] = {256: width, 257: height, 258: (8, 8, 8), 277: 3, 530: subsampling}
    contents = [
        write(rows, Tiff(tiffs.YCBCR, compression=codec, tags={**tags, 278: height}))
        for codec in (tiffs.NONE, tiffs.DEFLATE)
    ]
    wanted = _pillow(contents[1], Alpha.WHITE).copy()
    if subsampling == (4, 4):
        # libtiff's RGBA reader, which Pillow uses, leaves out the last block.
        wanted[-4:, -4:] = pixels_of(contents[0])[-4:, -4:]
    for content in contents:
        np.testing.assert_array_equal(pixels_of(content), wanted)
    assert np.abs(wanted.astype(int) - PICTURE[:height, :width]).mean() < 12


def test_a_palette_of_8_bit_values() -> None:
    colours = np.random.default_rng(2).integers(0, 256, (3, 16))
    stored = Tiff(tiffs.PALETTE, 4, tags={320: tuple(colours.ravel().tolist())})
    np.testing.assert_array_equal(pixels_of(write(GREY >> 4, stored)), colours.T[GREY[..., 0] >> 4])


@pytest.mark.parametrize(
    ("extra", "count"), [((0,), 4), ((0, 0), 5), ((0, 2), 5), (None, 5), ((7,), 4)]
)
def test_extra_samples_that_are_no_alpha_are_skipped(
    extra: tuple[int, ...] | None, count: int
) -> None:
    more = np.random.default_rng(3).integers(0, 256, (*PICTURE.shape[:2], count - 3))
    samples = np.concatenate((PICTURE, more), axis=2)
    for planar, bits in product((False, True), (8, 16)):
        stored = Tiff(tiffs.RGB, bits, extra=extra, planar=planar, compression=tiffs.LZW)
        scaled = samples * (257 if bits == 16 else 1)
        np.testing.assert_array_equal(pixels_of(write(scaled, stored)), PICTURE)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("compression", [tiffs.NONE, tiffs.LZW])
def test_orientation(orientation: int, compression: int) -> None:
    stored = Tiff(tiffs.RGB, compression=compression, tags={274: orientation})
    content = write(PICTURE, stored)
    known = orientation if 1 <= orientation <= 8 else 0
    image = decode(content, OPTIONS, LIMITS)
    assert image.provenance.orientation == known
    np.testing.assert_array_equal(image.pixels, apply_orientation(PICTURE, known))
    np.testing.assert_array_equal(image.pixels, _pillow(content, Alpha.WHITE))
    ignored = decode(content, replace(OPTIONS, ignore_orientation=True), LIMITS)
    np.testing.assert_array_equal(ignored.pixels, PICTURE)


@pytest.mark.parametrize(
    "values",
    [
        [np.nan, 0, 1, 2, -np.inf],
        [-1.7e308, 0, 1.7e308],
        [0, 5e-324, 1e-323],
        [7, 7, 7],
        [np.nan, np.nan],
    ],
)
def test_floats_of_any_range(values: list[float]) -> None:
    """As exact arithmetic has it; what is not finite counts as 0."""
    samples = np.array(values)[None, :, None]
    pixels = pixels_of(write(samples, Tiff(bits=64, number=tiffs.FLOAT)))
    finite = [v if np.isfinite(v) else 0.0 for v in values]
    ratios = [v.as_integer_ratio() for v in finite]
    scale = max(below for _, below in ratios)
    exact = [above * (scale // below) for above, below in ratios]
    low, high = min(exact), max(exact)
    wanted = [round((v - low) * 255 / (high - low)) if high > low else 0 for v in exact]
    assert np.abs(pixels[0].astype(int) - wanted).max() <= 1


# Pages


def _pages() -> bytes:
    return write_pages([(GREY[i:], Tiff(compression=tiffs.LZW)) for i in range(3)])


def _with_last_link(content: bytes, link: int) -> bytes:
    return content[:-4] + struct.pack("<I", link)


def test_pages_come_one_by_one() -> None:
    content = _pages()
    assert probe(content, LIMITS).frames == 3
    images = list(decode_frames(content, replace(OPTIONS, frames=Frames.ALL), LIMITS))
    assert [image.frame for image in images] == [0, 1, 2]
    for index, image in enumerate(images):
        np.testing.assert_array_equal(image.pixels, GREY[index:, :, 0])


@pytest.mark.parametrize(
    ("link", "message"),
    [
        (2**31, "page 4 lies past the end of the file"),
        (2, r"tag 256 \(WIDTH\) is missing"),
        ("first", "page 4 points back to a page before it"),
    ],
)
def test_a_damaged_link_spoils_no_page_before_it(link: int | str, message: str) -> None:
    content = _pages()
    at = struct.unpack_from("<I", content, 4)[0] if link == "first" else link
    damaged = _with_last_link(content, int(at))
    np.testing.assert_array_equal(pixels_of(damaged), GREY[:, :, 0])
    frames = decode_frames(damaged, replace(OPTIONS, frames=Frames.ALL), LIMITS)
    for index in range(3):
        assert next(frames).frame == index
    with pytest.raises(MediaCorrupt, match=message):
        next(frames)


def test_endless_pages_are_counted_to_the_limit_only() -> None:
    content = write_pages([(GREY[:2], Tiff())] * 40)
    assert probe(content, Limits(max_frames=7)).frames == 8
    with pytest.raises(MediaTooLarge, match="the limit is 7"):
        list(decode_frames(content, replace(OPTIONS, frames=Frames.ALL), Limits(max_frames=7)))


# Damage


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_corrupt(keep: float) -> None:
    content = encode(Image.fromarray(PICTURE), "TIFF", compression="tiff_lzw")
    with pytest.raises(MediaCorrupt, match="send the whole file"):
        pixels_of(content[: int(len(content) * keep)])


ENCODED = [
    *(Tiff(tiffs.RGB, compression=codec) for codec in tiffs.LOSSLESS),
    *(Tiff(tiffs.RGB, compression=codec, tile=(32, 32)) for codec in tiffs.LOSSLESS),
    Tiff(tiffs.YCBCR, compression=tiffs.JPEG, rows_per_strip=16),
    Tiff(tiffs.RGB, compression=tiffs.JPEG, tile=(64, 64)),
    Tiff(tiffs.RGB, compression=tiffs.LZW, planar=True, rows_per_strip=30),
]


@pytest.mark.parametrize("stored", ENCODED, ids=lambda tiff: f"{tiff.compression}")
def test_half_a_strip_is_corrupt(stored: Tiff) -> None:
    """Half the bytes of each strip or tile, or a quarter, are nowhere."""
    whole = tiffs.encode

    def cut_short(fraction: int, part: NDArray[Any], tiff: Tiff) -> bytes:
        data = whole(part, tiff)
        return data[: len(data) // fraction]

    # Of a single strip that is not compressed, the size does not count: what follows would.
    several = replace(stored, rows_per_strip=min(stored.rows_per_strip, 30))
    for fraction in (2, 4):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tiffs, "encode", partial(cut_short, fraction))
            content = write(PICTURE, several)
        with pytest.raises(MediaCorrupt, match="send the whole file"):
            pixels_of(content)


def test_packbits_that_run_over_are_corrupt() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            tiffs.ENCODERS, tiffs.PACKBITS, lambda data: tiffs.packbits(data[:-2]) + b"\x81\x05"
        )
        content = write(GREY[:7, :11], Tiff(compression=tiffs.PACKBITS))
    with pytest.raises(MediaCorrupt, match="PackBits"):
        pixels_of(content)


def test_damage_in_fax_is_corrupt() -> None:
    content = bytearray(write(BITS[:, :, None] ^ 1, Tiff(0, 1, compression=tiffs.FAX4)))
    content[200:204] = b"\0\0\0\0"
    with pytest.raises(MediaCorrupt, match="page 1, strip 1 of 1: Fax4Decode"):
        pixels_of(bytes(content))


def _tags(**changes: Any) -> Callable[[], bytes]:
    """A grey file of 71 rows with changed tags, named t256 and so on; None leaves one out."""
    tags = {int(name[1:]): value for name, value in changes.items()}
    return lambda: write(GREY, Tiff(compression=tiffs.LZW, rows_per_strip=10, tags=tags))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_tags(t256=None), r"tag 256 \(WIDTH\) is missing"),
        (_tags(t257=None), r"tag 257 \(HEIGHT\) is missing"),
        (_tags(t256=0), "0 x 71 pixels"),
        (_tags(t257=0), "97 x 0 pixels"),
        (_tags(t256=b"ab"), "tag 256 has the type 7, not whole numbers"),
        (_tags(t262=None), r"tag 262 \(PHOTOMETRIC\) is missing"),
        (_tags(t262=2), "1 samples a pixel where rgb has 3"),
        (_tags(t277=0), "0 samples a pixel"),
        (_tags(t258=()), "tag 258 has no value"),
        (_tags(t278=0), "97 x 0 pixels"),
        (_tags(t273=None), "0 offsets of strips or tiles, not 8"),
        (_tags(t273=(8,) * 7), "7 offsets of strips or tiles, not 8"),
        (_tags(t279=(8,) * 7), "7 sizes of strips or tiles, not 8"),
        (_tags(t273=(2**32 - 9,) * 8), "strip 1 of 8 has .* at 4,294,967,287 of a file"),
        (_tags(t279=(2**32 - 1,) * 8), "strip 1 of 8 has 4,294,967,295 bytes"),
        (_tags(t279=(0,) * 8), "strip 1 of 8 has 0 bytes"),
        (_tags(t273=(0,) * 8), "strip 1 of 8 has .* at 0 of"),
        (_tags(t278=5), "8 offsets of strips or tiles, not 15"),
        (_tags(t322=0, t323=16), "strips or tiles have 0 x 16"),
        (_tags(t322=16), r"tag 323 \(TILE_HEIGHT\) is missing"),
        (_tags(t317=9), "strip 1 of 8: .*[Pp]redictor"),
        (_tags(t257=72), "strip 8 of 8: LZWDecode"),
    ],
)
def test_wrong_tags_are_named(make: Callable[[], bytes], message: str) -> None:
    with pytest.raises(MediaCorrupt, match=message):
        pixels_of(make())


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("offset", [0, 2**63, 2**64 - 1, 10**6])
def test_64_bit_offsets_of_directories(order: str, offset: int) -> None:
    content = bytearray(write(GREY, Tiff(order=order, big=True)))
    struct.pack_into(order + "Q", content, 8, offset)
    with pytest.raises(MediaCorrupt, match=r"page 1 lies past the end|has no page"):
        pixels_of(bytes(content))


def test_64_bit_offsets_of_strips() -> None:
    for tags in ({273: 2**64 - 1}, {273: 2**63}, {279: 2**64 - 1}):
        content = write(GREY, Tiff(big=True, compression=tiffs.LZW, tags=tags))
        with pytest.raises(MediaCorrupt, match="strip 1 of 1 has"):
            pixels_of(content)


def test_a_directory_of_endless_tags_is_corrupt() -> None:
    content = bytearray(write(GREY, Tiff(big=True)))
    (at,) = struct.unpack_from("<Q", content, 8)
    struct.pack_into("<Q", content, at, 2**62)
    with pytest.raises(MediaCorrupt, match="tags, not 1 to 4,096"):
        pixels_of(bytes(content))


def test_sizes_that_libtiff_mends_are_mended() -> None:
    """Of samples that are not compressed, the size follows from the header."""
    for tags in ({279: None}, {279: 0}, {279: 5}, {279: 10**6}):
        np.testing.assert_array_equal(pixels_of(write(GREY, Tiff(tags=tags))), GREY[..., 0])


def test_compressed_strips_without_sizes_end_where_the_next_begins() -> None:
    for rows in (10, 2**32 - 1):
        stored = Tiff(compression=tiffs.LZW, rows_per_strip=rows, tags={279: None})
        np.testing.assert_array_equal(pixels_of(write(GREY, stored)), GREY[..., 0])


def test_other_tags_are_ignored_whatever_they_hold() -> None:
    content = bytearray(write(GREY, Tiff(tags={305: b"x" * 9, 700: b"y" * 9, 34665: 2**31})))
    for tag in (305, 700):
        at = content.index(struct.pack("<HH", tag, 7))
        struct.pack_into("<II", content, at + 4, 2**32 - 1, 2**32 - 1)
    np.testing.assert_array_equal(pixels_of(bytes(content)), GREY[..., 0])


# Limits


@pytest.mark.parametrize("side", [2**13, 2**15, 2**31 - 16])
@pytest.mark.parametrize("compression", [tiffs.NONE, tiffs.LZW, tiffs.JPEG])
def test_a_bomb_of_a_tile_allocates_nothing(side: int, compression: int) -> None:
    tags: dict[int, Any] = {259: compression, 322: side, 323: side, 324: 8, 325: 8}
    content = write(GREY[:64, :64], Tiff(tags=tags))
    # Where nothing is compressed, all of a tile has to be in the file.
    error = MediaCorrupt if (compression, side) == (tiffs.NONE, 2**13) else MediaTooLarge
    tracemalloc.start()
    with pytest.raises(error):
        decode(content, OPTIONS, Limits(max_decode_bytes=2**26))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


@pytest.mark.parametrize(
    "kind",
    [
        Kind("rgb"),
        Kind("rgb", 16),
        Kind("grey", 12),
        Kind("grey", 64, "float"),
        Kind("rgb", 32, "signed", separate_planes=True),
        Kind("rgb", 16, alpha="premultiplied alpha", separate_planes=True),
        Kind("cmyk", 16),
        Kind("ycbcr"),
        Kind("lab", 16),
        Kind("palette", 4),
    ],
    ids=str,
)
def test_the_estimate_of_memory_holds(kind: Kind) -> None:
    storage: dict[str, Any] = {"compression": tiffs.PACKBITS} if kind.bits > 8 else {}
    twin = write_kind(kind, noise(4, 500, 700), **storage, tile=(512, 512), fill_order=2)
    estimate = probe(twin.content, LIMITS).peak_bytes
    pixels_of(twin.content)
    tracemalloc.start()
    pixels_of(twin.content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= estimate <= 3 * peak + 40 * 2**20


@given(st.data())
def test_a_changed_byte_of_deflate_is_noticed(data: st.DataObject) -> None:
    """LZW and PackBits have no checksum; deflate has one."""
    pixels = noise(6, 20, 30)
    content = bytearray(write(pixels, Tiff(tiffs.RGB, compression=tiffs.DEFLATE)))
    begin = content.find(b"\x78", 8)
    at = data.draw(st.integers(begin, begin + 1_500))
    content[at] ^= data.draw(st.integers(1, 255))
    try:
        shown = pixels_of(bytes(content))
    except MediaCorrupt:
        return
    np.testing.assert_array_equal(shown, pixels)


def test_time_is_limited_between_strips_and_before_a_long_one() -> None:
    grey = noise(5, 1500, 1500)[..., :1]
    for rows in (10, 2**32 - 1):
        content = write(grey, Tiff(compression=tiffs.DEFLATE, rows_per_strip=rows))
        with pytest.raises(TimedOut, match="more than 1 ms"):
            decode(content, OPTIONS, Limits(max_decode_ms=1))


# What is not decoded


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        (Tiff(bits=24), "24-bit grey"),
        (Tiff(tiffs.RGB, 32, tiffs.FLOAT, extra=(2,)), "32-bit float rgb, alpha"),
        (Tiff(tags={259: 34712}), "JPEG 2000 compression"),
        (Tiff(tags={259: 50001}), "WebP compression"),
        (Tiff(tags={259: tiffs.OLD_JPEG}), "old-style JPEG compression"),
        (Tiff(tags={259: 32771}), "CCITT RLE/W compression"),
        (Tiff(tags={259: 4242}), r"unknown \(4242\) compression"),
        (Tiff(tags={262: 32803}), "colour filter array"),
        (Tiff(tags={262: 4}), "transparency mask"),
        (Tiff(tags={262: 77}), "photometric 77"),
        (Tiff(tags={339: 6}), "8-bit complex grey"),
        (Tiff(bits=12, tags={259: tiffs.JPEG}), "12-bit grey samples in JPEG compression"),
        (Tiff(tags={259: tiffs.FAX4}), "8-bit grey samples in fax compression"),
        (Tiff(tiffs.CMYK, tags={332: 2}), "other inks than cmyk"),
        (Tiff(tiffs.RGB, tags={258: (5, 6, 5)}), "samples of different sizes"),
    ],
)
def test_other_kinds_are_unsupported_by_name(stored: Tiff, name: str) -> None:
    count = {tiffs.RGB: 3, tiffs.CMYK: 4}.get(stored.photometric or 0, 1) + bool(stored.extra)
    content = write(np.zeros((4, 5, count), int), stored)
    with pytest.raises(UnsupportedMedia, match=name) as caught:
        pixels_of(content)
    assert "send the whole file" not in str(caught.value)


def test_without_libtiff_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libtiff, "decodes", lambda _: False)
    with pytest.raises(UnsupportedMedia, match=r"the libtiff that decodes it is missing"):
        pixels_of(write(GREY, Tiff(compression=tiffs.LZW)))
    np.testing.assert_array_equal(pixels_of(write(GREY, Tiff())), GREY[..., 0])


def test_the_version_of_libtiff_is_pillows() -> None:
    assert libtiff.version() == features.version("libtiff")


# Any bytes


def _seeds() -> list[bytes]:
    picture = PICTURE[:24, :40]
    kinds = [Kind("rgb"), Kind("grey", 12), Kind("rgb", 16, alpha="alpha"), Kind("ycbcr")]
    kinds += [Kind("grey", 32, "float"), Kind("palette", 4), Kind("cmyk", separate_planes=True)]
    storages: list[dict[str, Any]] = [
        {"compression": codec, "big": codec == tiffs.LZW, "order": "<>"[codec % 2], **form}
        for codec in tiffs.LOSSLESS
        for form in ({"rows_per_strip": 7}, {"tile": (16, 16)})
    ]
    seeds = [write_kind(kind, picture, **storage).content for kind in kinds for storage in storages]
    bits = BITS[:24, :40, None]
    for codec in (tiffs.CCITT, tiffs.FAX3, tiffs.FAX4):
        seeds.append(write(bits, Tiff(0, 1, compression=codec)))
    for photometric in (tiffs.RGB, tiffs.YCBCR):
        seeds.append(write(picture, Tiff(photometric, compression=tiffs.JPEG)))
    return seeds


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Change, drop, repeat or cut a few bytes; directories more often than their share."""
    out = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        near_end = rng.random() < 0.7
        at = int(rng.integers(max(len(out) - 400, 0) if near_end else 0, len(out)))
        match rng.integers(0, 6):
            case 0:
                out[at] = rng.integers(0, 256)
            case 1:
                out[at] ^= 1 << int(rng.integers(0, 8))
            case 2:
                out[at : at + 4] = rng.choice([b"\xff" * 4, bytes(4), b"\0\0\0\x80", b"\1\0\0\0"])
            case 3:
                del out[at : at + int(rng.integers(1, 9))]
            case 4:
                out[at:at] = out[at : at + int(rng.integers(1, 40))]
            case 5 if rng.random() < 0.2:
                del out[at:]
        if len(out) < 16:
            return content[:16]
    return bytes(out)


@pytest.mark.slow
def test_any_mutation_is_a_picture_or_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    seeds = _seeds()
    rng = np.random.default_rng(7)
    outcomes: dict[str, int] = {}
    every = replace(OPTIONS, frames=Frames.ALL)
    for i in range(MUTATIONS):
        content = mutate(seeds[i % len(seeds)], rng)
        try:
            for image in decode_frames(content, every, LIMITS):
                assert image.pixels.shape[:2] == (image.height, image.width)
            outcome = "whole"
        except FeatsvcError as exc:
            outcome = type(exc).__name__
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    allowed = {"whole", "MediaCorrupt", "MediaTooLarge", "UnsupportedMedia", "TimedOut"}
    assert outcomes.keys() <= allowed
    assert outcomes["MediaCorrupt"] > MUTATIONS // 10
    assert capfd.readouterr() == ("", "")
