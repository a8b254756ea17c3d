"""What a TIFF directory describes: the kind of samples, where they lie, and what they cost."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import UnsupportedMedia
from featsvc.media import sniff
from featsvc.media.codecs import libtiff
from featsvc.media.exif import is_orientation
from featsvc.media.formats.tiff.directory import Directory, Tag, damaged
from featsvc.media.kinds import (
    FLOAT,
    OPAQUE,
    PREMULTIPLIED,
    SIGNED,
    STRAIGHT,
    UNSIGNED,
    Kind,
    Rule,
    check_kind,
)

GREY, INVERTED, RGB, PALETTE, CMYK, YCBCR = (
    *("grey", "white is zero", "rgb", "palette", "cmyk", "ycbcr"),
)
LAB, ICC_LAB = "lab", "icc lab"
_COLOURS = {0: INVERTED, 1: GREY, 2: RGB, 3: PALETTE, 5: CMYK, 6: YCBCR, 8: LAB, 9: ICC_LAB}
_OTHER_COLOURS = {
    4: "transparency mask",
    10: "ITU lab",
    32803: "colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
}
_CHANNELS = {RGB: 3, CMYK: 4, YCBCR: 3, LAB: 3, ICC_LAB: 3}

NONE, LZW, JPEG, PACKBITS, DEFLATE, OLD_DEFLATE = 1, 5, 7, 32773, 8, 32946
LZMA, ZSTD, THUNDERSCAN, OLD_JPEG = 34925, 50000, 32809, 6
FAX = frozenset({2, 3, 4})
_DECODED = frozenset(
    {NONE, LZW, JPEG, PACKBITS, DEFLATE, OLD_DEFLATE, LZMA, ZSTD, THUNDERSCAN, *FAX}
)
_OTHER_COMPRESSIONS = {
    OLD_JPEG: "old-style JPEG",
    32766: "NeXT",
    # libtiff, which has a codec for it, loses its place where rows are aligned.
    32771: "CCITT RLE/W",
    32909: "PixarLog",
    34661: "JBIG",
    34676: "SGILog",
    34677: "SGILog",
    34712: "JPEG 2000",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34887: "LERC",
    34933: "PNG",
    50001: "WebP",
    50002: "JPEG XL",
}

_DEPTHS = (1, 2, 4, 6, 8, 10, 12, 14, 16)
_BOTH = (False, True)
KINDS = (
    Rule(
        GREY, _DEPTHS, "the highest 8 bits", (UNSIGNED,), (OPAQUE, STRAIGHT, PREMULTIPLIED), _BOTH
    ),
    Rule(INVERTED, _DEPTHS, "the highest 8 bits, inverted", (UNSIGNED,), (OPAQUE, STRAIGHT), _BOTH),
    Rule(RGB, _DEPTHS, "the highest 8 bits", (UNSIGNED,), (OPAQUE, STRAIGHT, PREMULTIPLIED), _BOTH),
    *(
        Rule(colour, bits, how, (number,), (OPAQUE,), _BOTH)
        for number, bits in ((UNSIGNED, (32, 64)), (SIGNED, (8, 16, 32, 64)), (FLOAT, (16, 32, 64)))
        for colour, how in (
            (GREY, "least value to greatest"),
            (INVERTED, "least value to greatest, inverted"),
            (RGB, "least value to greatest"),
        )
    ),
    Rule(PALETTE, (1, 2, 4, 8), "colours", (UNSIGNED,), (OPAQUE, STRAIGHT), _BOTH),
    Rule(CMYK, (8, 16), "RGB without a profile", (UNSIGNED,), (OPAQUE, STRAIGHT), _BOTH),
    Rule(YCBCR, (8,), "RGB", (UNSIGNED,), (OPAQUE,), _BOTH),
    Rule(LAB, (8, 16), "sRGB", (UNSIGNED,), (OPAQUE,), _BOTH),
    Rule(ICC_LAB, (8, 16), "sRGB", (UNSIGNED,), (OPAQUE,), _BOTH),
)
_STRETCHED = frozenset({(UNSIGNED, 32), (UNSIGNED, 64)})

_FORMATS = {1: UNSIGNED, 2: SIGNED, 3: FLOAT, 4: UNSIGNED}
_CODES = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}
_ASSOCIATED, _UNASSOCIATED, _COREL_ALPHA = 1, 2, 999
_MAX_SAMPLES = 2**16 - 1
_CHUNK_BYTES = 2**20
"""Decoded bytes that are converted between two looks at the clock."""
_COSTLY = frozenset({YCBCR, LAB, ICC_LAB})
"""Converted by arrays of wide integers, or by Little CMS through copies."""
_FIXED_BYTES = 4 * 2**20
"""What libtiff and its codecs allocate beside the strip."""
_MAX_JPEG_COEFFICIENTS = 100 * 2**20
"""libtiff's own limit for a progressive JPEG."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A strip or tile of the page: where it shows, and its number within a plane."""

    index: int
    y: int
    x: int
    rows: int
    """Rows and columns that lie within the page."""
    columns: int
    stored_rows: int


@dataclass(frozen=True, slots=True)
class Layout:
    """One page, checked: sizes in pixels, `samples` as stored, `used` those that are decoded."""

    directory: Directory
    kind: Kind
    width: int
    height: int
    samples: int
    used: int
    compression: int
    tiled: bool
    segment_width: int
    segment_rows: int
    subsampling: tuple[int, int]
    """Of packed YCbCr that no codec converts; else (1, 1)."""
    reversed_bits: bool
    orientation: int

    @property
    def grey(self) -> bool:
        """Whether pixels are (H, W)."""
        return self.kind.colour in (GREY, INVERTED) and self.kind.alpha == OPAQUE

    @property
    def colour(self) -> str:
        """The colours that samples have once they are decoded."""
        return RGB if self.jpeg_as_rgb else self.kind.colour

    @property
    def stretched(self) -> bool:
        """Whether samples have no agreed white."""
        kind = self.kind
        return kind.sample_format != UNSIGNED or (kind.sample_format, kind.bits) in _STRETCHED

    @property
    def jpeg_as_rgb(self) -> bool:
        """Whether libjpeg makes RGB of YCbCr."""
        together = not self.kind.separate_planes
        return self.compression == JPEG and self.kind.colour == YCBCR and together

    @property
    def direct(self) -> bool:
        """Whether a decoded strip has the layout of the pixels, so that it needs no copy."""
        kind = self.kind
        bytes_together = kind.bits == 8 and not self.stretched and not kind.separate_planes
        coded_rows = self.compression != NONE and not self.tiled
        return bytes_together and coded_rows and self.plain and self.samples == self.used

    @property
    def planes(self) -> int:
        """Planes that are decoded."""
        return self.used if self.kind.separate_planes else 1

    @property
    def across(self) -> int:
        return -(-self.width // self.segment_width)

    @property
    def segments_per_plane(self) -> int:
        return self.across * -(-self.height // self.segment_rows)

    @property
    def row_bytes(self) -> int:
        """Bytes of a decoded row of a segment; of `subsampling[1]` rows where that is not 1."""
        h, v = self.subsampling
        if (h, v) != (1, 1):
            return -(-self.segment_width // h) * (h * v + 2)
        samples = 1 if self.kind.separate_planes else self.samples
        return -(-self.segment_width * samples * self.kind.bits // 8)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of samples that are stretched: in the file's byte order, or native from libtiff."""
        order = self.directory.order if self.compression == NONE else "="
        return np.dtype(f"{order}{_CODES[self.kind.sample_format]}{self.kind.bits // 8}")

    @property
    def rows_per_chunk(self) -> int:
        v = self.subsampling[1]
        return v * max(1, _CHUNK_BYTES // self.row_bytes)

    def segment_bytes(self, rows: int) -> int:
        """Bytes of a decoded segment of so many rows."""
        return self.row_bytes * -(-rows // self.subsampling[1])

    def segment(self, index: int) -> Segment:
        y, x = divmod(index, self.across)
        y, x = y * self.segment_rows, x * self.segment_width
        rows = min(self.segment_rows, self.height - y)
        columns = min(self.segment_width, self.width - x)
        return Segment(index, y, x, rows, columns, self.segment_rows if self.tiled else rows)

    @property
    def peak_bytes(self) -> int:
        """Most memory that decoding the page takes beside the content."""
        pixels = self.width * self.height * (1 if self.grey else 3)
        turned = pixels if self.orientation > 1 else 0
        tables = 24 * self.segments_per_plane * (self.samples if self.kind.separate_planes else 1)
        rows = self.segment_rows
        if self.compression == NONE:
            strip = window = copy = 0
        else:
            strip = 0 if self.direct else self.segment_bytes(rows)
            window = self.segment_bytes(rows) if self.compression in (LZMA, ZSTD) else 0
            if self.compression == JPEG:
                per_plane = 1 if self.kind.separate_planes else self.samples
                coefficients = 2 * self.segment_width * rows * per_plane
                window = min(coefficients, _MAX_JPEG_COEFFICIENTS)
            copy = len(self.directory.content) if self.reversed_bits else 0
        levels = self.used * self.segment_width * rows if self.assembled else 0
        chunk = self.rows_per_chunk * self.row_bytes * (24 if self.colour in _COSTLY else 8)
        working = strip + window + copy + levels + chunk
        return pixels + max(turned, working) + tables + _FIXED_BYTES

    @property
    def assembled(self) -> bool:
        """Whether planes of a segment are put together before they become pixels."""
        return self.kind.separate_planes and not self.plain

    @property
    def plain(self) -> bool:
        """Whether levels are pixels, but for an inversion."""
        return self.colour in (GREY, INVERTED, RGB) and self.kind.alpha == OPAQUE


def read_layout(directory: Directory) -> Layout:
    """Check what the tags say. Raises MediaCorrupt; UnsupportedMedia for a kind without a rule."""
    width, height = directory.number(Tag.WIDTH), directory.number(Tag.HEIGHT)
    compression = directory.number(Tag.COMPRESSION, NONE)
    colour = _read_colour(directory, compression)
    samples = directory.number(Tag.SAMPLES, 1)
    channels = _CHANNELS.get(colour, 1)
    if colour == YCBCR and samples == 1:
        # Grey JPEGs are written like that.
        colour, channels = GREY, 1
    if not channels <= samples <= _MAX_SAMPLES:
        raise damaged(f"it has {samples} samples a pixel where {colour} has {channels}")
    alpha = _read_alpha(directory, colour, samples - channels)
    used = channels + (alpha != OPAQUE)
    separate = directory.number(Tag.PLANES, 1) == 2 and samples > 1
    kind = Kind(
        colour,
        _read_bits(directory, samples),
        _read_format(directory, colour, samples),
        alpha,
        separate,
        _name_compression(compression),
    )
    _check(kind, compression, samples)
    tiled = Tag.TILE_WIDTH in directory
    if tiled:
        segment = directory.number(Tag.TILE_WIDTH), directory.number(Tag.TILE_HEIGHT)
    else:
        rows = min(directory.number(Tag.ROWS_PER_STRIP, 2**32 - 1), max(height, 1))
        segment = max(width, 1), rows
    if min(segment) < 1 or max(segment) >= 2**31:
        raise damaged(f"its strips or tiles have {segment[0]} x {segment[1]} pixels")
    orientation = directory.number(Tag.ORIENTATION, 0)
    return Layout(
        directory,
        kind,
        width,
        height,
        samples,
        used,
        compression,
        tiled,
        *segment,
        _read_subsampling(directory, kind, compression),
        directory.number(Tag.FILL_ORDER, 1) == 2,
        orientation if is_orientation(orientation) else 0,
    )


def _read_colour(directory: Directory, compression: int) -> str:
    default = 0 if compression in FAX else None
    photometric = directory.number(Tag.PHOTOMETRIC, default)
    if photometric == 5 and directory.number(Tag.INKS, 1) != 1:
        return "other inks than cmyk"
    if photometric in _COLOURS:
        return _COLOURS[photometric]
    return _OTHER_COLOURS.get(photometric, f"photometric {photometric}")


def _read_alpha(directory: Directory, colour: str, extra: int) -> str:
    """Return the kind of alpha; extra samples that are none are skipped, as TIFF 6.0 says."""
    declared = directory.numbers(Tag.EXTRA_SAMPLES, 1)
    if not extra:
        return OPAQUE
    if not declared.size:
        # Some writers of RGBA declare nothing.
        return STRAIGHT if colour == RGB and extra == 1 else OPAQUE
    if declared[0] == _ASSOCIATED:
        return PREMULTIPLIED
    return STRAIGHT if declared[0] in (_UNASSOCIATED, _COREL_ALPHA) else OPAQUE


def _read_bits(directory: Directory, samples: int) -> int:
    bits = directory.numbers(Tag.BITS, samples) if Tag.BITS in directory else np.ones(1, np.uint8)
    if not bits.size:
        raise damaged("tag 258 has no value")
    if bits.min() != bits.max():
        raise UnsupportedMedia(
            f"this {sniff.TIFF} holds samples of different sizes, which featsvc does not decode; "
            "convert it to 8-bit RGB, or use its byte hashes"
        )
    return int(bits[0])


def _read_format(directory: Directory, colour: str, samples: int) -> str:
    codes: list[int] = np.unique(directory.numbers(Tag.SAMPLE_FORMAT, samples)).tolist()
    if not codes or (colour in (LAB, ICC_LAB) and set(codes) <= {1, 2}):
        # a* and b* of Lab are signed by definition; some writers say so.
        return UNSIGNED
    if len(codes) > 1:
        return "mixed"
    return _FORMATS.get(codes[0], "complex")


def _name_compression(compression: int) -> str:
    if compression in _DECODED:
        return ""
    name = _OTHER_COMPRESSIONS.get(compression, f"unknown ({compression})")
    return f"{name} compression"


def _check(kind: Kind, compression: int, samples: int) -> None:
    """Raise UnsupportedMedia for a kind without a rule, or that its codec does not have."""
    check_kind(sniff.TIFF, kind, KINDS)
    codec_bits = {JPEG: 8, THUNDERSCAN: 4, **dict.fromkeys(FAX, 1)}.get(compression, kind.bits)
    single = compression not in FAX and compression != THUNDERSCAN
    if kind.bits != codec_bits or not (single or samples == 1 or kind.separate_planes):
        name = {JPEG: "JPEG", THUNDERSCAN: "ThunderScan"}.get(compression, "fax")
        raise UnsupportedMedia(
            f"this {sniff.TIFF} holds {kind} samples in {name} compression, which featsvc does "
            "not decode; convert it to 8-bit RGB, or use its byte hashes"
        )
    if compression != NONE and not libtiff.decodes(compression):
        raise UnsupportedMedia(
            f"this {sniff.TIFF} is compressed (scheme {compression}), and the libtiff that decodes "
            "it is missing: the installed Pillow has it built in, or without this scheme; install "
            "Pillow's wheel, or use byte hashes"
        )


def _read_subsampling(directory: Directory, kind: Kind, compression: int) -> tuple[int, int]:
    if kind.colour != YCBCR or (compression == JPEG and not kind.separate_planes):
        return 1, 1
    values = directory.numbers(Tag.SUBSAMPLING, 2)
    h, v = (2, 2) if values.size < 2 else (int(values[0]), int(values[1]))
    if h not in (1, 2, 4) or v not in (1, 2, 4):
        raise damaged(f"its chroma is subsampled {h} x {v}")
    if kind.separate_planes and (h, v) != (1, 1):
        raise UnsupportedMedia(
            f"this {sniff.TIFF} holds {kind}, subsampled {h} x {v}, which featsvc does not decode; "
            "convert it to 8-bit RGB, or use its byte hashes"
        )
    return h, v


def read_colour_map(layout: Layout) -> NDArray[np.uint8]:
    """Return the palette (N, 3) uint8; its values have 16 bits, or 8 by some writers."""
    colours = 1 << layout.kind.bits
    values = layout.directory.numbers(Tag.COLOUR_MAP, 3 * colours)
    if values.size < 3 * colours:
        raise damaged(f"its palette has {values.size} values, not {3 * colours}")
    wide = values.astype(np.uint16).reshape(3, colours)
    return (wide if wide.max() < 256 else wide >> 8).astype(np.uint8).T.copy()
