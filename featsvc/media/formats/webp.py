"""WebP through Pillow."""

import struct
from collections.abc import Iterator

from featsvc.media import pillow, sniff
from featsvc.media.header import Header
from featsvc.media.kinds import Rule
from featsvc.media.options import Image
from featsvc.media.task import Task

KINDS = (Rule("rgb", (8,), "as stored"),)


def read_header(content: bytes, max_frames: int) -> Header:
    width, height, frames = _read_size(content, max_frames)
    return Header(sniff.WEBP, width, height, frames, pillow.peak_bytes(width, height))


def _read_size(content: bytes, max_frames: int) -> tuple[int, int, int]:
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
    while at + 8 <= len(content) and frames <= max_frames:
        name, length = struct.unpack_from("<4sI", content, at)
        frames += name == b"ANMF"
        at += 8 + length + (length & 1)
    return width, height, max(frames, 1)


def decode(task: Task) -> Iterator[Image]:
    yield from pillow.decode(task)
