"""The track of an AVIF sequence: its size, its steps, and where its samples are."""

from dataclasses import dataclass, replace

from featsvc.errors import MediaCorrupt
from featsvc.media.formats.isobmff.av1 import read_stream
from featsvc.media.formats.isobmff.boxes import Box, Boxes
from featsvc.media.formats.isobmff.heif import Picture, read_steps

_ENTRY_BYTES = 78
"""Fields of a visual sample entry before its boxes."""


@dataclass(frozen=True, slots=True)
class _Track:
    picture: Picture
    is_alpha: bool


def read_sequence(content: bytes) -> Picture:
    """Read the tracks of pictures and of alpha. Raises MediaCorrupt."""
    boxes = Boxes(content)
    moov = boxes.find(0, len(content), b"moov")
    if moov is None:
        raise MediaCorrupt("the AVIF sequence has no box `moov`; send the whole file")
    found = [
        _read_track(boxes, box) for box in boxes.walk(moov.start, moov.end) if box.name == b"trak"
    ]
    tracks = [track for track in found if track is not None]
    shown = next((track.picture for track in tracks if not track.is_alpha), None)
    if shown is None:
        raise MediaCorrupt("the AVIF sequence has no track of pictures; send the whole file")
    alpha = tuple(s for track in tracks if track.is_alpha for s in track.picture.colour)
    return replace(shown, alpha=alpha)


def _read_track(boxes: Boxes, trak: Box) -> _Track | None:
    handler = _require(boxes, trak, b"mdia", b"hdlr")
    name = boxes.content[handler.start + 8 : handler.start + 12]
    if name not in (b"pict", b"auxv"):
        return None
    table = _require(boxes, trak, b"mdia", b"minf", b"stbl")
    entry = _require(boxes, table, b"stsd")
    entry = next(iter(boxes.walk(entry.start + 8, entry.end)), None) or entry
    if entry.name != b"av01":
        return None
    tkhd = boxes.reader(_require(boxes, trak, b"tkhd"))
    version, _ = tkhd.version()
    tkhd.at += 84 if version else 72
    width, height = tkhd.number(4) >> 16, tkhd.number(4) >> 16
    sizes = boxes.reader(_require(boxes, table, b"stsz"))
    sizes.version()
    size, frames = sizes.number(4), sizes.number(4)
    if frames and not size:
        size = sizes.number(4)
    start = _read_offset(boxes, table)
    if not frames or start + size > len(boxes.content):
        raise MediaCorrupt("the AVIF sequence does not hold its first frame; send the whole file")
    stream = replace(read_stream(boxes.content[start : start + size]), frames=frames)
    steps = read_steps(boxes, [*boxes.walk(entry.start + _ENTRY_BYTES, entry.end)], width, height)
    picture = Picture("AV1", width, height, (stream,), steps=steps, frames=frames)
    return _Track(picture, name == b"auxv")


def _read_offset(boxes: Boxes, table: Box) -> int:
    for name, size in ((b"stco", 4), (b"co64", 8)):
        box = boxes.find(table.start, table.end, name)
        if box is not None:
            reader = boxes.reader(box)
            reader.version()
            return reader.number(size) if reader.number(4) else 0
    raise MediaCorrupt("the AVIF sequence does not say where its frames are; send the whole file")


def _require(boxes: Boxes, outer: Box, *path: bytes) -> Box:
    box = boxes.find(outer.start, outer.end, *path)
    if box is None:
        raise MediaCorrupt(
            f"the AVIF sequence has no box `{path[-1].decode()}`; send the whole file"
        )
    return box
