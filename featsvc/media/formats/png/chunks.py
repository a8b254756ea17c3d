"""PNG's chunks: walk them, check them, read what they say about the picture.

Source: W3C, "Portable Network Graphics (PNG) Specification (Third Edition)".

A chunk that decides about pixels, or may have been one, must be whole: its checksum (CRC) is
checked, and damage is MEDIA_CORRUPT. Damage to texts and the like is harmless, and so is all that
follows the pixel data, `IEND` included: the checksums say that the pixels are all there. Colour
spaces (gAMA, cHRM, sRGB, iCCP, cICP) are not applied.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from isal import isal_zlib

from featsvc.errors import MediaCorrupt, MediaTooLarge, UnsupportedMedia
from featsvc.media.exif import parse_orientation
from featsvc.media.inflate import InflateError
from featsvc.media.kinds import KEYED, OPAQUE, STRAIGHT, Kind

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
"""Colour types."""
COLOURS = {GREY: "grey", RGB: "rgb", PALETTE: "palette", GREY_ALPHA: "grey", RGB_ALPHA: "rgb"}
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
DEPTHS = {
    GREY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GREY_ALPHA: (8, 16),
    RGB_ALPHA: (8, 16),
}
MAX_COLOURS = 256
_SIGNATURE_BYTES = 8
_HEAD = struct.Struct(">I4s")
_MIN_CHUNKS, _BYTES_PER_CHUNK = 2**13, 2**11
"""A file may have as many chunks as one of 2 KiB each, and some more; libpng writes 8 KiB."""
_AROUND_BYTES = 12
"""Length, name and checksum of a chunk."""
_HEADER_BYTES, _ANIMATION_BYTES = 13, 8
_HARMLESS = frozenset(
    (
        *(b"bKGD", b"cHRM", b"cICP", b"cLLI", b"eXIf", b"gAMA", b"hIST", b"iCCP", b"iTXt", b"mDCV"),
        *(b"pHYs", b"sBIT", b"sPLT", b"sRGB", b"tEXt", b"tIME", b"zTXt"),
    )
)
"""Chunks that say nothing about pixels. Of others the checksum tells whether the name is right."""
_PROFILES = (b"Raw profile type exif\0", b"Raw profile type APP1\0")
"""Texts in which ImageMagick and ExifTool keep EXIF, as hexadecimal digits."""
_MAX_PROFILE_BYTES = 2**18
"""A text of 64 KiB of EXIF, the most that a JPEG holds, has less."""
# Its stub says that the class is an exception.
_CUT = "; it is truncated or damaged; send the whole file"


def corrupt(what: str) -> MediaCorrupt:
    """Make the error of a damaged PNG."""
    return MediaCorrupt(f"the PNG does not decode: {what}{_CUT}")


class Chunk(NamedTuple):
    """A name of four letters, and where its data start and end."""

    name: bytes
    start: int
    end: int


@dataclass(slots=True)
class Layout:
    """What stands before the pixel data. `data_at` is where the first IDAT chunk starts."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool
    palette: bytes = b""
    transparency: bytes | None = None
    announced: list[int] = field(default_factory=list)
    """The numbers of frames of its acTL chunks."""
    data_at: int = 0
    profiles: dict[bytes, bytes] = field(default_factory=dict)
    """The first eXIf chunk and the first text of each profile, by how they begin."""

    @property
    def frames(self) -> int:
        """Frames of the animation, or 0 for a still picture.

        Two numbers, or one that is not allowed, make it one, as in browsers.
        """
        frames = self.announced[0] if len(self.announced) == 1 else 0
        return frames if frames < 2**31 else 0

    @property
    def bits(self) -> int:
        """Bits of a pixel."""
        return self.depth * CHANNELS[self.colour]

    @property
    def drops_low_bytes(self) -> bool:
        """Whether of 16-bit samples only the high byte decides.

        Filters work on each byte alone, so the others need not even be unfiltered.
        """
        return self.depth == 16 and self.transparency is None

    @property
    def kind(self) -> Kind:
        alpha = OPAQUE
        if self.colour in (GREY_ALPHA, RGB_ALPHA) or (
            self.colour == PALETTE and self.transparency is not None
        ):
            alpha = STRAIGHT
        elif self.transparency is not None:
            alpha = KEYED
        return Kind(COLOURS[self.colour], self.depth, alpha=alpha)


def walk(content: bytes, at: int = _SIGNATURE_BYTES) -> Iterator[Chunk]:
    """Yield the chunks from one that starts at `at`.

    Raises MediaCorrupt where one is cut short, and MediaTooLarge for so many that to read them
    would take seconds: a file of nothing but empty chunks has millions.
    """
    size = len(content)
    limit = _MIN_CHUNKS + size // _BYTES_PER_CHUNK
    count = 0
    while at < size:
        count += 1
        if count > limit:
            raise MediaTooLarge(
                f"the PNG is cut into more than {limit:,} chunks; write it anew with larger ones"
            )
        if at + _AROUND_BYTES > size:
            raise corrupt("it ends inside a chunk")
        length, name = _HEAD.unpack_from(content, at)
        if not name.isalpha():
            raise corrupt(f"at byte {at} there is no chunk")
        end = at + 8 + length
        if end + 4 > size:
            raise corrupt(f"its {name.decode()} chunk ends too early")
        yield Chunk(name, at + 8, end)
        at = end + 4


def is_whole(content: bytes, chunk: Chunk) -> bool:
    """Return whether the checksum of a chunk is right."""
    (wanted,) = struct.unpack_from(">I", content, chunk.end)
    return bool(isal_zlib.crc32(memoryview(content)[chunk.start - 4 : chunk.end]) == wanted)


def check(content: bytes, chunk: Chunk) -> None:
    """Raise MediaCorrupt for a wrong checksum."""
    if not is_whole(content, chunk):
        raise corrupt(f"the checksum of its {chunk.name.decode()} chunk is wrong")


def read_layout(content: bytes) -> Layout:
    """Read the chunks before the pixel data.

    Raises MediaCorrupt, MediaTooLarge, and UnsupportedMedia for a critical chunk that is not of
    the standard.
    """
    chunks = walk(content)
    layout = _read_header(content, next(chunks, None))
    for chunk in chunks:
        name = chunk.name
        if name == b"IDAT":
            layout.data_at = chunk.start - 8
            break
        if name not in _HARMLESS:
            check(content, chunk)
        if read := _READERS.get(name):
            read(layout, content[chunk.start : chunk.end])
        elif name in (b"IHDR", b"IEND"):
            raise corrupt(f"its {name.decode()} chunk comes before the pixel data")
        elif name[:1].isupper():
            raise _unsupported(name)
        else:
            _keep_profile(layout, content, chunk)
    if not layout.data_at:
        raise corrupt("it has no pixel data")
    if layout.colour == PALETTE and not layout.palette:
        raise corrupt("its palette (PLTE) is missing")
    return layout


def _unsupported(name: bytes) -> UnsupportedMedia:
    what = "Apple's CgBI variant of PNG" if name == b"CgBI" else f"a {name.decode()} chunk"
    return UnsupportedMedia(
        f"this image/png holds {what}, which featsvc does not decode; convert it to plain PNG, or "
        "use its byte hashes"
    )


def _read_header(content: bytes, chunk: Chunk | None) -> Layout:
    if chunk is not None and chunk.name == b"CgBI":
        raise _unsupported(chunk.name)
    if chunk is None or chunk.name != b"IHDR" or chunk.end - chunk.start != _HEADER_BYTES:
        raise corrupt("it does not begin with a header (IHDR) of 13 bytes")
    check(content, chunk)
    width, height, depth, colour, packing, filters, interlace = struct.unpack_from(
        ">IIBBBBB", content, chunk.start
    )
    if depth not in DEPTHS.get(colour, ()):
        raise corrupt(f"no PNG has colour type {colour} with {depth} bits")
    if packing or filters or interlace > 1:
        raise corrupt(
            f"its compression {packing}, filter {filters} or interlacing {interlace} is unknown"
        )
    return Layout(width, height, depth, colour, bool(interlace))


def _read_palette(layout: Layout, data: bytes) -> None:
    if layout.colour != PALETTE:
        return  # a suggestion, or a mistake that harms nobody
    if layout.palette or not 0 < len(data) <= 3 * MAX_COLOURS or len(data) % 3:
        raise corrupt("its palette (PLTE) is not one of 1 to 256 colours")
    layout.palette = data


def _read_transparency(layout: Layout, data: bytes) -> None:
    if layout.colour in (GREY_ALPHA, RGB_ALPHA):
        return  # not allowed: the pixels have their own
    # Programs differ in what they make of each of these, so no reading is right.
    if layout.colour == PALETTE and not layout.palette:
        raise corrupt("its transparency (tRNS) comes before the palette")
    if layout.transparency is not None:
        raise corrupt("it has two tRNS chunks")
    if layout.colour != PALETTE and len(data) != 2 * CHANNELS[layout.colour]:
        raise corrupt(f"its transparent colour (tRNS) has {len(data)} bytes")
    layout.transparency = data


def _read_animation(layout: Layout, data: bytes) -> None:
    if len(data) != _ANIMATION_BYTES:
        raise corrupt(f"its acTL chunk has {len(data)} bytes")
    layout.announced.append(int.from_bytes(data[:4], "big"))


_READERS: Mapping[bytes, Callable[[Layout, bytes], None]] = {
    b"PLTE": _read_palette,
    b"tRNS": _read_transparency,
    b"acTL": _read_animation,
}


def _keep_profile(layout: Layout, content: bytes, chunk: Chunk) -> None:
    """Keep what may hold EXIF, once each."""
    key = b""
    if chunk.name == b"eXIf":
        key = chunk.name
    elif chunk.name in (b"tEXt", b"zTXt"):
        key = next((p for p in _PROFILES if content.startswith(p, chunk.start)), b"")
    if key and key not in layout.profiles and is_whole(content, chunk):
        data = content[chunk.start + (len(key) if key != b"eXIf" else 0) : chunk.end]
        layout.profiles[key] = _inflate_text(data) if chunk.name == b"zTXt" else data


def _inflate_text(data: bytes) -> bytes:
    """Return a compressed text, cut at `_MAX_PROFILE_BYTES`; empty for a damaged one."""
    try:
        inflater = isal_zlib.decompressobj()
        return bytes(inflater.decompress(memoryview(data)[1:], _MAX_PROFILE_BYTES))
    except InflateError:
        return b""


def read_orientation(content: bytes, layout: Layout) -> int:
    """Return the EXIF orientation, 1 to 8, or 0: of an eXIf chunk, else of a raw profile.

    They may stand behind the pixel data.
    """
    try:
        for chunk in walk(content, layout.data_at):
            if chunk.name == b"IEND":
                break
            if chunk.name in (b"eXIf", b"tEXt", b"zTXt"):
                _keep_profile(layout, content, chunk)
    except (MediaCorrupt, MediaTooLarge):
        pass  # what follows the pixel data is no reason to refuse the picture
    if not layout.profiles:
        return 0
    if b"eXIf" in layout.profiles:
        return parse_orientation(layout.profiles[b"eXIf"])
    for key in _PROFILES:
        if orientation := parse_orientation(_parse_profile(layout.profiles.get(key, b""))):
            return orientation
    return 0


def _parse_profile(text: bytes) -> bytes:
    """Decode a raw profile: an empty line, its name, its length in bytes, then hex in lines."""
    lines = text[:_MAX_PROFILE_BYTES].split(b"\n", 3)
    try:
        return bytes.fromhex(lines[3].decode("ascii"))
    except (IndexError, ValueError):
        return b""
