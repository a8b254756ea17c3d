"""BMP: the rows of Windows and OS/2 bitmaps, read as they lie in the content.

    14 bytes    "BM", ..., where the rows begin
    header      12 bytes (OS/2), or 40 to 124 of which each version extends the one before
    masks       of bitfields, where the header is too short to hold them
    palette     for up to 8 bits a pixel: blue, green, red, and a byte that means nothing
    rows        bottom up unless the height is negative; each filled up to 4 bytes

Pillow takes an 8-bit picture of two colours for a 1-bit one, and aligns runs (RLE) by their place
in the file; the rest equals its pixels.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import MediaCorrupt, UnsupportedMedia
from featsvc.media import sniff
from featsvc.media.flatten import flatten
from featsvc.media.formats.bmp.run_length import decode_runs
from featsvc.media.header import Header
from featsvc.media.kinds import OPAQUE, STRAIGHT, Kind, Rule, check_kind
from featsvc.media.options import Alpha, Image
from featsvc.media.task import Budget, Task

_RLE8, _RLE4 = "RLE8", "RLE4"
KINDS = (
    Rule("palette", (1, 2, 4, 8), "its colours"),
    Rule("palette", (8,), "its colours; skipped pixels have the first", compressions=(_RLE8,)),
    Rule("palette", (4,), "its colours; skipped pixels have the first", compressions=(_RLE4,)),
    Rule("rgb", range(1, 11), "scaled to 8 bits", alphas=(OPAQUE, STRAIGHT)),
)

_CORE_BYTES, _OS2_BYTES = 12, 64
_BITFIELDS, _ALPHA_BITFIELDS = 3, 6
_COMPRESSIONS = {
    4: "JPEG",
    5: "PNG",
    11: "CMYK",
    12: "CMYK in RLE8",
    13: "CMYK in RLE4",
}
_OS2_COMPRESSIONS = {3: "Huffman", 4: "RLE24"}
_MASKS_AT = 14 + 40
_ALL_BITS = {16: (0x7C00, 0x3E0, 0x1F, 0), 24: (0xFF0000, 0xFF00, 0xFF, 0)}
_ALL_BITS[32] = _ALL_BITS[24]
_FIXED_BYTES = 2**16
_DEPTHS = (1, 2, 4, 8, 16, 24, 32)
_STRIP_PIXELS = 2**18
"""Takes under 10 ms, and 24 bytes a pixel."""


class _Bitmap(NamedTuple):
    """What the header says. `masks` are of red, green, blue and alpha, empty for a palette."""

    width: int
    height: int
    top_down: bool
    depth: int
    compression: str
    masks: tuple[int, ...]
    colours: int
    palette_at: int
    entry_bytes: int
    data_at: int

    @property
    def stride(self) -> int:
        return (self.width * self.depth + 31) // 32 * 4

    @property
    def kind(self) -> Kind:
        if not self.masks:
            return Kind("palette", self.depth, compression=self.compression)
        alpha = STRAIGHT if self.masks[3] else OPAQUE
        return Kind("rgb", max(mask.bit_count() for mask in self.masks), alpha=alpha)


def read_header(content: bytes, _: int) -> Header:
    bitmap = _read_bitmap(content)
    check_kind(sniff.BMP, bitmap.kind, KINDS)
    pixels = bitmap.width * bitmap.height
    # RGB, and RGBA or the indices of runs.
    beside = 4 if bitmap.kind.alpha else bool(bitmap.compression)
    peak = (3 + beside) * pixels + 24 * min(pixels, max(_STRIP_PIXELS, bitmap.width)) + _FIXED_BYTES
    return Header(sniff.BMP, bitmap.width, bitmap.height, 1, peak, bitmap.kind)


def _read_bitmap(content: bytes) -> _Bitmap:
    (data_at, size) = struct.unpack_from("<II", content, 10)
    if size == _CORE_BYTES:
        width, height, _, depth = struct.unpack_from("<HHHH", content, 18)
        code = colours = 0
    else:
        width, height, _, depth, code = struct.unpack_from("<iiHHI", content, 18)
        (colours,) = struct.unpack_from("<I", content, 46)
    if depth not in _DEPTHS:
        raise UnsupportedMedia(
            f"this image/bmp has {depth} bits a pixel, which featsvc does not decode; only byte "
            "hashes apply"
        )
    compression = _compression(code, depth, size)
    masks: tuple[int, ...] = ()
    palette_at = 14 + size
    if depth > 8:
        masks = _ALL_BITS[depth]
        if code in (_BITFIELDS, _ALPHA_BITFIELDS):
            masks, extra = _read_masks(content, size, code, depth)
            palette_at += extra
    entry_bytes = 3 if size == _CORE_BYTES else 4
    colours = colours if 0 < colours < 1 << depth else 1 << min(depth, 8)
    if 0 < data_at < 14 + size:
        raise MediaCorrupt("the BMP's rows begin inside of its header; send the whole file")
    if depth <= 8 and data_at in (0, 14 + size):
        data_at = palette_at + entry_bytes * colours
    return _Bitmap(
        width=width,
        height=abs(height),
        top_down=height < 0,
        depth=depth,
        compression=compression,
        masks=masks,
        colours=colours,
        palette_at=palette_at,
        entry_bytes=entry_bytes,
        data_at=data_at or palette_at,
    )


def _compression(code: int, depth: int, size: int) -> str:
    """Return RLE8, RLE4 or nothing. Raises UnsupportedMedia (its name)."""
    if (code, depth) in ((1, 8), (2, 4)):
        return _RLE8 if depth == 8 else _RLE4
    bitfields = code in (_BITFIELDS, _ALPHA_BITFIELDS) and depth >= 16 and size != _OS2_BYTES
    if code == 0 or bitfields:
        return ""
    names = _COMPRESSIONS | (_OS2_COMPRESSIONS if size == _OS2_BYTES else {})
    name = names.get(code, f"compression {code}")
    raise UnsupportedMedia(
        f"this image/bmp holds {name} at {depth} bits a pixel, which featsvc does not decode; only "
        "byte hashes apply"
    )


def _read_masks(content: bytes, size: int, code: int, depth: int) -> tuple[tuple[int, ...], int]:
    """Return the masks, and how many bytes they take after the header."""
    # A header of 52 bytes has three of them, one of 56 or more four.
    has_alpha = size >= 56 or (size == 40 and code == _ALPHA_BITFIELDS)
    masks = struct.unpack_from("<4I" if has_alpha else "<3I", content, _MASKS_AT)
    masks = masks if has_alpha else (*masks, 0)
    if depth == 32 and not any(masks):
        masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    for mask in masks:
        ones = mask >> (mask & -mask).bit_length() - 1 if mask else 0
        if ones & ones + 1 or mask >> depth:
            raise UnsupportedMedia(
                f"this image/bmp spreads a colour over the bits {mask:#x}, which featsvc does not "
                "decode; only byte hashes apply"
            )
    return masks, (4 * len(masks) if has_alpha else 12) if size == 40 else 0


def decode(task: Task) -> Iterator[Image]:
    content = task.content
    bitmap = _read_bitmap(content)
    if bitmap.masks:
        yield task.image(_decode_masks(content, bitmap, task))
    else:
        yield task.image(_decode_palette(content, bitmap, task.budget))


def _strips(
    content: bytes, bitmap: _Bitmap, budget: Budget
) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """Yield rows of bytes, top down, and where they belong. Raises MediaCorrupt for a lack."""
    used = (bitmap.width * bitmap.depth + 7) // 8
    stride, height, first = bitmap.stride, bitmap.height, bitmap.data_at
    needed = first + stride * (height - 1) + used
    if needed > len(content):
        raise MediaCorrupt(
            f"the BMP needs {needed:,} bytes, {len(content):,} are here; send the whole file"
        )
    step = max(_STRIP_PIXELS // bitmap.width, 1)
    for start in range(0, height, step):
        budget.check()
        stop = min(start + step, height)
        # What fills up the last row may be missing.
        data = content[first + start * stride : first + stop * stride]
        rows = np.frombuffer(data.ljust((stop - start) * stride, b"\0"), np.uint8)
        rows = rows.reshape(stop - start, stride)[:, :used]
        if bitmap.top_down:
            yield slice(start, stop), rows
        else:
            yield slice(height - stop, height - start), rows[::-1]


def _decode_palette(content: bytes, bitmap: _Bitmap, budget: Budget) -> NDArray[np.uint8]:
    """Look the colours up: (H, W) if index and grey are the same, else (H, W, 3)."""
    palette, is_grey = _read_palette(content, bitmap)
    shape = (bitmap.height, bitmap.width)
    out = np.empty(shape if is_grey else (*shape, 3), np.uint8)
    if bitmap.compression:
        indices = decode_runs(
            content[bitmap.data_at :], *shape, half_bytes=bitmap.depth == 4, budget=budget
        )
        rows = max(_STRIP_PIXELS // bitmap.width, 1)
        ordered = indices if bitmap.top_down else indices[::-1]
        for top in range(0, bitmap.height, rows):
            budget.check()
            out[top : top + rows] = palette[ordered[top : top + rows]]
        return out
    for place, strip in _strips(content, bitmap, budget):
        out[place] = palette[_unpack(strip, bitmap.depth)[:, : bitmap.width]]
    return out


def _read_palette(content: bytes, bitmap: _Bitmap) -> tuple[NDArray[np.uint8], bool]:
    """Return 256 colours (256, 3), or greys (256,) where each is its index."""
    size = bitmap.colours * bitmap.entry_bytes
    data = content[bitmap.palette_at : bitmap.palette_at + size]
    if len(data) < size:
        raise MediaCorrupt("the BMP's palette is cut short; send the whole file")
    entries = np.frombuffer(data, np.uint8).reshape(bitmap.colours, bitmap.entry_bytes)
    ramp = np.arange(256, dtype=np.uint8)
    if bitmap.colours == 2 or bitmap.depth == 1:
        ramp[1] = 255
    if (entries[:, :3] == ramp[: bitmap.colours, None]).all():
        return ramp, True
    # An index past the palette is black, as in Pillow.
    palette = np.zeros((256, 3), np.uint8)
    palette[: bitmap.colours] = entries[:, 2::-1]
    return palette, False


def _unpack(rows: NDArray[np.uint8], depth: int) -> NDArray[np.uint8]:
    """Spread the indices of a byte, the first of which are its highest bits."""
    if depth == 8:
        return rows
    shifts = np.arange(8 - depth, -1, -depth, dtype=np.uint8)
    mask = np.uint8((1 << depth) - 1)
    return (rows[:, :, None] >> shifts & mask).reshape(len(rows), -1)


def _decode_masks(content: bytes, bitmap: _Bitmap, task: Task) -> NDArray[np.uint8]:
    """Decode to (H, W, 3). Alpha that is 0 everywhere means nothing, as viewers take it."""
    channels = 4 if bitmap.masks[3] else 3
    out = np.empty((bitmap.height, bitmap.width, channels), np.uint8)
    seen = 0
    for place, strip in _strips(content, bitmap, task.budget):
        values = _read_values(strip, bitmap)
        for channel in range(channels):
            out[place, :, channel] = _scale(values, bitmap.masks[channel])
        seen |= int(out[place, :, 3].max()) if channels == 4 else 0
    if channels == 3:
        return out
    return flatten(out, task.options.alpha if seen else Alpha.IGNORE, task.budget)


def _read_values(rows: NDArray[np.uint8], bitmap: _Bitmap) -> NDArray[np.uint32]:
    """Return the pixels of rows as numbers (rows, W)."""
    size = bitmap.depth // 8
    parts = rows.reshape(len(rows), bitmap.width, size)
    values = np.zeros(parts.shape[:2], np.uint32)
    for i in range(size):
        values |= parts[:, :, i].astype(np.uint32) << np.uint32(8 * i)
    return values


def _scale(values: NDArray[np.uint32], mask: int) -> NDArray[np.uint8]:
    """Scale the bits of a mask to 0 to 255, rounded down."""
    if not mask:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    part = values >> np.uint32(shift) & np.uint32(most)
    scaled = part if most == 255 else part * np.uint32(255) // np.uint32(most)
    return scaled.astype(np.uint8)
