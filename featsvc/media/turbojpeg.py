"""JPEG through libjpeg-turbo (`simplejpeg`): releases the GIL, decodes to grey and scaled."""

import re
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from featsvc.errors import MediaCorrupt
from featsvc.media.exif import parse_orientation

SHORT_SIDE = 512
"""Pixels on the short side below which PDQ needs full-size RGB (measured: design.md)."""

_MARKER = 0xFF  # the first byte of every marker, also used as fill
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})

# Warnings of libjpeg that lose no pixel: junk between header segments (before a restart marker or
# the end it would mean lost data) and harmless mistakes of encoders.
_HARMLESS = re.compile(
    r"extraneous bytes before marker 0x(?!d\d)|Invalid SOS parameters|Unknown Adobe color|"
    r"Inconsistent progression|revision number|JFIF extension"
)


class NeedsPillow(Exception):
    """TurboJPEG does not support this picture; Pillow may."""


@dataclass(frozen=True, slots=True)
class TurboHeader:
    width: int
    height: int
    grey: bool


def read_header(content: bytes) -> TurboHeader:
    """Parse the header. Raises NeedsPillow for CMYK, unusual sampling and malformed headers."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(content, strict=False)
    except (ValueError, KeyError) as exc:  # KeyError: a sampling unknown to simplejpeg
        raise NeedsPillow from exc
    if colorspace in ("CMYK", "YCCK"):
        raise NeedsPillow
    return TurboHeader(width, height, colorspace == "Gray")


def read_orientation(content: bytes) -> int:
    """Return the EXIF orientation, 1 to 8, or 0; reads no further than the first scan."""
    at = 2
    while at + 4 <= len(content):
        if content[at] != _MARKER:
            at = content.find(b"\xff", at)
            if at < 0:
                return 0
            continue
        marker = content[at + 1]
        if marker in _STANDALONE or marker in (0x00, _MARKER):
            at += 1 if marker == _MARKER else 2
            continue
        if marker in (_SOI, _EOI, _SOS):
            return 0
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == _APP1 and content[at + 4 : at + 10] == b"Exif\0\0":
            return parse_orientation(content[at + 4 : at + 2 + length])
        at += 2 + max(length, 2)
    return 0


def count_scans(content: bytes) -> int:
    """Count start-of-scan markers. Scan data cannot contain one: it stuffs a 0 after each 255."""
    return content.count(b"\xff\xda")


def scale_denominator(width: int, height: int) -> int:
    """Return the largest of 8, 4, 2 that keeps the short side at 512 px or more; else 1."""
    for denominator in (8, 4, 2):
        if -(-min(width, height) // denominator) >= SHORT_SIDE:
            return denominator
    return 1


def decode_jpeg(
    content: bytes, header: TurboHeader, *, grey: bool, denominator: int
) -> NDArray[np.uint8]:
    """Decode to pixels (h, w) or (h, w, 3) in the stored orientation.

    Raises MediaCorrupt where data is missing or damaged, NeedsPillow where TurboJPEG is only too
    strict.
    """
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            content,
            "GRAY" if grey else "RGB",
            min_height=-(-header.height // denominator),
            min_width=-(-header.width // denominator),
        )
    except ValueError as exc:
        if _HARMLESS.search(str(exc)):
            raise NeedsPillow from exc
        raise MediaCorrupt(
            f"the JPEG does not decode: {exc}; it is truncated or damaged; send the whole file"
        ) from exc
    return pixels[:, :, 0] if grey else pixels
