"""Parse size and frame count from the headers of each format, before a decoder allocates."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from featsvc.errors import MediaCorrupt
from featsvc.media import sniff

# JPEG markers: frame headers (SOF0 to SOF15 without DHT, JPG and DAC), and those without a length.
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_FILL = 0xFF
_STANDALONE = frozenset({0x00, 0x01, _FILL, *range(0xD0, 0xD9)})
_GIF_IMAGE, _GIF_EXTENSION = 0x2C, 0x21
_BMP_CORE_BYTES = 12
"""Size of the oldest BMP header, the only one with 16-bit sizes."""
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_SHORT = 256, 257, 3


@dataclass(frozen=True, slots=True)
class Header:
    """`width` and `height` are in stored pixels; `frames` is counted up to one past the limit."""

    media_type: str
    width: int
    height: int
    frames: int


def read_header(content: bytes, media_type: str, max_frames: int) -> Header:
    """Parse the header. Raises MediaCorrupt where it is cut short or has no size."""
    try:
        width, height, frames = _READERS[media_type](content, max_frames + 1)
    except (struct.error, IndexError) as exc:
        raise MediaCorrupt(f"the {media_type} header is cut short; send the whole file") from exc
    return Header(media_type, width, height, frames)


def _jpeg(content: bytes, _: int) -> tuple[int, int, int]:
    at = 2
    while True:
        at = content.find(b"\xff", at)
        if at < 0 or at + 9 > len(content):
            raise IndexError
        marker = content[at + 1]
        if marker in _FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", content, at + 5)
            return width, height, 1
        if marker in _STANDALONE:
            at += 1 if marker == _FILL else 2
        else:
            at += 2 + max(struct.unpack_from(">H", content, at + 2)[0], 2)


def _png(content: bytes, max_frames: int) -> tuple[int, int, int]:
    width, height = struct.unpack_from(">II", content, 16)
    at, frames = 8, 1
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind == b"acTL":
            frames = min(max(struct.unpack_from(">I", content, at + 8)[0], 1), max_frames)
        if kind in (b"acTL", b"IDAT", b"IEND"):
            break
        at += 12 + length
    return width, height, frames


def _gif(content: bytes, max_frames: int) -> tuple[int, int, int]:
    """Return the logical screen, extended to the frames that exceed it, and the frame count."""
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    frames = 0
    while at < len(content) and frames < max_frames:
        block = content[at]
        if block == _GIF_IMAGE and at + 10 <= len(content):
            x, y, w, h, flags = struct.unpack_from("<HHHHB", content, at + 1)
            width, height = max(width, x + w), max(height, y + h)
            frames += 1
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        elif block == _GIF_EXTENSION:
            at += 2
        else:
            break
        while at < len(content) and content[at]:
            at += content[at] + 1
        at += 1
    return width, height, max(frames, 1)


def _bmp(content: bytes, _: int) -> tuple[int, int, int]:
    (size,) = struct.unpack_from("<I", content, 14)
    if size == _BMP_CORE_BYTES:
        width, height = struct.unpack_from("<HH", content, 18)
    else:
        width, height = struct.unpack_from("<ii", content, 18)
    return width, abs(height), 1


def _webp(content: bytes, max_frames: int) -> tuple[int, int, int]:
    kind = content[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF, 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1
    if kind != b"VP8X":
        raise IndexError
    width = int.from_bytes(content[24:27], "little") + 1
    height = int.from_bytes(content[27:30], "little") + 1
    at, frames = 12, 0
    while at + 8 <= len(content) and frames < max_frames:
        name, length = struct.unpack_from("<4sI", content, at)
        frames += name == b"ANMF"
        at += 8 + length + (length & 1)
    return width, height, max(frames, 1)


def _tiff(content: bytes, max_frames: int) -> tuple[int, int, int]:
    """Return the size of the largest page and the page count; classic and BigTIFF."""
    order = "<" if content[:2] == b"II" else ">"
    big = content[2:4] in (b"+\0", b"\0+")
    entry_bytes, count_format, offset_format = (20, "Q", "Q") if big else (12, "H", "I")
    (at,) = struct.unpack_from(order + offset_format, content, 8 if big else 4)
    width = height = pages = 0
    seen: set[int] = set()
    while at and at not in seen and pages < max_frames:
        seen.add(at)
        (count,) = struct.unpack_from(order + count_format, content, at)
        entries = at + struct.calcsize("=" + count_format)
        if entries + count * entry_bytes > len(content):
            raise IndexError
        page_width = page_height = 0
        for i in range(count):
            entry = entries + i * entry_bytes
            tag, kind = struct.unpack_from(order + "HH", content, entry)
            if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
                value = struct.unpack_from(
                    order + ("H" if kind == _TIFF_SHORT else "I"),
                    content,
                    entry + (12 if big else 8),
                )[0]
                page_width, page_height = (
                    (value, page_height) if tag == _TIFF_WIDTH else (page_width, value)
                )
        if page_width * page_height > width * height:
            width, height = page_width, page_height
        pages += 1
        (at,) = struct.unpack_from(order + offset_format, content, entries + count * entry_bytes)
    return width, height, pages


def _isobmff(content: bytes, _: int) -> tuple[int, int, int]:
    """Return the largest `ispe` box of AVIF or HEIC: of the picture, its tiles or its thumbnail.

    The frame count is 1: the decoder counts frames before it decodes one.
    """
    width = height = 0
    at = content.find(b"ispe")
    while 0 <= at <= len(content) - 16:
        w, h = struct.unpack_from(">II", content, at + 8)
        if w * h > width * height:
            width, height = w, h
        at = content.find(b"ispe", at + 4, 2**20)
    return width, height, 1


_READERS: dict[str, Callable[[bytes, int], tuple[int, int, int]]] = {
    sniff.JPEG: _jpeg,
    sniff.PNG: _png,
    sniff.GIF: _gif,
    sniff.BMP: _bmp,
    sniff.WEBP: _webp,
    sniff.TIFF: _tiff,
    sniff.AVIF: _isobmff,
    sniff.HEIC: _isobmff,
}
