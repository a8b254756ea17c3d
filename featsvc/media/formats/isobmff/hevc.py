"""What an HEVC stream says before it is decoded: sizes and depths of its sequence parameter sets.

Section numbers are those of ITU-T H.265.
"""

from collections.abc import Iterator

from featsvc.errors import MediaCorrupt
from featsvc.media.formats.isobmff.coded import Bits, Stream

_SEQUENCE_PARAMETERS = 33
_SLICES = range(32)
_FIXED_BYTES = 23
"""Fields of `hvcC` before its arrays."""
_PROFILE_BITS, _LEVEL_BITS = 88, 8


def read_stream(configuration: bytes, data: bytes) -> Stream:
    """Read the parameter sets of `hvcC` and those between the slices. Raises MediaCorrupt."""
    if len(configuration) < _FIXED_BYTES:
        raise MediaCorrupt("the box `hvcC` is cut short; send the whole file")
    stream = Stream()
    for unit in _parameter_sets(configuration):
        stream |= _read_unit(unit)
    prefix = (configuration[21] & 3) + 1
    at = 0
    while at + prefix <= len(data):
        size = int.from_bytes(data[at : at + prefix], "big")
        at += prefix
        if at + size > len(data):
            raise MediaCorrupt("the HEVC stream is cut short; send the whole file")
        # Far longer than any parameter set.
        stream |= _read_unit(data[at : at + min(size, 4096)])
        at += size
    return stream


def _parameter_sets(configuration: bytes) -> Iterator[bytes]:
    """Yield the units of the arrays in `hvcC` (ISO/IEC 14496-15, 8.3.3.1)."""
    at = _FIXED_BYTES
    for _ in range(configuration[22]):
        count = int.from_bytes(configuration[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            size = int.from_bytes(configuration[at : at + 2], "big")
            if at + 2 + size > len(configuration):
                raise MediaCorrupt("the box `hvcC` is cut short; send the whole file")
            yield configuration[at + 2 : at + 2 + size]
            at += 2 + size


def _read_unit(unit: bytes) -> Stream:
    kind = unit[0] >> 1 & 63 if unit else None
    if kind == _SEQUENCE_PARAMETERS:
        return _read_parameters(unit[2:].replace(b"\0\0\3", b"\0\0"))
    # A slice that begins its picture has its first bit set.
    starts_picture = kind in _SLICES and len(unit) > 2 and bool(unit[2] & 0x80)
    return Stream(frames=int(starts_picture))


def _read_parameters(data: bytes) -> Stream:
    """Read the beginning of 7.3.2.2."""
    bits = Bits(data)
    bits.read(4)
    layers = bits.read(3)
    bits.read(1 + _PROFILE_BITS + _LEVEL_BITS)
    present = [(bits.read(1), bits.read(1)) for _ in range(layers)]
    if layers:
        bits.read(2 * (8 - layers))
    for has_profile, has_level in present:
        bits.read(_PROFILE_BITS * has_profile + _LEVEL_BITS * has_level)
    bits.read_golomb()
    chroma = bits.read_golomb()
    if chroma == 3:
        bits.read(1)
    width, height = bits.read_golomb(), bits.read_golomb()
    if bits.read(1):
        for _ in range(4):
            bits.read_golomb()
    depth = 8 + max(bits.read_golomb(), bits.read_golomb())
    return Stream(width, height, depth, {0: 1.0, 1: 1.5, 2: 2.0}.get(chroma, 3.0))
