"""BMP through Pillow."""

import struct
from collections.abc import Iterator

from featsvc.media import pillow, sniff
from featsvc.media.header import Header
from featsvc.media.kinds import Rule
from featsvc.media.options import Image
from featsvc.media.task import Task

KINDS = (Rule("rgb", (8,), "as stored"),)

_CORE_BYTES = 12
"""Size of the oldest BMP header, the only one with 16-bit sizes."""


def read_header(content: bytes, _: int) -> Header:
    (size,) = struct.unpack_from("<I", content, 14)
    if size == _CORE_BYTES:
        width, height = struct.unpack_from("<HH", content, 18)
    else:
        width, height = struct.unpack_from("<ii", content, 18)
    height = abs(height)
    return Header(sniff.BMP, width, height, 1, pillow.peak_bytes(width, height))


def decode(task: Task) -> Iterator[Image]:
    yield from pillow.decode(task)
