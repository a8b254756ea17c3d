"""WebP: still pictures straight to RGB, animations frame by frame, through libwebp.

A file is a RIFF container: one VP8 (lossy) or VP8L (lossless) chunk, or after a VP8X chunk also
ALPH (alpha of a lossy picture), EXIF, or ANMF, one a frame, each with chunks of its own.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import MediaCorrupt
from featsvc.media import sniff
from featsvc.media.codecs import libwebp, pillow
from featsvc.media.exif import parse_orientation
from featsvc.media.flatten import flatten
from featsvc.media.header import Header
from featsvc.media.kinds import OPAQUE, STRAIGHT, Kind, Rule
from featsvc.media.options import Alpha, Frames, Image
from featsvc.media.task import Task

LOSSY, LOSSLESS = "lossy", "lossless"
KINDS = (Rule("rgb", (8,), "as stored", alphas=(OPAQUE, STRAIGHT), compressions=(LOSSY, LOSSLESS)),)

_ANIMATION, _EXIF, _ALPHA = 0x02, 0x08, 0x10
"""Flags of VP8X."""
_FRAME_HEADER_BYTES = 16
_LOSSY_MAGIC, _LOSSLESS_MAGIC = b"\x9d\x01\x2a", 0x2F
_FIXED_BYTES = 2**22
"""Rows and contexts of the decoder, 1.3 MiB for a width of 16,383, and a strip of pixels."""
_SMALL_PIXELS = 2**22
"""Pixels of transforms and maps that are decoded to count the groups of codes: 0.2 s at most."""
_MOST_GROUPS, _GROUP_BITS = 2**16, 20
_CODE_ENTRIES = 3 * 630 + 410
_GREEN_ENTRIES = (654, 656, 658, 662, 670, 686, 718, 782, 912, 1168, 1680, 2704)
"""Entries of 4 bytes in libwebp's tables of a group, the latter by the bits of the colour cache."""
_GROUP_BYTES = 640


class _Picture(NamedTuple):
    """A VP8 or VP8L chunk."""

    width: int
    height: int
    lossless: bool
    has_alpha: bool
    codes: tuple[int, int]
    """Where the lossless data is, of the picture or of its alpha."""


class _File(NamedTuple):
    """The container; its `pictures` are the frames, counted up to one past the limit."""

    width: int
    height: int
    has_alpha: bool
    is_animation: bool
    pictures: list[_Picture]
    orientation: int
    end: int


def read_header(content: bytes, max_frames: int) -> Header:
    """Read all chunks; their sizes must add up."""
    file = _read_file(content, max_frames)
    lossless = any(picture.lossless for picture in file.pictures)
    kind = Kind(
        alpha=STRAIGHT if file.has_alpha else OPAQUE,
        compression=LOSSLESS if lossless else LOSSY,
    )
    return Header(
        sniff.WEBP, file.width, file.height, len(file.pictures), _peak_bytes(content, file), kind
    )


def _peak_bytes(content: bytes, file: _File) -> int:
    """Count the decoder's pixels and codes, the pixels of its output, and those returned."""
    most = 0
    left = _SMALL_PIXELS
    for picture in file.pictures:
        # ARGB of a lossless picture, or of a lossy one's compressed alpha, and the plane of alpha.
        inside = 4 if picture.lossless else 5 * picture.has_alpha
        codes, decoded = _code_bytes(content, picture, left)
        left -= decoded
        most = max(most, inside * picture.width * picture.height + codes)
    pixels = file.width * file.height
    if file.is_animation:
        # Two canvases, the frame that is returned, and the one that was returned before.
        return most + (2 * 4 + 3 + 3) * pixels + _FIXED_BYTES
    # RGBA is composited when the decoder is gone.
    output = 4 if file.has_alpha else 3
    return max(most + output * pixels, 7 * pixels * file.has_alpha) + _FIXED_BYTES


def _code_bytes(content: bytes, picture: _Picture, most_pixels: int) -> tuple[int, int]:
    """Return the bytes of a lossless picture's codes, and how many pixels were decoded to know."""
    start, end = picture.codes
    if start == end:
        return 0, 0
    # Imported late: commands that decode nothing need no kernels.
    from featsvc_kernels import vp8l  # noqa: PLC0415

    data = np.frombuffer(content, np.uint8, end - start, start)
    width, height = picture.width, picture.height
    groups, cache_bits, decoded = vp8l.count_groups(data, width, height, most_pixels)
    if groups == vp8l.DAMAGED:
        raise MediaCorrupt("the WebP's codes are damaged; send the whole file")
    if groups == vp8l.TOO_LARGE:
        tiles = -(-width // 4) * -(-height // 4)
        groups, cache_bits = min(_MOST_GROUPS, tiles, 8 * len(data) // _GROUP_BITS + 1), 11
    return groups * (4 * (_CODE_ENTRIES + _GREEN_ENTRIES[cache_bits]) + _GROUP_BYTES), decoded


def _read_file(content: bytes, max_frames: int) -> _File:
    end = 8 + int.from_bytes(content[4:8], "little")
    if end > len(content):
        raise MediaCorrupt(
            f"the WebP declares {end:,} bytes, {len(content):,} are here; send the whole file"
        )
    name, at, size = next(_chunks(content, 12, end), (b"", 0, 0))
    if name in (b"VP8 ", b"VP8L"):
        picture = _read_picture(content, name, at, size, None)
        return _File(picture.width, picture.height, picture.has_alpha, False, [picture], 0, end)
    if name != b"VP8X" or size < 10:
        raise MediaCorrupt("the WebP begins with no picture; it is damaged; send the whole file")
    return _read_extended(content, at, end, max_frames)


def _read_extended(content: bytes, at: int, end: int, max_frames: int) -> _File:
    flags = content[at]
    width, height = (int.from_bytes(content[at + i : at + i + 3], "little") + 1 for i in (4, 7))
    is_animation = bool(flags & _ANIMATION)
    pictures: list[_Picture] = []
    orientation = 0
    for name, start, size in _chunks(content, 12, end):
        if name == b"ANMF" and is_animation and len(pictures) <= max_frames:
            pictures.append(_read_frame(content, start, size, width, height))
        elif name == b"EXIF" and flags & _EXIF:
            orientation = parse_orientation(content[start : start + size])
    if not is_animation:
        pictures = [_read_still(content, 12, end)]
        if pictures[0][:2] != (width, height):
            raise MediaCorrupt(
                f"the WebP declares {width} x {height}, its picture {pictures[0].width} x "
                f"{pictures[0].height}; it is damaged; send the whole file"
            )
    if not pictures:
        raise MediaCorrupt("the WebP animation has no frames; send the whole file")
    has_alpha = bool(flags & _ALPHA)
    return _File(width, height, has_alpha, is_animation, pictures, orientation, end)


def _chunks(content: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, start and size of each chunk; raises MediaCorrupt where one is cut short."""
    while at + 8 <= end:
        name, size = struct.unpack_from("<4sI", content, at)
        if at + 8 + size > end:
            raise MediaCorrupt(f"the WebP's chunk at byte {at:,} is cut short; send the whole file")
        yield name, at + 8, size
        at += 8 + size + (size & 1)


def _read_frame(content: bytes, at: int, size: int, width: int, height: int) -> _Picture:
    x, y, w, h = (int.from_bytes(content[at + i : at + i + 3], "little") for i in (0, 3, 6, 9))
    if size < _FRAME_HEADER_BYTES or 2 * x + w + 1 > width or 2 * y + h + 1 > height:
        raise MediaCorrupt("a frame of the WebP exceeds its canvas; send the whole file")
    picture = _read_still(content, at + _FRAME_HEADER_BYTES, at + size)
    if picture[:2] != (w + 1, h + 1):
        raise MediaCorrupt("a frame of the WebP declares two sizes; send the whole file")
    return picture


def _read_still(content: bytes, at: int, end: int) -> _Picture:
    """Read the first picture between two places, and whether alpha stands before it."""
    alpha: tuple[int, int] | None = None
    for name, start, size in _chunks(content, at, end):
        if name in (b"VP8 ", b"VP8L"):
            return _read_picture(content, name, start, size, alpha)
        if name == b"ALPH" and alpha is None:
            compressed = bool(size) and content[start] & 3 == 1
            alpha = (start + 1, start + size) if compressed else (start, start)
    raise MediaCorrupt("the WebP has no picture; it is truncated; send the whole file")


def _read_picture(
    content: bytes, name: bytes, at: int, size: int, alpha: tuple[int, int] | None
) -> _Picture:
    if name == b"VP8 " and size >= 10 and content[at + 3 : at + 6] == _LOSSY_MAGIC:
        width, height = struct.unpack_from("<HH", content, at + 6)
        return _Picture(width & 0x3FFF, height & 0x3FFF, False, alpha is not None, alpha or (0, 0))
    if name == b"VP8L" and size >= 5 and content[at] == _LOSSLESS_MAGIC:
        (bits,) = struct.unpack_from("<I", content, at + 1)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        return _Picture(width, height, True, bool(bits >> 28 & 1), (at + 5, at + size))
    raise MediaCorrupt("the WebP's picture has no header; it is damaged; send the whole file")


def decode(task: Task) -> Iterator[Image]:
    if not libwebp.is_available():
        yield from pillow.decode(task)
        return
    content, header, options = task.content, task.header, task.options
    file = _read_file(content, task.limits.max_frames)
    # What follows the container is none of the picture's.
    content = content if file.end == len(content) else content[: file.end]
    count = header.frames if options.frames is Frames.ALL else 1
    for index, stored in enumerate(_decode_frames(content, file, task)):
        yield task.image(stored, file.orientation, frame=index, frames=header.frames)
        if index + 1 == count:
            break


def _decode_frames(content: bytes, file: _File, task: Task) -> Iterator[NDArray[np.uint8]]:
    alpha = task.options.alpha if file.has_alpha else Alpha.IGNORE
    if file.is_animation:
        for canvas in libwebp.decode_animation(content, file.width, file.height):
            task.budget.check()
            yield flatten(canvas, alpha, task.budget)
        return
    colorspace = libwebp.RGB if alpha is Alpha.IGNORE else libwebp.RGBA
    pixels = libwebp.decode_still(content, file.width, file.height, colorspace, task.budget)
    yield pixels if colorspace == libwebp.RGB else flatten(pixels, alpha, task.budget)
