"""BMP of every kind, byte by byte: Pillow writes few of them."""

import struct
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featsvc.media import Kind
from featsvc.media.kinds import OPAQUE
from tests.media.twins import Twin
from tests.media.write_webp import with_alpha

BITFIELDS = 3


def bmp(
    width: int,
    height: int,
    depth: int,
    rows: bytes,
    *,
    compression: int = 0,
    extra: bytes = b"",
    header_bytes: int = 40,
    colours: int = 0,
    gap: bytes = b"",
) -> bytes:
    """A bitmap: `extra` are masks and palette, `gap` lies before the rows."""
    if header_bytes == 12:
        header = struct.pack("<IHHHH", 12, width, height, 1, depth)
    else:
        header = struct.pack(
            "<IiiHHIIiiII", header_bytes, width, height, 1, depth, compression, len(rows), 0, 0,
            colours, 0,
        )  # fmt: skip
    body = header + extra.ljust(header_bytes - len(header), b"\0") + gap
    start = 14 + len(body)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + body + rows


def padded(rows: NDArray[np.uint8]) -> bytes:
    """Rows of bytes, bottom up, each filled up to 4 bytes."""
    return np.pad(rows[::-1], ((0, 0), (0, -rows.shape[1] % 4))).tobytes()


def packed(indices: NDArray[np.uint8], depth: int) -> NDArray[np.uint8]:
    """Indices of a few bits, the first in the highest bits of a byte."""
    per_byte = 8 // depth
    wide = np.pad(indices, ((0, 0), (0, -indices.shape[1] % per_byte)))
    parts = wide.reshape(len(wide), -1, per_byte)
    shifts = np.arange(8 - depth, -1, -depth)
    out: NDArray[np.uint8] = (parts.astype(np.uint16) << shifts).sum(2).astype(np.uint8)
    return out


def runs(indices: NDArray[np.uint8], *, half_bytes: bool) -> bytes:
    """RLE8 or RLE4, bottom up: runs of one index, and what differs as it is."""
    out = bytearray()
    for row in indices[::-1].tolist():
        equal = [(value, len([*group])) for value, group in groupby(row)]
        while equal:
            alone: list[int] = []
            while equal and equal[0][1] == 1 and len(alone) < 255:
                alone.append(equal.pop(0)[0])
            if len(alone) > 2:
                data = bytes(alone)
                if half_bytes:
                    data = packed(np.array([alone], np.uint8), 4).tobytes()
                out += bytes((0, len(alone))) + data + b"\0" * (len(data) % 2)
            else:
                equal[:0] = [(value, 1) for value in alone]
                value, count = equal.pop(0)
                for start in range(0, count, 255):
                    size = min(255, count - start)
                    out += bytes((size, value * 17 if half_bytes else value))
        out += b"\0\0"
    return bytes(out) + b"\0\1"


def write_kind(kind: Kind, picture: NDArray[np.uint8]) -> Twin:
    if kind.colour == "palette":
        return _write_palette(kind, picture)
    height, width = picture.shape[:2]
    most = (1 << kind.bits) - 1
    rgba = np.asarray(with_alpha(picture)).astype(np.uint64) * most // 255
    shifts = (2 * kind.bits, kind.bits, 0, 30)
    masks = [most << shift for shift in shifts[:3]]
    values = np.zeros((height, width), np.uint64)
    for i in range(3):
        values |= rgba[..., i] << np.uint64(shifts[i])
    shown = rgba * 255 // most
    if kind.alpha == OPAQUE:
        masks.append(0)
    else:
        # Two bits of alpha beside ten bits of a colour, as many as of a colour else.
        bits = min(kind.bits, 2)
        masks.append(((1 << bits) - 1) << 30)
        alpha = np.asarray(with_alpha(picture))[..., 3].astype(np.uint64) >> np.uint64(8 - bits)
        values |= alpha << np.uint64(30)
        shown[..., 3] = alpha * 255 // ((1 << bits) - 1)
    rows = padded(values.astype("<u4").view(np.uint8).reshape(height, -1))
    content = bmp(
        width,
        height,
        32,
        rows,
        compression=BITFIELDS,
        extra=struct.pack("<4I", *masks),
        header_bytes=108,
    )
    flat = Image.fromarray(shown.astype(np.uint8))
    if kind.alpha == OPAQUE:
        return Twin(content, np.asarray(flat)[..., :3])
    white = Image.new("RGB", flat.size, "white")
    white.paste(flat, mask=flat.getchannel("A"))
    return Twin(content, np.asarray(white))


def _write_palette(kind: Kind, picture: NDArray[np.uint8]) -> Twin:
    height, width = picture.shape[:2]
    few = Image.fromarray(picture).quantize(2**kind.bits)
    indices = np.asarray(few)
    palette = np.zeros((2**kind.bits, 4), np.uint8)
    colours = np.array(few.getpalette(), np.uint8).reshape(-1, 3)
    palette[: len(colours), :3] = colours[: len(palette), ::-1]
    code = {"RLE8": 1, "RLE4": 2}.get(kind.compression, 0)
    rows = runs(indices, half_bytes=code == 2) if code else padded(packed(indices, kind.bits))
    content = bmp(width, height, kind.bits, rows, compression=code, extra=palette.tobytes())
    return Twin(content, np.asarray(few.convert("RGB")))
