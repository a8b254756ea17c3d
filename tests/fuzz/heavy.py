"""Small files that are heavy to decode, and bombs: what a hostile caller would send."""

import io
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

SIDE = 9_990


def _save(picture: Image.Image, name: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, name, **options)
    return stream.getvalue()


def tiff_tile_bomb(side: int = 32_768) -> bytes:
    """A 64 x 64 picture in one tile of `side` x `side`, deflated: about 150 bytes and more."""
    data = zlib.compress(bytes(1000))
    tags = [
        (256, 4, 64), (257, 4, 64), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1),
        (322, 4, side), (323, 4, side), (324, 4, 8), (325, 4, len(data)),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    at = 8 + len(data)
    return (
        struct.pack("<2sHI", b"II", 42, at) + data + struct.pack("<H", len(tags)) + entries
        + bytes(4)
    )  # fmt: skip


@cache
def heavy_files(side: int = SIDE) -> tuple[bytes, ...]:
    """Files whose headers declare far more than their bytes, of `side` or less on each side."""
    part = side * 2 // 5
    grey = Image.new("L", (side, side), 128)
    rgb = Image.new("RGB", (side, side), (10, 200, 90))
    rgba = Image.new("RGBA", (part, part), (10, 200, 90, 120))
    floats = Image.fromarray(np.linspace(0, 1, part**2, dtype=np.float32).reshape(part, part))
    return (
        _save(rgb, "WEBP", method=0, quality=1),
        _save(rgba, "WEBP", method=0, lossless=True),
        _save(rgb, "PNG", compress_level=1),
        _save(rgba, "PNG", compress_level=1),
        _save(grey.convert("I;16"), "PNG", compress_level=1),
        _save(rgb, "JPEG", quality=10, progressive=True),
        _save(grey.convert("CMYK"), "JPEG", quality=10),
        _save(rgb.quantize(2), "GIF"),
        _save(floats, "TIFF", compression="tiff_deflate"),
        _save(rgb, "TIFF", compression="tiff_deflate"),
        tiff_tile_bomb(),
        tiff_tile_bomb(8_192),
    )
