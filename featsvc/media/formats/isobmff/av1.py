"""What an AV1 stream says before it is decoded: sizes and depths of its sequence headers.

Section numbers are those of the AV1 Bitstream & Decoding Process Specification.
"""

from dataclasses import replace

from featsvc.errors import MediaCorrupt
from featsvc.media.formats.isobmff.coded import Bits, Stream

_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
_SELECT = 2  # SELECT_SCREEN_CONTENT_TOOLS
_LOSSLESS_RGB = (1, 13, 0)  # BT.709, sRGB, identity


def read_stream(data: bytes) -> Stream:
    """Read the units (5.3) of a stream. Raises MediaCorrupt where they are cut short."""
    stream = Stream()
    at = 0
    while at < len(data):
        head = data[at]
        kind = head >> 3 & 15
        at += 1 + (head >> 2 & 1)
        if head & 0x80:
            raise MediaCorrupt("the AV1 stream is damaged; send the whole file")
        size = len(data) - at
        if head & 2:
            size, at = _read_leb128(data, at)
        if size < 0 or at + size > len(data):
            raise MediaCorrupt("the AV1 stream is cut short; send the whole file")
        if kind == _SEQUENCE_HEADER:
            # Far longer than any sequence header.
            stream |= _read_sequence_header(data[at : at + min(size, 1024)])
        elif kind in (_FRAME, _FRAME_HEADER):
            stream = replace(stream, frames=stream.frames + 1)
        at += size
    return stream


def _read_leb128(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(8):
        if at + i >= len(data):
            break
        value |= (data[at + i] & 0x7F) << 7 * i
        if not data[at + i] & 0x80:
            return value, at + i + 1
    raise MediaCorrupt("the AV1 stream is cut short; send the whole file")


def _read_sequence_header(data: bytes) -> Stream:
    """Read 5.5."""
    bits = Bits(data)
    profile, _, reduced = bits.read(3), bits.read(1), bits.read(1)
    if reduced:
        bits.read(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    width, height = bits.read(width_bits) + 1, bits.read(height_bits) + 1
    if not reduced:
        bits.skip_if(4, 3)  # frame ids
    bits.read(3)
    if not reduced:
        _skip_tools(bits)
    bits.read(3)
    depth, samples = _read_color_config(bits, profile)
    return Stream(width, height, depth, samples, 0, bool(bits.read(1)))


def _skip_operating_points(bits: Bits) -> None:
    delay_bits = 0
    has_model = False
    if bits.read(1):  # timing info
        bits.read(32)
        bits.read(32)
        if bits.read(1):
            bits.read_golomb()
        if has_model := bool(bits.read(1)):
            delay_bits = bits.read(5) + 1
            bits.read(32)
            bits.read(10)
    has_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if has_model:
            bits.skip_if(delay_bits, delay_bits, 1)
        if has_delay:
            bits.skip_if(4)


def _skip_tools(bits: Bits) -> None:
    bits.read(4)
    has_order = bits.skip_if(2)
    tools = _SELECT if bits.read(1) else bits.read(1)
    if tools and not bits.read(1):
        bits.read(1)
    if has_order:
        bits.read(3)


def _read_color_config(bits: Bits, profile: int) -> tuple[int, float]:
    """Read 5.5.2: the bits of a sample, and samples a pixel."""
    high = bits.read(1)
    depth = 10 if high else 8
    if profile == 2 and high and bits.read(1):
        depth = 12
    grey = profile != 1 and bits.read(1)
    colours = (bits.read(8), bits.read(8), bits.read(8)) if bits.read(1) else None
    if grey:
        bits.read(1)
        return depth, 1
    samples = {0: 1.5, 1: 3.0}.get(profile, 2.0)
    if colours == _LOSSLESS_RGB:
        samples = 3.0
    else:
        bits.read(1)
        across, down = profile != 1, profile == 0
        if profile == 2 and depth == 12:
            across = bool(bits.read(1))
            down = across and bool(bits.read(1))
            samples = (3.0, 2.0, 1.5)[across + down]
        if across and down:
            bits.read(2)
    bits.read(1)
    return depth, samples
