"""GIF through Pillow, which composes each frame on those before it."""

import struct
from collections.abc import Iterator

from featsvc.media import pillow, sniff
from featsvc.media.header import Header
from featsvc.media.kinds import Rule
from featsvc.media.options import Image
from featsvc.media.task import Task

KINDS = (Rule("rgb", (8,), "as stored"),)

_IMAGE, _EXTENSION = 0x2C, 0x21


def read_header(content: bytes, max_frames: int) -> Header:
    """Read the logical screen, extended to the frames that exceed it, and count the frames."""
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    frames = 0
    while at < len(content) and frames <= max_frames:
        block = content[at]
        if block == _IMAGE and at + 10 <= len(content):
            x, y, w, h, flags = struct.unpack_from("<HHHHB", content, at + 1)
            width, height = max(width, x + w), max(height, y + h)
            frames += 1
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        elif block == _EXTENSION:
            at += 2
        else:
            break
        while at < len(content) and content[at]:
            at += content[at] + 1
        at += 1
    return Header(sniff.GIF, width, height, max(frames, 1), pillow.peak_bytes(width, height))


def decode(task: Task) -> Iterator[Image]:
    yield from pillow.decode(task)
