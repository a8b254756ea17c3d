"""The segments of a JPEG: the frame, the scans, what they say about colour and orientation.

A JPEG is a start mark (FF D8), segments of a marker (FF xx), a length of two bytes and a body, and
entropy-coded data after each scan header (SOS). In that data a 0 follows each 255, so that the next
marker ends it. Source: ITU-T T.81 (ISO/IEC 10918-1), annex B. The walk finds what libjpeg finds:
it skips fill bytes and bytes between segments in the same way.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from featsvc.errors import MediaCorrupt
from featsvc.media.exif import parse_orientation

SOI, EOI, SOS, DNL = 0xD8, 0xD9, 0xDA, 0xDC
APP0, APP1, APP2, APP14 = 0xE0, 0xE1, 0xE2, 0xEE
PROGRESSIVE_FRAMES = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WINDOW_BYTES = 2**20
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
MAX_SEGMENTS = 10_000
"""Before the first scan, and after it: far more than any camera or scan script writes."""
_EXIF = b"Exif\0\0"
_JFIF_BYTES, _ADOBE_BYTES = 14, 12
# One that is no stuffed byte and no fill byte; between segments any other bytes are skipped.
_MARKER = re.compile(rb"\xff[^\x00\xff]")
# After a scan: a marker that neither stuffs a byte, nor fills, nor restarts.
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


class Segment(NamedTuple):
    """`content[start:body]` is marker and length; `content[body:end]` what follows them."""

    marker: int
    start: int
    body: int
    end: int


class Component(NamedTuple):
    """A colour of the frame; the factors say how often it is sampled beside the others."""

    identifier: int
    horizontal: int
    vertical: int


class Frame(NamedTuple):
    """The frame header; `marker` (SOF0 to SOF15) names the process."""

    marker: int
    bits: int
    width: int
    height: int
    components: tuple[Component, ...]

    @property
    def progressive(self) -> bool:
        """Return whether several scans refine the same coefficients."""
        return self.marker in PROGRESSIVE_FRAMES


class Scan(NamedTuple):
    """A scan header: its components, and the coefficients and bits of them that it brings."""

    segment: Segment
    identifiers: tuple[int, ...]
    first: int
    last: int
    approximation: int

    @property
    def starts_dc(self) -> bool:
        """Return whether a progressive scan is the first to bring the mean of each block."""
        return self.first == 0 and self.approximation < 1 << 4


@dataclass(frozen=True, slots=True)
class Layout:
    """What precedes the entropy-coded data: all segments up to the first scan header.

    `colour` is "grey", "ycbcr", "rgb", "cmyk", "ycck" or "n-component", as libjpeg decides it.
    """

    segments: tuple[Segment, ...]
    frame: Frame
    scan: Scan
    colour: str
    orientation: int

    @property
    def one_scan(self) -> bool:
        """Return whether the first scan brings the whole picture."""
        frame = self.frame
        return not frame.progressive and len(self.scan.identifiers) == len(frame.components)


def read_layout(content: bytes) -> Layout:
    """Read everything up to the first scan.

    Raises MediaCorrupt; struct.error or IndexError where the header is cut short.
    """
    segments: list[Segment] = []
    frame = adobe_transform = None
    has_jfif = False
    exif = b""
    for segment in _read_segments(content):
        segments.append(segment)
        marker, _, body, end = segment
        if marker < APP0:
            if marker in _FRAMES:
                if frame is not None:
                    raise MediaCorrupt("the JPEG has two frame headers; send the whole file")
                frame = _read_frame(content, segment)
        elif marker == APP1 and content.startswith(_EXIF, body):
            exif = exif or content[body:end]
        elif marker == APP0 and end - body >= _JFIF_BYTES:
            has_jfif |= content.startswith(b"JFIF\0", body)
        elif marker == APP14 and end - body >= _ADOBE_BYTES and content.startswith(b"Adobe", body):
            adobe_transform = content[body + _ADOBE_BYTES - 1]
    if frame is None:
        raise MediaCorrupt("the JPEG has a scan before its frame header; send the whole file")
    scan = _read_scan(content, segments[-1])
    colour = _colour(frame, has_jfif, adobe_transform)
    orientation = parse_orientation(exif) if exif else 0
    return Layout(tuple(segments), frame, scan, colour, orientation)


def read_scans(content: bytes, layout: Layout) -> Iterator[Scan]:
    """Yield every scan header up to the end of the picture, or of the content.

    Raises MediaCorrupt.
    """
    scan = layout.scan
    yield scan
    at = scan.segment.end
    for _ in range(MAX_SEGMENTS):
        found = _search(_AFTER_SCAN, content, at)
        if found is None:
            return
        marker, start, body = content[found.end() - 1], found.start(), found.end() + 2
        if marker == EOI or body > len(content):
            return
        end = start + 2 + max(int.from_bytes(content[start + 2 : body], "big"), 2)
        if marker == SOS:
            if end > len(content):
                raise MediaCorrupt("a scan header of the JPEG is cut short; send the whole file")
            yield _read_scan(content, Segment(marker, start, body, end))
        at = start + 2 if marker in _WITHOUT_LENGTH else end
    raise _too_many()


def has_line_count(content: bytes, layout: Layout) -> bool:
    """Return whether a segment after the first scan states the height (DNL)."""
    return content.find(b"\xff\xdc\0\4", layout.scan.segment.end) >= 0


def repair(content: bytes, layout: Layout) -> bytes:
    """Return a copy without the mistakes of encoders that cost no pixel.

    Bytes between header segments and colour profiles are dropped, an unknown JFIF revision or
    Adobe transform becomes what libjpeg takes it for, and parameters that a sequential scan must
    not have are set right. If the one scan brings the whole picture, a missing end mark is added:
    the decoder reports missing data all the same.
    """
    head = bytearray(b"\xff\xd8")
    for marker, start, body, end in layout.segments:
        part = bytearray(content[start:end])
        at = body - start
        if marker == APP2:
            continue
        if marker == APP0 and part.startswith(b"JFIF\0", at) and end - body >= _JFIF_BYTES:
            part[at + 5 : at + 7] = b"\1\1"
        if marker == APP14 and part.startswith(b"Adobe", at) and end - body >= _ADOBE_BYTES:
            part[at + _ADOBE_BYTES - 1] = {"ycbcr": 1, "ycck": 2}.get(layout.colour, 0)
        head += part
    tail = bytearray(memoryview(content)[layout.scan.segment.end :])
    if not layout.frame.progressive:
        moved = layout.scan.segment.end
        head[-3:] = _SEQUENTIAL
        for scan in () if layout.one_scan else read_scans(content, layout):
            if (end := scan.segment.end - moved) > 0:
                tail[end - 3 : end] = _SEQUENTIAL
    if layout.one_scan and not content.endswith(b"\xff\xd9"):
        tail += b"\xff\xd9"
    return bytes(head + tail)


_SEQUENTIAL = b"\0\x3f\0"


def _read_segments(content: bytes) -> Iterator[Segment]:
    """Yield the segments up to the first scan header, which is the last one."""
    at = len(b"\xff\xd8")
    for _ in range(MAX_SEGMENTS):
        if (found := _search(_MARKER, content, at)) is None:
            raise IndexError
        marker, at = content[found.end() - 1], found.end()
        if marker in _WITHOUT_LENGTH:
            continue
        if marker in (SOI, EOI):
            raise MediaCorrupt("the JPEG ends before its picture begins; send the whole file")
        (length,) = struct.unpack_from(">H", content, at)
        body, end = at + 2, at + max(length, 2)
        if end > len(content):
            raise IndexError
        yield Segment(marker, at - 2, body, end)
        if marker == SOS:
            return
        at = end
    raise _too_many()


def _search(pattern: re.Pattern[bytes], content: bytes, at: int) -> re.Match[bytes] | None:
    """Find a pattern of two bytes, in windows: a search holds the GIL, up to 20 ns a byte."""
    while at < len(content):
        if found := pattern.search(content, at, at + _WINDOW_BYTES + 1):
            return found
        at += _WINDOW_BYTES
    return None


def _too_many() -> MediaCorrupt:
    return MediaCorrupt(
        f"the JPEG has more than {MAX_SEGMENTS:,} segments; send it without its metadata"
    )


def _colour(frame: Frame, has_jfif: bool, adobe_transform: int | None) -> str:
    identifiers = bytes(component.identifier for component in frame.components)
    match len(identifiers):
        case 1:
            return "grey"
        case 3 if has_jfif:
            return "ycbcr"
        case 3 if adobe_transform is not None:
            return "ycbcr" if adobe_transform else "rgb"
        case 3:
            return "rgb" if identifiers == b"RGB" else "ycbcr"
        case 4:
            return "ycck" if adobe_transform else "cmyk"
        case count:
            return f"{count}-component"


def _read_frame(content: bytes, segment: Segment) -> Frame:
    bits, height, width, count = struct.unpack_from(">BHHB", content, segment.body)
    at = segment.body + 6
    if count == 0 or segment.end != at + 3 * count:
        raise MediaCorrupt("the JPEG's frame header has the wrong length; send the whole file")
    components = tuple(
        Component(content[i], content[i + 1] >> 4, content[i + 1] & 15)
        for i in range(at, segment.end, 3)
    )
    return Frame(segment.marker, bits, width, height, components)


def _read_scan(content: bytes, segment: Segment) -> Scan:
    count = content[segment.body]
    at = segment.body + 1 + 2 * count
    if segment.end != at + 3:
        raise MediaCorrupt("the JPEG has a scan header of the wrong length; send the whole file")
    first, last, approximation = content[at : at + 3]
    identifiers = tuple(content[segment.body + 1 : at : 2])
    return Scan(segment, identifiers, first, last, approximation)
