"""PNG through Pillow."""

import struct
from collections.abc import Iterator

from featsvc.media import pillow, sniff
from featsvc.media.header import Header
from featsvc.media.kinds import Rule
from featsvc.media.options import Image
from featsvc.media.task import Task

KINDS = (Rule("rgb", (8,), "as stored"),)


def read_header(content: bytes, max_frames: int) -> Header:
    width, height = struct.unpack_from(">II", content, 16)
    at, frames = 8, 1
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind == b"acTL":
            frames = min(max(struct.unpack_from(">I", content, at + 8)[0], 1), max_frames + 1)
        if kind in (b"acTL", b"IDAT", b"IEND"):
            break
        at += 12 + length
    return Header(sniff.PNG, width, height, frames, pillow.peak_bytes(width, height))


def decode(task: Task) -> Iterator[Image]:
    yield from pillow.decode(task)
