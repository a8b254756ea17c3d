"""TIFF through Pillow."""

import struct
from collections.abc import Iterator

from featsvc.media import pillow, sniff
from featsvc.media.header import Header
from featsvc.media.kinds import Rule
from featsvc.media.options import Image
from featsvc.media.task import Task

KINDS = (Rule("rgb", (8,), "as stored"),)

_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_SHORT = 256, 257, 3


def read_header(content: bytes, max_frames: int) -> Header:
    width, height, pages = _read_size(content, max_frames + 1)
    return Header(sniff.TIFF, width, height, pages, pillow.peak_bytes(width, height))


def _read_size(content: bytes, max_frames: int) -> tuple[int, int, int]:
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


def decode(task: Task) -> Iterator[Image]:
    yield from pillow.decode(task)
