"""A small TIFF writer, for kinds that no library writes: any tags, strips or tiles, codecs.

The encoders are the simplest that the formats allow, so they are independent of libtiff's:
PackBits and Zstandard as literals, LZW without strings, ThunderScan without deltas.
"""

import io
import lzma
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featsvc.media import Kind
from featsvc.media.kinds import OPAQUE, PREMULTIPLIED
from featsvc.media.kinds import UNSIGNED as KIND_UNSIGNED
from tests.media.twins import Twin

NONE, CCITT, FAX3, FAX4, LZW, JPEG, DEFLATE, PACKBITS = 1, 2, 3, 4, 5, 7, 8, 32773
OLD_DEFLATE, OLD_JPEG, THUNDERSCAN, LZMA, ZSTD = 32946, 6, 32809, 34925, 50000
LOSSLESS = (NONE, LZW, DEFLATE, OLD_DEFLATE, PACKBITS, LZMA, ZSTD)
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB, ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9
UNSIGNED, SIGNED, FLOAT = 1, 2, 3

Value = int | Sequence[int] | bytes


@dataclass(frozen=True)
class Tiff:
    """How `write` stores samples; the defaults are those of a plain grey file."""

    photometric: int | None = BLACK_IS_ZERO
    bits: int = 8
    number: int = UNSIGNED
    order: str = "<"
    big: bool = False
    compression: int = NONE
    planar: bool = False
    tile: tuple[int, int] | None = None
    """Width and height."""
    rows_per_strip: int = 2**32 - 1
    predictor: int = 1
    extra: tuple[int, ...] | None = None
    fill_order: int = 1
    tags: Mapping[int, Value | None] = field(default_factory=dict)
    """Further tags, or None to leave one out."""

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"{self.order}{' uif'[self.number]}{self.bits // 8}")


def pack(samples: NDArray[Any], tiff: Tiff) -> NDArray[np.uint8]:
    """Rows of samples (H, S) as rows of bytes."""
    if tiff.bits in (8, 16, 32, 64):
        wide = np.ascontiguousarray(samples.astype(tiff.dtype))
        return wide.view(np.uint8).reshape(len(samples), -1)
    shifts = np.arange(tiff.bits)[::-1]
    digits = (samples[:, :, None].astype(np.int64) >> shifts) & 1
    return np.packbits(digits.reshape(len(samples), -1).astype(np.uint8), axis=1)


def predict(samples: NDArray[Any], channels: int, tiff: Tiff) -> NDArray[np.uint8]:
    """Rows of samples (H, S), differenced, as rows of bytes."""
    rows = pack(samples, tiff)
    if tiff.predictor == 1:
        return rows
    if tiff.predictor == 2:
        wide = rows.view(f"{tiff.order}u{tiff.bits // 8}").copy()
        wide[:, channels:] -= wide[:, :-channels].copy()
        return wide.view(np.uint8)
    # The bytes of a row's samples by significance, highest first, differenced as bytes.
    size = tiff.bits // 8
    by_byte = rows.reshape(len(rows), -1, size)
    by_byte = by_byte if tiff.order == ">" else by_byte[:, :, ::-1]
    planes = by_byte.transpose(0, 2, 1).reshape(len(rows), -1).copy()
    planes[:, channels:] -= planes[:, :-channels].copy()
    return planes


def lzw(data: bytes) -> bytes:
    """9-bit codes only: a clear before the table grows past them."""
    codes: list[int] = []
    for start in range(0, len(data), 250):
        codes += [256, *data[start : start + 250]]
    codes.append(257)
    digits = (np.array(codes)[:, None] >> np.arange(9)[::-1]) & 1
    return np.packbits(digits.astype(np.uint8)).tobytes()


def packbits(data: bytes) -> bytes:
    parts = [data[i : i + 128] for i in range(0, len(data), 128)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def zstd(data: bytes) -> bytes:
    """One frame of raw blocks, with its size."""
    blocks = [data[i : i + 2**16] for i in range(0, len(data), 2**16)]
    heads = [(len(block) << 3 | (block is blocks[-1])).to_bytes(3, "little") for block in blocks]
    body = b"".join(head + block for head, block in zip(heads, blocks, strict=True))
    return b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(data)) + body


def thunderscan(rows: NDArray[np.uint8]) -> bytes:
    nibbles = np.stack((rows >> 4, rows & 15), axis=2)
    return (nibbles.ravel() | 0xC0).astype(np.uint8).tobytes()


def strip_of(content: bytes) -> bytes:
    """The only strip of a little-endian file of Pillow's."""
    with Image.open(io.BytesIO(content)) as picture:
        (at,), (size,) = picture.tag_v2[273], picture.tag_v2[279]  # type: ignore[attr-defined]
    return content[at : at + size]


def fax(rows: NDArray[np.uint8], width: int, name: str) -> bytes:
    """Through Pillow, whose libtiff encodes the bits as they are."""
    bits = np.unpackbits(rows, axis=1)[:, :width]
    out = io.BytesIO()
    Image.fromarray(bits.astype(bool)).save(out, "TIFF", compression=name, strip_size=2**30)
    return strip_of(out.getvalue())


def jpeg(samples: NDArray[np.uint8], photometric: int | None, **options: Any) -> bytes:
    """A JPEG of one channel, of YCbCr, or of RGB as it is."""
    out = io.BytesIO()
    if samples.shape[2] == 1:
        Image.fromarray(samples[:, :, 0]).save(out, "JPEG", quality=95, **options)
    else:
        keep = photometric != YCBCR
        picture = Image.fromarray(samples)
        picture.save(out, "JPEG", quality=95, keep_rgb=keep, subsampling=0, **options)
    return out.getvalue()


def encode(part: NDArray[Any], tiff: Tiff) -> bytes:
    """A strip or tile (H, W, C) as it is stored."""
    height, width, channels = part.shape
    if tiff.compression == JPEG:
        return jpeg(part.astype(np.uint8), tiff.photometric)
    rows = predict(part.reshape(height, -1), channels, tiff)
    if tiff.compression in FAXES:
        stored = fax(rows, width, FAXES[tiff.compression])
    elif tiff.compression == THUNDERSCAN:
        stored = thunderscan(rows)
    else:
        stored = ENCODERS.get(tiff.compression, bytes)(rows.tobytes())
    if tiff.fill_order == 1:
        return stored
    bits = np.unpackbits(np.frombuffer(stored, np.uint8)[:, None], axis=1)
    return np.packbits(bits[:, ::-1], axis=1).tobytes()


FAXES = {CCITT: "tiff_ccitt", FAX3: "group3", FAX4: "group4"}
ENCODERS: dict[int, Callable[[bytes], bytes]] = {
    LZW: lzw,
    DEFLATE: lambda data: zlib.compress(data, 1),
    OLD_DEFLATE: lambda data: zlib.compress(data, 1),
    PACKBITS: packbits,
    LZMA: lambda data: lzma.compress(data, preset=0),
    ZSTD: zstd,
}


def cut(samples: NDArray[Any], tiff: Tiff) -> list[NDArray[Any]]:
    """The strips or tiles of one plane; tiles are padded with the picture's edge."""
    height, width, _ = samples.shape
    if tiff.tile is None:
        step = min(tiff.rows_per_strip, height)
        return [samples[y : y + step] for y in range(0, height, step)]
    across, down = tiff.tile
    padded = np.pad(samples, ((0, -height % down), (0, -width % across), (0, 0)), mode="edge")
    return [
        padded[y : y + down, x : x + across]
        for y in range(0, height, down)
        for x in range(0, width, across)
    ]


def write(samples: NDArray[Any], tiff: Tiff) -> bytes:
    """A TIFF of one page: samples (H, W, S) as they are to be stored."""
    return write_pages([(samples, tiff)])


def write_pages(pages: Sequence[tuple[NDArray[Any], Tiff]]) -> bytes:
    """A TIFF of pages that share byte order and size of offsets."""
    order, big = pages[0][1].order, pages[0][1].big
    offset = "Q" if big else "I"
    out = bytearray(b"II" if order == "<" else b"MM")
    out += struct.pack(order + "HHH", 43, 8, 0) if big else struct.pack(order + "H", 42)
    link_at = len(out)
    out += bytes(8 if big else 4)
    for samples, tiff in pages:
        planes = np.split(samples, samples.shape[2], axis=2) if tiff.planar else [samples]
        stored = [encode(part, tiff) for plane in planes for part in cut(plane, tiff)]
        places = []
        for data in stored:
            places.append(len(out))
            out += data + bytes(len(data) % 2)
        tags = _tags(samples, tiff, places, [len(data) for data in stored])
        packed = {tag: _pack(order, big, value) for tag, value in tags.items() if value is not None}
        inline = 8 if big else 4
        rows = b""
        for tag in sorted(packed):
            kind, count, data = packed[tag]
            if len(data) > inline:
                at = struct.pack(order + offset, len(out))
                out += data + bytes(len(data) % 2)
                data = at
            rows += struct.pack(order + "HH" + offset, tag, kind, count) + data.ljust(inline, b"\0")
        out[link_at : link_at + inline] = struct.pack(order + offset, len(out))
        out += struct.pack(order + ("Q" if big else "H"), len(packed)) + rows
        link_at = len(out)
        out += bytes(inline)
    return bytes(out)


def _tags(
    samples: NDArray[Any], tiff: Tiff, places: list[int], sizes: list[int]
) -> dict[int, Value | None]:
    height, width, count = samples.shape
    tags: dict[int, Value | None] = {
        256: width,
        257: height,
        258: (tiff.bits,) * count,
        259: tiff.compression,
        262: tiff.photometric,
        266: tiff.fill_order if tiff.fill_order != 1 else None,
        277: count,
        284: 2 if tiff.planar else None,
        317: tiff.predictor if tiff.predictor != 1 else None,
        338: tiff.extra,
        339: (tiff.number,) * count if tiff.number != UNSIGNED else None,
    }
    if tiff.tile is None:
        tags |= {273: places, 278: min(tiff.rows_per_strip, height), 279: sizes}
    else:
        tags |= {322: tiff.tile[0], 323: tiff.tile[1], 324: places, 325: sizes}
    return tags | dict(tiff.tags)


def _pack(order: str, big: bool, value: Value) -> tuple[int, int, bytes]:
    """Type, count and bytes: SHORT where all fit, else LONG; LONG8 for large values of BigTIFF."""
    if isinstance(value, bytes):
        return 7, len(value), value
    values = [value] if isinstance(value, int) else list(value)
    top = max(values, default=0)
    kind, letter = (3, "H") if top < 2**16 else (4, "I") if top < 2**32 else (16, "Q")
    assert big or kind != 16
    return kind, len(values), struct.pack(f"{order}{len(values)}{letter}", *values)


PHOTOMETRICS = {
    "grey": BLACK_IS_ZERO,
    "white is zero": WHITE_IS_ZERO,
    "rgb": RGB,
    "palette": PALETTE,
    "cmyk": CMYK,
    "ycbcr": YCBCR,
    "lab": CIELAB,
    "icc lab": ICCLAB,
}
NUMBERS = {"unsigned": UNSIGNED, "signed": SIGNED, "float": FLOAT}
# Linear sRGB to XYZ of D50, by Bradford's adaptation, and that white.
SRGB_TO_XYZ = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
D50 = np.array([0.9642, 1.0, 0.8251])


def write_kind(kind: Kind, rgb: NDArray[np.uint8], **changes: Any) -> Twin:
    """Write a picture (H, W, 3) as the kind; `changes` are fields of Tiff."""
    tiff = Tiff(
        photometric=PHOTOMETRICS[kind.colour],
        bits=kind.bits,
        number=NUMBERS[kind.sample_format],
        planar=kind.separate_planes,
    )
    samples, pixels, levels, tags = _as_colour(kind, rgb)
    extra: tuple[int, ...] = ()
    if kind.alpha != OPAQUE:
        alpha = np.linspace(0, 255, rgb.shape[1]).round().astype(int)
        samples, pixels, levels = _with_alpha(kind, samples, pixels, alpha, levels)
        extra = (1,) if kind.alpha == PREMULTIPLIED else (2,)
    if kind.separate_planes and samples.shape[2] == 1:
        # Of one sample, planes cannot be separate.
        samples, extra = np.concatenate((samples, samples[::-1]), axis=2), (0,)
    tiff = replace(tiff, extra=extra or None, tags=tags, **changes)
    return Twin(write(samples, tiff), pixels, levels)


def _as_colour(
    kind: Kind, rgb: NDArray[np.uint8]
) -> tuple[NDArray[Any], NDArray[np.uint8], int, dict[int, Value | None]]:
    """The samples of the colour, the pixels they show, the tolerance, and further tags."""
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    if kind.colour == "palette":
        picture = Image.fromarray(rgb).quantize(1 << kind.bits)
        colours = np.zeros((1 << kind.bits, 3), np.uint8)
        found = np.array(picture.getpalette(), np.uint8).reshape(-1, 3)[: 1 << kind.bits]
        colours[: len(found)] = found
        indices = np.asarray(picture)
        colour_map = tuple((colours.T.ravel().astype(int) * 257).tolist())
        return indices[:, :, None], colours[indices], 0, {320: colour_map}
    if kind.colour == "cmyk":
        inks = np.dstack((255 - rgb, np.zeros_like(grey)))
        return deepen(inks, kind.bits), rgb, 0, {}
    if kind.colour == "ycbcr":
        return np.asarray(Image.fromarray(rgb).convert("YCbCr")), rgb, 3, {530: (1, 1)}
    if kind.colour in ("lab", "icc lab"):
        return _as_lab(kind, rgb), rgb, 8, {}
    shown = rgb if kind.colour == "rgb" else grey
    has_white = kind.sample_format == KIND_UNSIGNED and kind.bits <= 16
    if not has_white:
        low, high = int(shown.min()), int(shown.max())
        shown = np.rint((shown - float(low)) * (255 / (high - low))).astype(np.uint8)
    stored = 255 - shown if kind.colour == "white is zero" else shown
    stored = stored.reshape(*grey.shape, -1)
    if not has_white:
        return _without_white(kind, stored), shown, int(kind.bits == 16), {}
    return deepen(stored, kind.bits), shown, -(-127 // (2**kind.bits - 1)), {}


def deepen(levels: NDArray[np.uint8], bits: int) -> NDArray[np.int64]:
    """8-bit levels as samples of other bits, the nearest."""
    return np.asarray(np.floor(levels * ((2**bits - 1) / 255) + 0.5).astype(np.int64))


def _without_white(kind: Kind, levels: NDArray[np.uint8]) -> NDArray[Any]:
    """Samples over an arbitrary range."""
    if kind.sample_format == "float":
        return levels * 3.5 - 200
    step = {8: 1, 16: 200, 32: 2**23, 64: 2**50}[kind.bits]
    return (levels.astype(np.int64) - (128 if kind.sample_format == "signed" else 0)) * step


def _as_lab(kind: Kind, rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    linear = np.where(rgb <= 10, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    ratios = linear @ SRGB_TO_XYZ.T / D50
    cubic = ratios > (6 / 29) ** 3
    roots = np.where(cubic, np.cbrt(ratios), ratios * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(roots, 2, 0)
    lab = np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=2)
    lab = lab * (255 / 100, 1, 1)
    if kind.colour == "icc lab":
        lab += (0, 128, 128)
    whole = np.rint(lab * (1 if kind.bits == 8 else 256)).astype(np.int64)
    return np.asarray(whole % 2**kind.bits)


def _with_alpha(
    kind: Kind, samples: NDArray[Any], pixels: NDArray[np.uint8], alpha: NDArray[Any], levels: int
) -> tuple[NDArray[Any], NDArray[np.uint8], int]:
    """The samples with alpha by column, and the pixels over white."""
    stored = deepen(np.broadcast_to(alpha[:, None], (*samples.shape[:2], 1)), kind.bits)
    share = stored / (2**kind.bits - 1)
    shown = pixels.reshape(*samples.shape[:2], -1)
    if kind.alpha == PREMULTIPLIED:
        samples = np.floor(samples * share + 0.5)
        levels = 2 * levels + 2
    over = np.rint(255 * (1 - share) + shown * share).astype(np.uint8)
    over = np.broadcast_to(over, (*over.shape[:2], 3))
    return np.concatenate((samples, stored), axis=2), over, levels + (kind.bits > 8)
