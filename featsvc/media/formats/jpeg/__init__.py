"""JPEG through libjpeg-turbo, strictly: each warning that may mean a lost pixel is an error.

docs/media.md says what is forgiven, what is not, and why.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from featsvc.errors import MediaCorrupt, UnsupportedMedia
from featsvc.media import sniff
from featsvc.media.codecs import turbojpeg
from featsvc.media.formats.jpeg.segments import (
    Frame,
    Layout,
    Scan,
    has_line_count,
    read_layout,
    read_scans,
)
from featsvc.media.header import Header
from featsvc.media.kinds import Kind, Rule, check_kind
from featsvc.media.options import Fidelity, Image, Provenance, orient
from featsvc.media.task import Task

_DECODED = ("sequential", "progressive")
_PROCESSES = {
    **dict.fromkeys((0xC0, 0xC1), "sequential"),
    0xC2: "progressive",
    0xC3: "lossless",
    **dict.fromkeys((0xC5, 0xC6, 0xC7), "hierarchical"),
    **dict.fromkeys((0xC9, 0xCA), "arithmetic coding"),
    0xCB: "lossless, arithmetic coding",
    **dict.fromkeys((0xCD, 0xCE, 0xCF), "hierarchical, arithmetic coding"),
}
"""By the marker of the frame."""
KINDS = (
    Rule("grey", (8,), "as stored", compressions=_DECODED),
    Rule("ycbcr", (8,), "RGB", compressions=_DECODED),
    Rule("rgb", (8,), "as stored", compressions=_DECODED),
    Rule("cmyk", (8,), "inverted as Adobe's, RGB", compressions=_DECODED),
    Rule("ycck", (8,), "inverted as Adobe's, RGB", compressions=_DECODED),
)

_INKS = ("cmyk", "ycck")
_DECODED_BYTES = {"grey": 1, "ycbcr": 3, "rgb": 3, "cmyk": 4, "ycck": 4}
"""Bytes a pixel that libjpeg returns."""
_BLOCK_BYTES = 128
_ROW_BYTES, _COLUMN_BYTES, _FIXED_BYTES = 16, 160, 2**20
"""Pointers to rows; buffers of a few rows; tables and the decoder itself."""

# Nanoseconds of one core, measured with flat, noisy and hostile pictures (docs/media.md).
_PIXEL_NS, _CMYK_PIXEL_NS, _TURNED_PIXEL_NS, _SCAN_PIXEL_NS = 5, 25, 10, 1.5
_SEQUENTIAL_BYTE_NS, _PROGRESSIVE_BYTE_NS = 15, 60

_MAX_SCANS = 4 * 64 * 14
"""One for each bit of each coefficient of each component."""
_STRIP_PIXELS, _STRIP_BYTES = 250_000, 18
"""Pixels of CMYK converted between two looks at the clock, about 4 ms; bytes each in Pillow."""


@dataclass(frozen=True, slots=True)
class JpegHeader(Header):
    """A header with the segments that it was read from, so that they are read once."""

    layout: Layout | None = None


def read_header(content: bytes, _: int) -> JpegHeader:
    layout = read_layout(content)
    frame, kind = layout.frame, _kind(layout)
    check_kind(sniff.JPEG, kind, KINDS)
    if not frame.height and has_line_count(content, layout):
        raise UnsupportedMedia(
            "this image/jpeg states its height after the picture (DNL), which featsvc does not "
            "decode; convert it, or use its byte hashes"
        )
    peak = _peak_bytes(layout) + len(content)
    return JpegHeader(sniff.JPEG, frame.width, frame.height, 1, peak, kind, layout)


def decode(task: Task) -> Iterator[Image]:
    content, options = task.content, task.options
    known = task.header.layout if isinstance(task.header, JpegHeader) else None
    layout = known or read_layout(content)
    width, height = layout.frame.width, layout.frame.height
    turbojpeg.check_header(content, layout)
    _check_scans(task, layout)
    luma_plane = (
        layout.colour in ("ycbcr", "rgb")
        and task.luma_suffices
        and min(width, height) >= turbojpeg.SHORT_SIDE
    )
    denominator = 1
    if options.fidelity is Fidelity.FAST:
        denominator = turbojpeg.scale_denominator(width, height)
    pixels = _decode_samples(task, layout, luma_plane, denominator)
    pixels, applied, turned = orient(pixels, layout.orientation, options)
    yield Image(
        media_type=sniff.JPEG,
        width=height if turned else width,
        height=width if turned else height,
        pixels=pixels,
        provenance=Provenance(
            layout.orientation, applied, options.fidelity, options.alpha, luma_plane, denominator
        ),
    )


def _kind(layout: Layout) -> Kind:
    frame = layout.frame
    return Kind(layout.colour, frame.bits, compression=_PROCESSES[frame.marker])


def _peak_bytes(layout: Layout) -> int:
    """Estimate what the decoder holds at once, or the conversion of CMYK, or a turned copy."""
    width, height = layout.frame.width, layout.frame.height
    pixels, decoded = width * height, _DECODED_BYTES[layout.colour]
    returned = min(decoded, 3)
    peak = decoded * pixels
    if not layout.one_scan:
        peak += _coefficient_bytes(layout.frame)
    if decoded > returned:
        strip = _STRIP_BYTES * max(min(_STRIP_PIXELS, pixels), width)
        peak = max(peak, (decoded + returned) * pixels + strip)
    if layout.orientation > 1:
        peak = max(peak, 2 * returned * pixels)
    return peak + _COLUMN_BYTES * width + _ROW_BYTES * height + _FIXED_BYTES


def _coefficient_bytes(frame: Frame) -> int:
    """Return the size of all coefficients, which several scans need: whole units of 8 x 8."""
    across = max(1, *(c.horizontal for c in frame.components))
    down = max(1, *(c.vertical for c in frame.components))
    columns, rows = -(-frame.width // (8 * across)), -(-frame.height // (8 * down))
    blocks = sum(columns * c.horizontal * rows * c.vertical for c in frame.components)
    return _BLOCK_BYTES * blocks


def _check_scans(task: Task, layout: Layout) -> None:
    """Refuse scans that would take longer than the budget, or lack a component."""
    frame = layout.frame
    scans = [layout.scan]
    if not layout.one_scan:
        scans = list(islice(read_scans(task.content, layout), _MAX_SCANS + 1))
    pixels = frame.width * frame.height
    pixel_ns = _CMYK_PIXEL_NS if layout.colour in _INKS else _PIXEL_NS
    pixel_ns += _TURNED_PIXEL_NS if layout.orientation > 1 else 0
    byte_ns = _SEQUENTIAL_BYTE_NS if layout.one_scan else _PROGRESSIVE_BYTE_NS
    ns = pixels * (pixel_ns + len(scans) * _SCAN_PIXEL_NS) + byte_ns * len(task.content)
    what = f"a JPEG of {frame.width} x {frame.height} in {len(scans):,} scans"
    task.limits.check_time(what, int(ns / 1e6))
    if len(scans) > _MAX_SCANS:
        raise MediaCorrupt(
            f"the JPEG has more than {_MAX_SCANS:,} scans: more than its coefficients have bits; "
            "send the original file"
        )
    if not layout.one_scan:
        _check_complete(frame, scans)


def _check_complete(frame: Frame, scans: Sequence[Scan]) -> None:
    """Raise MediaCorrupt where a component has no samples: libjpeg would show it as grey.

    A sequential scan brings a component whole, once. A progressive picture is whole, if coarse,
    once each component has its first DC scan: T.81 does not ask for more.
    """
    brought = Counter(
        identifier
        for scan in scans
        if not frame.progressive or scan.starts_dc
        for identifier in scan.identifiers
    )
    for component in frame.components:
        count = brought[component.identifier]
        if count == 0 or (count > 1 and not frame.progressive):
            what = "is missing" if count == 0 else "comes twice"
            raise MediaCorrupt(
                f"component {component.identifier} of the JPEG {what}; it is truncated or "
                "damaged; send the whole file"
            )


def _decode_samples(
    task: Task, layout: Layout, luma_plane: bool, denominator: int
) -> NDArray[np.uint8]:
    """Decode to pixels (h, w) or (h, w, 3), as stored."""
    if layout.colour in _INKS:
        samples = turbojpeg.decode_jpeg(task.content, layout, turbojpeg.CMYK, denominator)
        return _convert_cmyk(samples, task)
    if luma_plane or layout.colour == "grey":
        return turbojpeg.decode_jpeg(task.content, layout, turbojpeg.GREY, denominator)[:, :, 0]
    return turbojpeg.decode_jpeg(task.content, layout, turbojpeg.RGB, denominator)


def _convert_cmyk(samples: NDArray[np.uint8], task: Task) -> NDArray[np.uint8]:
    """Convert CMYK (h, w, 4) to RGB as Pillow does: inverted, as Adobe and all others write it."""
    height, width = samples.shape[:2]
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(_STRIP_PIXELS // width, 1)
    for top in range(0, height, rows):
        task.budget.check()
        strip = samples[top : top + rows]
        size = (width, len(strip))
        picture = PillowImage.frombuffer("CMYK", size, strip, "raw", "CMYK;I", 0, 1)
        pixels[top : top + rows] = np.asarray(picture.convert("RGB"))
    return pixels
