"""GIF through Pillow, which composes each frame on those before it.

A file is a logical screen with colours, then blocks: images, and extensions that say how long a
frame stays, which colour is transparent, and what becomes of it. The byte `;` ends them.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from featsvc.errors import MediaCorrupt
from featsvc.media import sniff
from featsvc.media.codecs import pillow
from featsvc.media.header import Header
from featsvc.media.kinds import KEYED, OPAQUE, Kind, Rule, check_kind
from featsvc.media.options import Frames, Image
from featsvc.media.task import Task

KINDS = (Rule("palette", range(1, 9), "its colours", alphas=(OPAQUE, KEYED)),)

_IMAGE, _EXTENSION, _END = 0x2C, 0x21, 0x3B
_CONTROL = 0xF9
_STILL_BYTES, _FRAME_BYTES = 5, 24
"""Most bytes a pixel: indices, Pillow's own pixels and ours; of a later frame also what was before
it, what it leaves, and both with transparency."""
_FIXED_BYTES = 2**23
"""A strip on its way to RGB."""


class _Blocks(NamedTuple):
    width: int
    height: int
    frames: int
    kind: Kind
    ended: bool


def read_header(content: bytes, max_frames: int) -> Header:
    """Read the logical screen, extended to the frames that exceed it, and count the frames."""
    blocks = _read_blocks(content, max_frames)
    if not blocks.frames:
        raise MediaCorrupt("the GIF has no picture; send the whole file")
    check_kind(sniff.GIF, blocks.kind, KINDS)
    per_pixel = _STILL_BYTES if blocks.frames == 1 else _FRAME_BYTES
    peak = per_pixel * blocks.width * blocks.height + _FIXED_BYTES
    return Header(sniff.GIF, blocks.width, blocks.height, blocks.frames, peak, blocks.kind)


def _read_blocks(content: bytes, max_frames: int) -> _Blocks:
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    bits, keyed = (flags & 7) + 1 if flags & 0x80 else 8, False
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    frames = 0
    while at < len(content) and frames <= max_frames:
        block = content[at]
        if block == _IMAGE:
            x, y, w, h, flags = struct.unpack_from("<HHHHB", content, at + 1)
            width, height = max(width, x + w), max(height, y + h)
            if flags & 0x80:
                bits = max(bits, (flags & 7) + 1) if frames else (flags & 7) + 1
            frames += 1
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        elif block == _EXTENSION:
            if content[at + 1 : at + 3] == bytes((_CONTROL, 4)):
                keyed = keyed or bool(content[at + 3] & 1)
            at += 2
        else:
            break
        while at < len(content) and content[at]:
            at += content[at] + 1
        at += 1
    ended = at < len(content) and content[at] == _END
    kind = Kind("palette", bits, alpha=KEYED if keyed else OPAQUE)
    return _Blocks(width, height, frames, kind, ended)


def decode(task: Task) -> Iterator[Image]:
    yield from pillow.decode(task)
    if task.options.frames is Frames.ALL:
        blocks = _read_blocks(task.content, task.limits.max_frames)
        if not blocks.ended and blocks.frames <= task.limits.max_frames:
            raise MediaCorrupt(
                "the GIF does not end after its last frame, so frames may be missing; send the "
                "whole file"
            )
