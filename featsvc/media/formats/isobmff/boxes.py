"""Parse the boxes of HEIF and AVIF (ISO/IEC 14496-12, 23008-12): items, properties, places.

    ftyp                brands
    meta                pitm: the primary item     iinf: the type of each item
                        iref: tiles, alpha         iloc: where the bytes of each item are
                        iprp: ipco, the properties; ipma, which item has which, in order
    moov/trak           a sequence: tkhd, stsd, stsz

Every size is checked against the box around it, and no more than MAX_BOXES are read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from featsvc.errors import MediaCorrupt, UnsupportedMedia

MAX_BOXES = 20_000
"""Boxes, items and extents of one file; a grid of 48 megapixels has about 100 tiles."""


class Box(NamedTuple):
    """A box: its name, and where its payload starts and ends."""

    name: bytes
    start: int
    end: int


class Reader:
    """Reads big-endian numbers of one box; raises MediaCorrupt past its end."""

    def __init__(self, content: bytes, start: int, end: int) -> None:
        self._content = content
        self.at = start
        self._end = end

    def number(self, size: int) -> int:
        """Read `size` bytes, 0 for none."""
        if self.at + size > self._end:
            raise _cut_short(self.at)
        value = int.from_bytes(self._content[self.at : self.at + size], "big")
        self.at += size
        return value

    def name(self) -> bytes:
        return self.number(4).to_bytes(4, "big")

    def version(self) -> tuple[int, int]:
        """Read the version and the flags of a full box."""
        return self.number(1), self.number(3)


@dataclass(slots=True)
class Item:
    """An item of `meta`: its type, what describes it, and where its bytes are."""

    type: bytes = b""
    hidden: bool = False
    properties: list[Box] = field(default_factory=list)
    extents: list[tuple[int, int]] = field(default_factory=list)
    """Places and lengths in the content."""


@dataclass(slots=True)
class Meta:
    """The box `meta`; `references` are (type, from, to)."""

    primary: int = 0
    items: dict[int, Item] = field(default_factory=dict)
    references: list[tuple[bytes, int, list[int]]] = field(default_factory=list)

    def item(self, number: int) -> Item:
        return self.items.setdefault(number, Item())

    def referred(self, name: bytes, source: int) -> list[int]:
        """Return the items that `source` refers to."""
        return [
            to
            for kind, item, those in self.references
            for to in those
            if (kind, item) == (name, source)
        ]

    def referring(self, name: bytes, target: int) -> list[int]:
        """Return the items that refer to `target`."""
        return [item for kind, item, those in self.references if kind == name and target in those]


class Boxes:
    """The content as boxes; counts how many were read."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._count = 0

    def count(self, number: int = 1) -> None:
        """Add to the number of what was read. Raises UnsupportedMedia for too many."""
        self._count += number
        if self._count > MAX_BOXES:
            raise UnsupportedMedia(
                f"this HEIF has more than {MAX_BOXES:,} boxes and items, which featsvc does not "
                "decode; only byte hashes apply"
            )

    def walk(self, start: int, end: int) -> Iterator[Box]:
        """Yield the boxes between two places."""
        at = start
        while at + 8 <= end:
            self.count()
            size, name = struct.unpack_from(">I4s", self.content, at)
            head = 8
            if size == 1 and at + 16 <= end:
                (size,) = struct.unpack_from(">Q", self.content, at + 8)
                head = 16
            elif size == 0:
                size = end - at
            if size < head or at + size > end:
                raise _cut_short(at)
            yield Box(name, at + head, at + size)
            at += size

    def find(self, start: int, end: int, *path: bytes) -> Box | None:
        """Return the first box at a path of names."""
        for box in self.walk(start, end):
            if box.name == path[0]:
                return box if len(path) == 1 else self.find(box.start, box.end, *path[1:])
        return None

    def reader(self, box: Box) -> Reader:
        return Reader(self.content, box.start, box.end)


def _cut_short(at: int) -> MediaCorrupt:
    return MediaCorrupt(
        f"the box at byte {at:,} is cut short; the file is truncated or damaged; send the whole "
        "file"
    )


def read_meta(boxes: Boxes) -> Meta:
    """Read `meta`. Raises MediaCorrupt where there is none or it is damaged."""
    for top in boxes.walk(0, len(boxes.content)):
        if top.name == b"meta":
            return _read_meta(boxes, Box(top.name, top.start + 4, top.end))
    raise MediaCorrupt("the HEIF has no box `meta`; send the whole file")


def _read_meta(boxes: Boxes, outer: Box) -> Meta:
    meta = Meta()
    inner = {box.name: box for box in boxes.walk(outer.start, outer.end)}
    if pitm := inner.get(b"pitm"):
        reader = boxes.reader(pitm)
        version, _ = reader.version()
        meta.primary = reader.number(2 if version == 0 else 4)
    if iinf := inner.get(b"iinf"):
        _read_items(boxes, iinf, meta)
    if iref := inner.get(b"iref"):
        _read_references(boxes, iref, meta)
    if iprp := inner.get(b"iprp"):
        _read_properties(boxes, iprp, meta)
    if iloc := inner.get(b"iloc"):
        _read_places(boxes, iloc, inner.get(b"idat"), meta)
    return meta


def _read_items(boxes: Boxes, iinf: Box, meta: Meta) -> None:
    reader = boxes.reader(iinf)
    version, _ = reader.version()
    reader.number(2 if version == 0 else 4)
    for box in boxes.walk(reader.at, iinf.end):
        if box.name != b"infe":
            continue
        reader = boxes.reader(box)
        version, flags = reader.version()
        if version < 2:  # has no type
            continue
        item = meta.item(reader.number(2 if version == 2 else 4))
        reader.number(2)
        item.type, item.hidden = reader.name(), bool(flags & 1)


def _read_references(boxes: Boxes, iref: Box, meta: Meta) -> None:
    reader = boxes.reader(iref)
    version, _ = reader.version()
    size = 2 if version == 0 else 4
    for box in boxes.walk(reader.at, iref.end):
        reader = boxes.reader(box)
        source, count = reader.number(size), reader.number(2)
        boxes.count(count)
        meta.references.append((box.name, source, [reader.number(size) for _ in range(count)]))


def _read_properties(boxes: Boxes, iprp: Box, meta: Meta) -> None:
    properties: list[Box] = []
    associations: list[Box] = []
    for box in boxes.walk(iprp.start, iprp.end):
        if box.name == b"ipco":
            properties = [*boxes.walk(box.start, box.end)]
        elif box.name == b"ipma":
            associations.append(box)
    for ipma in associations:
        reader = boxes.reader(ipma)
        version, flags = reader.version()
        for _ in range(reader.number(4)):
            item = meta.item(reader.number(2 if version == 0 else 4))
            for _ in range(reader.number(1)):
                boxes.count()
                index = reader.number(2) & 0x7FFF if flags & 1 else reader.number(1) & 0x7F
                if index > len(properties):
                    raise MediaCorrupt("an item of the HEIF has a property that is not there")
                if index:
                    item.properties.append(properties[index - 1])
            boxes.count()


def _read_places(boxes: Boxes, iloc: Box, idat: Box | None, meta: Meta) -> None:
    reader = boxes.reader(iloc)
    version, _ = reader.version()
    sizes = reader.number(2)
    offset_size, length_size, base_size, index_size = (sizes >> i & 15 for i in (12, 8, 4, 0))
    for _ in range(reader.number(2 if version < 2 else 4)):
        item = meta.item(reader.number(2 if version < 2 else 4))
        method = reader.number(2) & 15 if version else 0
        reader.number(2)
        base = reader.number(base_size)
        first, last = 0, len(boxes.content)
        if method == 1 and idat:
            first, last = idat.start, idat.end
        count = reader.number(2)
        boxes.count(1 + count)
        for _ in range(count):
            reader.number(index_size if version else 0)
            offset, length = base + reader.number(offset_size), reader.number(length_size)
            start = first + offset
            length = length or max(last - start, 0)
            # An extent outside of its place is kept as one that no file holds.
            item.extents.append((start, length if start + length <= last else 2**63))
        if method > 1:
            item.extents = []
