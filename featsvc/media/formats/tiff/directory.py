"""TIFF directories: classic and BigTIFF, of both byte orders, from hostile bytes.

    header      "II" or "MM", 42 (classic) or 43 (BigTIFF), offset of the first directory
    directory   count, then entries of (tag, type, count, value or its offset), next offset

TIFF 6.0, section 2; BigTIFF has 64-bit counts and offsets. Every offset is checked against the
length of the content before anything is read there.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import MediaCorrupt

MAX_TAGS = 4096
"""As libtiff: what declares more is no directory."""

# Types of whole numbers: BYTE, SHORT, LONG, IFD, LONG8, IFD8.
_WHOLE = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
_RATIONAL = 5
_BYTES = frozenset({1, 2, 6, 7})
"""BYTE, ASCII, SBYTE and UNDEFINED: one byte each."""
_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class Tag(IntEnum):
    """The tags that decide what the pixels are; all others are ignored, whatever they hold."""

    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTES = 279
    PLANES = 284
    FAX3_OPTIONS = 292
    FAX4_OPTIONS = 293
    PREDICTOR = 317
    COLOUR_MAP = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_BYTES = 325
    INKS = 332
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    LUMA_SHARES = 529
    SUBSAMPLING = 530
    BLACK_AND_WHITE = 532


_DECIDES = np.zeros(2**16, bool)
_DECIDES[list(Tag)] = True


def damaged(what: str) -> MediaCorrupt:
    return MediaCorrupt(
        f"the TIFF does not decode: {what}; it is truncated or damaged; send the whole file"
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    type: int
    count: int
    at: int
    """Where the values lie in the content."""


@dataclass(frozen=True, slots=True)
class Directory:
    """The tags of one page. Values are read when asked for; each raises MediaCorrupt."""

    content: bytes
    order: str
    """ "<" or ">", as `struct` and NumPy write it."""
    entries: dict[int, _Entry]

    def __contains__(self, tag: int) -> bool:
        return tag in self.entries

    def number(self, tag: int, default: int | None = None) -> int:
        """Return the first value of a tag of whole numbers, or the default where it is absent.

        Without a default, a missing tag is damage.
        """
        if tag not in self.entries:
            if default is None:
                raise damaged(f"its tag {tag} ({Tag(tag).name}) is missing")
            return default
        values = self.numbers(tag, 1)
        if not values.size:
            raise damaged(f"tag {tag} has no value")
        return int(values[0])

    def numbers(self, tag: int, limit: int) -> NDArray[np.unsignedinteger]:
        """Return at most `limit` values of a tag of whole numbers; empty where it is absent."""
        entry = self.entries.get(tag)
        if entry is None:
            return np.zeros(0, np.uint64)
        if entry.type not in _WHOLE:
            raise damaged(f"tag {tag} has the type {entry.type}, not whole numbers")
        dtype = np.dtype(self.order + _WHOLE[entry.type])
        count = min(entry.count, limit)
        self._check(tag, entry.at, count * dtype.itemsize)
        return np.frombuffer(self.content, dtype, count, entry.at)

    def ratios(self, tag: int, default: tuple[float, ...]) -> tuple[float, ...]:
        """Return as many values of a tag of rationals, or of whole numbers, as the default has."""
        entry = self.entries.get(tag)
        if entry is None:
            return default
        if entry.count < len(default):
            raise damaged(f"tag {tag} has {entry.count} values, not {len(default)}")
        if entry.type in _WHOLE:
            return tuple(float(value) for value in self.numbers(tag, len(default)))
        if entry.type != _RATIONAL:
            raise damaged(f"tag {tag} has the type {entry.type}, not ratios")
        self._check(tag, entry.at, 8 * len(default))
        parts = struct.unpack_from(f"{self.order}{2 * len(default)}I", self.content, entry.at)
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return tuple(above / below if below else 0.0 for above, below in pairs)

    def data(self, tag: int, limit: int) -> bytes:
        """Return the bytes of a tag of bytes; more than `limit` is damage."""
        entry = self.entries.get(tag)
        if entry is None:
            return b""
        if entry.type not in _BYTES or entry.count > limit:
            raise damaged(f"tag {tag} has {entry.count} values of the type {entry.type}")
        self._check(tag, entry.at, entry.count)
        return self.content[entry.at : entry.at + entry.count]

    def _check(self, tag: int, at: int, size: int) -> None:
        if at + size > len(self.content):
            raise damaged(f"the values of tag {tag} lie past the end of the file")


class _Shape:
    """Sizes that differ between classic TIFF and BigTIFF."""

    def __init__(self, content: bytes) -> None:
        self.order = "<" if content[:2] == b"II" else ">"
        big = content[2:4] in (b"+\0", b"\0+")
        self.count = struct.Struct(self.order + ("Q" if big else "H"))
        self.offset = struct.Struct(self.order + ("Q" if big else "I"))
        # The last field holds the value itself where it fits.
        self.value_at = 12 if big else 8
        size = "u8" if big else "u4"
        self.entry = np.dtype(
            [(n, self.order + t) for n, t in (("tag", "u2"), ("type", "u2"), ("count", size))]
            + [("value", f"V{self.offset.size}")]
        )
        if big:
            size, zero = struct.unpack_from(self.order + "HH", content, 4)
            if (size, zero) != (8, 0):
                raise damaged(f"its BigTIFF header says offsets of {size} bytes, not 8")
        self.first_at = 8 if big else 4


def read_directories(content: bytes) -> Iterator[Directory]:
    """Yield the directory of each page. Raises MediaCorrupt at the first that is damaged.

    A chain that comes back to a page is damage, too.
    """
    shape = _Shape(content)
    (at,) = shape.offset.unpack_from(content, shape.first_at)
    if not at:
        raise damaged("it has no page")
    seen: set[int] = set()
    while at:
        where = f"page {len(seen) + 1}"
        if at in seen:
            raise damaged(f"{where} points back to a page before it")
        seen.add(at)
        if at + shape.count.size > len(content):
            raise damaged(f"{where} lies past the end of the file")
        (count,) = shape.count.unpack_from(content, at)
        if not 1 <= count <= MAX_TAGS:
            raise damaged(f"{where} declares {count:,} tags, not 1 to {MAX_TAGS:,}")
        begin = at + shape.count.size
        end = begin + count * shape.entry.itemsize
        if end > len(content):
            raise damaged(f"the tags of {where} end past the end of the file")
        yield Directory(content, shape.order, _read_entries(content, shape, begin, count))
        # Some writers end the file here instead of writing a zero.
        if end < len(content) < end + shape.offset.size:
            raise damaged(f"the offset after {where} is cut short")
        at = shape.offset.unpack_from(content, end)[0] if end < len(content) else 0


def _read_entries(content: bytes, shape: _Shape, begin: int, count: int) -> dict[int, _Entry]:
    """Return the entries that decide, by tag; of two with one tag the first, as libtiff does."""
    table = np.frombuffer(content, shape.entry, count, begin)
    rows = np.flatnonzero(_DECIDES[table["tag"]])
    if rows.size > len(Tag):
        rows = rows[np.unique(table["tag"][rows], return_index=True)[1]]
    entries: dict[int, _Entry] = {}
    for row in rows.tolist():
        tag, kind, length = (int(table[name][row]) for name in ("tag", "type", "count"))
        at = begin + row * shape.entry.itemsize + shape.value_at
        if length * _SIZES.get(kind, 1) > shape.offset.size:
            (at,) = shape.offset.unpack_from(content, at)
        entries.setdefault(tag, _Entry(kind, length, at))
    return entries
