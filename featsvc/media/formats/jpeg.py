"""JPEG through libjpeg-turbo; through Pillow what that does not decode: CMYK, rare samplings."""

import struct
from collections.abc import Iterator

from featsvc.media import pillow, sniff, turbojpeg
from featsvc.media.header import Header
from featsvc.media.kinds import Kind, Rule
from featsvc.media.options import Fidelity, Image, Provenance, orient
from featsvc.media.task import Task

# Frame headers (SOF0 to SOF15 without DHT, JPG and DAC), and markers without a length.
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_FILL = 0xFF
_STANDALONE = frozenset({0x00, 0x01, _FILL, *range(0xD0, 0xD9)})
KINDS = (Rule("rgb", (8,), "as stored"),)
_PROGRESSIVE_BYTES = 6
"""Coefficients of three components that are not subsampled, 16 bits each."""


def read_header(content: bytes, _: int) -> Header:
    at = 2
    while True:
        at = content.find(b"\xff", at)
        if at < 0 or at + 9 > len(content):
            raise IndexError
        marker = content[at + 1]
        if marker in _FRAME_HEADERS:
            bits, height, width = struct.unpack_from(">BHH", content, at + 4)
            peak = pillow.peak_bytes(width, height) + _PROGRESSIVE_BYTES * width * height
            return Header(sniff.JPEG, width, height, 1, peak, Kind(bits=bits))
        if marker in _STANDALONE:
            at += 1 if marker == _FILL else 2
        else:
            at += 2 + max(struct.unpack_from(">H", content, at + 2)[0], 2)


def decode(task: Task) -> Iterator[Image]:
    header = task.header
    scans = turbojpeg.count_scans(task.content)
    task.limits.check_scans(scans, header.width, header.height)
    try:
        image = _decode_turbo(task)
    except turbojpeg.NeedsPillow:
        yield from pillow.decode(task)
    else:
        yield image


def _decode_turbo(task: Task) -> Image:
    content, options = task.content, task.options
    header = turbojpeg.read_header(content)
    # The decoder allocates by its own reading of the size, which may differ from ours.
    task.limits.check_size(header.width, header.height)
    short_side = min(header.width, header.height)
    luma_plane = not header.grey and task.luma_suffices and short_side >= turbojpeg.SHORT_SIDE
    denominator = 1
    if options.fidelity is Fidelity.FAST:
        denominator = turbojpeg.scale_denominator(header.width, header.height)
    pixels = turbojpeg.decode_jpeg(
        content, header, grey=header.grey or luma_plane, denominator=denominator
    )
    orientation = turbojpeg.read_orientation(content)
    pixels, applied, turned = orient(pixels, orientation, options)
    return Image(
        media_type=sniff.JPEG,
        width=header.height if turned else header.width,
        height=header.width if turned else header.height,
        pixels=pixels,
        provenance=Provenance(
            orientation, applied, options.fidelity, options.alpha, luma_plane, denominator
        ),
    )
