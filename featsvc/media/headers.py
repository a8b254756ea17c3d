"""Size and frame count from each format's header, before any decoder allocates or runs."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from featsvc.errors import MediaCorrupt
from featsvc.media import sniff

# JPEG: markers of a frame header (SOF0 to SOF15 without DHT, JPG and DAC), and those that no length
# follows.
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_FILL = 0xFF
_STANDALONE = frozenset({0x00, 0x01, _FILL, *range(0xD0, 0xD9)})
_GIF_IMAGE, _GIF_EXTENSION = 0x2C, 0x21
_BMP_CORE_BYTES = 12
"""Of the oldest header, the only one whose sizes have 16 bits."""
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_SHORT = 256, 257, 3


@dataclass(frozen=True, slots=True)
class Header:
    """`width` and `height` in pixels as stored; `frames` is counted up to one past the limit."""

    media_type: str
    width: int
    height: int
    frames: int


def read_header(content: bytes, media_type: str, max_frames: int) -> Header:
    """Raises MediaCorrupt where the header is cut short or holds no size."""
    try:
        width, height, frames = _READERS[media_type](content, max_frames + 1)
    except (struct.error, IndexError) as exc:
        raise MediaCorrupt(f"the {media_type} header is cut short; send the whole file") from exc
    return Header(media_type, width, height, frames)


def _jpeg(content: bytes, _: int) -> tuple[int, int, int]:
    """The first frame header."""
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


def _png(content: bytes, most: int) -> tuple[int, int, int]:
    width, height = struct.unpack_from(">II", content, 16)
    at, frames = 8, 1
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind == b"acTL":
            frames = min(max(struct.unpack_from(">I", content, at + 8)[0], 1), most)
        if kind in (b"acTL", b"IDAT", b"IEND"):
            break
        at += 12 + length
    return width, height, frames


def _gif(content: bytes, most: int) -> tuple[int, int, int]:
    """The logical screen, grown by frames that stick out of it, and the number of frames."""
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    frames = 0
    while at < len(content) and frames < most:
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


def _webp(content: bytes, most: int) -> tuple[int, int, int]:
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
    while at + 8 <= len(content) and frames < most:
        name, length = struct.unpack_from("<4sI", content, at)
        frames += name == b"ANMF"
        at += 8 + length + (length & 1)
    return width, height, max(frames, 1)


def _tiff(content: bytes, most: int) -> tuple[int, int, int]:
    """The largest page, and the number of pages; classic and big TIFF."""
    order = "<" if content[:2] == b"II" else ">"
    big = content[2:4] in (b"+\0", b"\0+")
    entry_bytes, count_format, offset_format = (20, "Q", "Q") if big else (12, "H", "I")
    (at,) = struct.unpack_from(order + offset_format, content, 8 if big else 4)
    width = height = pages = 0
    seen: set[int] = set()
    while at and at not in seen and pages < most:
        seen.add(at)
        (count,) = struct.unpack_from(order + count_format, content, at)
        entries = at + struct.calcsize("=" + count_format)
        if entries + count * entry_bytes > len(content):
            raise IndexError
        page_width = page_height = 0
        for i in range(count):
            where = entries + i * entry_bytes
            tag, kind = struct.unpack_from(order + "HH", content, where)
            if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
                value = struct.unpack_from(
                    order + ("H" if kind == _TIFF_SHORT else "I"),
                    content,
                    where + (12 if big else 8),
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
    """The largest `ispe` box of AVIF and HEIC: a still's size, its tiles' or its thumbnail's.

    Frames are left to the decoder, which counts them before it decodes one.
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
