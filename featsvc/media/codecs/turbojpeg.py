"""JPEG through libjpeg-turbo (`simplejpeg`): strict, without the GIL, to grey and scaled.

A decode stops at libjpeg's first warning. Bits that are missing, left over or no code give one.
Damage that still reads as the right number of blocks gives none: the data has no checksum.
"""

import re

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from featsvc.errors import MediaCorrupt, UnsupportedMedia
from featsvc.media.formats.jpeg.segments import Layout, repair

SHORT_SIDE = 512
"""Pixels on the short side below which PDQ needs full-size RGB (docs/hashing.md, "Decoding")."""

GREY, RGB, CMYK = "GRAY", "RGB", "CMYK"

_END = b"\xff\xd9"
_MAX_SIDE = 65_500
"""Pixels of a side that libjpeg decodes at most; the format has 65,535."""

_NO_END = "Premature end of JPEG file"
# Warnings that may cost no pixel, unless they come from entropy-coded data: there the repaired copy
# gives the same one again.
_REPAIRABLE = re.compile(
    r"extraneous bytes before marker|bad ICC marker|Invalid SOS parameters|Unknown Adobe color|"
    rf"JFIF revision|{_NO_END}"
)


def check_header(content: bytes, layout: Layout) -> None:
    """Refuse what libjpeg-turbo does not decode, or would read otherwise than we did.

    Raises MediaCorrupt, UnsupportedMedia.
    """
    frame = layout.frame
    if max(frame.width, frame.height) > _MAX_SIDE:
        raise UnsupportedMedia(
            f"this image/jpeg has a side of more than {_MAX_SIDE:,} px, which featsvc does not "
            "decode; send a smaller picture, or use its byte hashes"
        )
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(content, strict=False)
    except KeyError:  # A sampling that simplejpeg has no name for, such as 4:4:1, but decodes.
        return
    except ValueError as exc:
        if "subsampling" in str(exc):
            factors = ", ".join(f"{c.horizontal}x{c.vertical}" for c in frame.components)
            raise UnsupportedMedia(
                f"this image/jpeg samples its components {factors}, which featsvc does not decode; "
                "convert it to a usual sampling such as 4:2:0, or use its byte hashes"
            ) from None
        raise _corrupt(str(exc)) from None
    if (width, height, colour.lower().replace("gray", "grey")) != (
        frame.width,
        frame.height,
        layout.colour,
    ):
        raise MediaCorrupt("the JPEG's header can be read in two ways; send the original file")


def scale_denominator(width: int, height: int) -> int:
    """Return the largest of 8, 4, 2 that keeps the short side at 512 px or more; else 1."""
    for denominator in (8, 4, 2):
        if -(-min(width, height) // denominator) >= SHORT_SIDE:
            return denominator
    return 1


def decode_jpeg(
    content: bytes, layout: Layout, samples: str, denominator: int
) -> NDArray[np.uint8]:
    """Decode to GREY, RGB or (from cmyk and ycck only) CMYK samples (h, w, 1, 3 or 4), as stored.

    Raises MediaCorrupt where samples are missing or damaged.
    """
    try:
        return _decode(content, layout, samples, denominator)
    except ValueError as exc:
        warning = str(exc)  # The error itself and this frame would make a circle.
    repaired = repair(content, layout) if _REPAIRABLE.search(warning) else content
    if repaired == content:
        raise _corrupt(warning) from None
    try:
        pixels = _decode(repaired, layout, samples, denominator)
    except ValueError as exc:
        raise _corrupt(warning if _NO_END in warning else str(exc)) from None
    if not content.endswith(_END) and _has_bits_to_spare(repaired, layout):
        raise _corrupt(warning)
    return pixels


def _has_bits_to_spare(repaired: bytes, layout: Layout) -> bool:
    """Return whether a picture decodes without its last byte, too, before an end mark we added.

    Where it does not, all blocks were read, and from all the bytes there are.
    """
    data = repaired.removesuffix(_END).rstrip(_END[:1])
    try:
        _decode(data[:-1] + _END, layout, GREY, 8)
    except ValueError:
        return False
    return True


def _decode(content: bytes, layout: Layout, samples: str, denominator: int) -> NDArray[np.uint8]:
    height = -(-layout.frame.height // denominator)
    width = -(-layout.frame.width // denominator)
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
        content, samples, min_height=height, min_width=width
    )
    if pixels.shape[:2] != (height, width):
        raise ValueError("the header can be read in two ways")
    return pixels


def _corrupt(why: str) -> MediaCorrupt:
    return MediaCorrupt(
        f"the JPEG does not decode: {why}; it is truncated or damaged; send the whole file"
    )
