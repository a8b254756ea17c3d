"""AVIF through Pillow, and HEIC through the extra `heic`."""

import struct
from collections.abc import Iterator

from featsvc.media import pillow, sniff
from featsvc.media.header import Header
from featsvc.media.kinds import Rule
from featsvc.media.options import Image
from featsvc.media.task import Task

KINDS = (Rule("rgb", (8,), "as stored"),)


def read_avif_header(content: bytes, _: int) -> Header:
    width, height = _largest_extent(content)
    return Header(sniff.AVIF, width, height, 1, pillow.peak_bytes(width, height))


def read_heic_header(content: bytes, _: int) -> Header:
    width, height = _largest_extent(content)
    return Header(sniff.HEIC, width, height, 1, pillow.peak_bytes(width, height))


def _largest_extent(content: bytes) -> tuple[int, int]:
    """Return the largest `ispe` box: of the picture, its tiles or its thumbnail."""
    width = height = 0
    at = content.find(b"ispe")
    while 0 <= at <= len(content) - 16:
        w, h = struct.unpack_from(">II", content, at + 8)
        if w * h > width * height:
            width, height = w, h
        at = content.find(b"ispe", at + 4, 2**20)
    return width, height


def decode(task: Task) -> Iterator[Image]:
    # The header has no frame count: the decoder counts before it decodes one.
    yield from pillow.decode(task, count_frames=True)
