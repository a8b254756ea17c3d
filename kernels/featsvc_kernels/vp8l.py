"""The codes at the beginning of a lossless WebP: how many groups of them its decoder will build.

Source: RFC 9649, "WebP Image Format", sections 3.4 to 3.8. A file may ask for 65,536 groups of five
prefix codes in 20 bits each, for which libwebp allocates 6 to 20 KB each: a thousand times the
file. Their number stands after the transforms, so that the small images of these are decoded.

Bits are read from the lowest of each byte. A prefix code is kept as `counts`, how many codes there
are of each length, and `symbols` in the order of their codes.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel

DAMAGED, TOO_LARGE = -1, -2
MOST_CODES = 256 + 24 + (1 << 11)
"""Symbols of the largest alphabet: green, lengths, and the cache of colours."""
LONGEST = 15
"""Bits of the longest code."""

# The order in which the lengths of the codes of lengths are stored.
LENGTH_ORDER = np.array(
    [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], np.int64
)
# Distances 1 to 120: columns and rows between a pixel and the one that is copied, as 8 - x, y.
NEAR = np.array([
    0x18, 0x07, 0x17, 0x19, 0x28, 0x06, 0x27, 0x29, 0x16, 0x1a, 0x26, 0x2a, 0x38, 0x05, 0x37,
    0x39, 0x15, 0x1b, 0x36, 0x3a, 0x25, 0x2b, 0x48, 0x04, 0x47, 0x49, 0x14, 0x1c, 0x35, 0x3b,
    0x46, 0x4a, 0x24, 0x2c, 0x58, 0x45, 0x4b, 0x34, 0x3c, 0x03, 0x57, 0x59, 0x13, 0x1d, 0x56,
    0x5a, 0x23, 0x2d, 0x44, 0x4c, 0x55, 0x5b, 0x33, 0x3d, 0x68, 0x02, 0x67, 0x69, 0x12, 0x1e,
    0x66, 0x6a, 0x22, 0x2e, 0x54, 0x5c, 0x43, 0x4d, 0x65, 0x6b, 0x32, 0x3e, 0x78, 0x01, 0x77,
    0x79, 0x53, 0x5d, 0x11, 0x1f, 0x64, 0x6c, 0x42, 0x4e, 0x76, 0x7a, 0x21, 0x2f, 0x75, 0x7b,
    0x31, 0x3f, 0x63, 0x6d, 0x52, 0x5e, 0x00, 0x74, 0x7c, 0x41, 0x4f, 0x10, 0x20, 0x62, 0x6e,
    0x30, 0x73, 0x7d, 0x51, 0x5f, 0x40, 0x72, 0x7e, 0x61, 0x6f, 0x50, 0x71, 0x7f, 0x60, 0x70,
], np.int64)  # fmt: skip

_u32 = np.uint32
_HASH = np.uint32(0x1E35A7BD)
_GREEN, _RED, _BLUE, _ALPHA, _DISTANCE = range(5)


@kernel()
def _read(data: NDArray[np.uint8], place: NDArray[np.int64], bits: int) -> int:
    """Read bits; past the end they are 0, and `place[1]` counts them."""
    value = 0
    for i in range(bits):
        at = place[0] + i
        if at >> 3 < len(data):
            value |= (int(data[at >> 3]) >> (at & 7) & 1) << i
        else:
            place[1] += 1
    place[0] += bits
    return value


@kernel()
def _build(
    lengths: NDArray[np.int64],
    size: int,
    counts: NDArray[np.int64],
    symbols: NDArray[np.int64],
) -> bool:
    """Build a code from the lengths of `size` symbols; return whether it is complete."""
    for bits in range(LONGEST + 1):
        counts[bits] = 0
    for symbol in range(size):
        counts[lengths[symbol]] += 1
    used = size - counts[0]
    counts[0] = 0
    at = 0
    left = 1 << LONGEST
    for bits in range(1, LONGEST + 1):
        left -= counts[bits] << (LONGEST - bits)
        if counts[bits]:
            for symbol in range(size):
                if lengths[symbol] == bits:
                    symbols[at] = symbol
                    at += 1
    if used == 1:
        # One symbol takes no bits.
        for bits in range(1, LONGEST + 1):
            counts[bits] = 0
        counts[0] = 1
        return True
    return used > 1 and left == 0


@kernel()
def _symbol(
    data: NDArray[np.uint8],
    place: NDArray[np.int64],
    counts: NDArray[np.int64],
    symbols: NDArray[np.int64],
) -> int:
    """Read one symbol of a complete code."""
    if counts[0]:
        return int(symbols[0])
    code = first = index = 0
    for bits in range(1, LONGEST + 1):
        code |= _read(data, place, 1)
        count = counts[bits]
        if code - first < count:
            return int(symbols[index + code - first])
        index += count
        first = (first + count) << 1
        code <<= 1
    return 0


@kernel()
def _read_code(
    data: NDArray[np.uint8],
    place: NDArray[np.int64],
    alphabet: int,
    lengths: NDArray[np.int64],
    counts: NDArray[np.int64],
    symbols: NDArray[np.int64],
) -> bool:
    """Read a prefix code (3.7.2.1); return whether it is valid."""
    for i in range(alphabet):
        lengths[i] = 0
    if _read(data, place, 1):
        two = _read(data, place, 1)
        lengths[_read(data, place, 8 if _read(data, place, 1) else 1)] = 1
        if two:
            lengths[_read(data, place, 8)] = 1
        return _build(lengths, alphabet, counts, symbols)
    count = 4 + _read(data, place, 4)
    for i in range(19):
        lengths[i] = 0
    for i in range(count):
        lengths[LENGTH_ORDER[i]] = _read(data, place, 3)
    most = alphabet
    if _read(data, place, 1):
        most = 2 + _read(data, place, 2 + 2 * _read(data, place, 3))
        if most > alphabet:
            return False
    if not _build(lengths, 19, counts, symbols):
        return False
    for i in range(19):
        lengths[i] = 0
    previous, i = 8, 0
    while i < alphabet and most:
        most -= 1
        length = _symbol(data, place, counts, symbols)
        if length < 16:
            lengths[i] = length
            i += 1
            previous = length if length else previous
            continue
        repeat = 3 + _read(data, place, 2)
        if length == 17:
            repeat = repeat + (_read(data, place, 1) << 2)
        elif length == 18:
            repeat = repeat + (_read(data, place, 5) << 2) + 8
        if i + repeat > alphabet:
            return False
        for _ in range(repeat):
            lengths[i] = previous if length == 16 else 0
            i += 1
    return _build(lengths, alphabet, counts, symbols)


@kernel()
def _prefixed(data: NDArray[np.uint8], place: NDArray[np.int64], prefix: int) -> int:
    """Read the rest of a length or distance (3.6.2.2)."""
    if prefix < 4:
        return prefix + 1
    extra = (prefix - 2) >> 1
    return ((2 + (prefix & 1)) << extra) + _read(data, place, extra) + 1


@kernel()
def _read_image(
    data: NDArray[np.uint8],
    place: NDArray[np.int64],
    width: int,
    pixels: NDArray[np.uint32],
) -> bool:
    """Decode an image of one group of codes to ARGB (3.6); return whether it is valid."""
    cache_bits = _read(data, place, 4) if _read(data, place, 1) else 0
    if cache_bits > 11:
        return False
    cache = np.zeros(1 << cache_bits, np.uint32)
    lengths = np.zeros(MOST_CODES, np.int64)
    counts = np.zeros((5, LONGEST + 1), np.int64)
    symbols = np.zeros((5, MOST_CODES), np.int64)
    for code in range(5):
        alphabet = 40 if code == _DISTANCE else 256
        if code == _GREEN:
            alphabet = 280 + (1 << cache_bits if cache_bits else 0)
        if not _read_code(data, place, alphabet, lengths, counts[code], symbols[code]):
            return False
    at = 0
    while at < len(pixels):
        if place[1]:
            return False
        green = _symbol(data, place, counts[_GREEN], symbols[_GREEN])
        count, back = 1, 0
        pixel = _u32(0)
        if green < 256:
            red = _symbol(data, place, counts[_RED], symbols[_RED])
            blue = _symbol(data, place, counts[_BLUE], symbols[_BLUE])
            alpha = _symbol(data, place, counts[_ALPHA], symbols[_ALPHA])
            pixel = _u32(alpha << 24 | red << 16 | green << 8 | blue)
        elif green < 280:
            count = _prefixed(data, place, green - 256)
            prefix = _symbol(data, place, counts[_DISTANCE], symbols[_DISTANCE])
            back = _prefixed(data, place, prefix)
            if back > 120:
                back -= 120
            else:
                near = NEAR[back - 1]
                back = max((near >> 4) * width + 8 - (near & 15), 1)
            if back > at or count > len(pixels) - at:
                return False
        else:
            pixel = cache[green - 280]
        for _ in range(count):
            if back:
                pixel = pixels[at - back]
            pixels[at] = pixel
            at += 1
            if cache_bits:
                cache[_u32(_HASH * pixel) >> _u32(32 - cache_bits)] = pixel
    return True


@kernel()
def _small(size: int, bits: int) -> int:
    return (size + (1 << bits) - 1) >> bits


@kernel("UniTuple(int64, 3)(Array(uint8, 1, 'C', True), int64, int64, int64)")
def count_groups(  # noqa: PLR0911
    data: NDArray[np.uint8], width: int, height: int, most_pixels: int
) -> tuple[int, int, int]:
    """Count the groups of prefix codes of a picture of this size.

    `data` begins with the transforms, after the header. Returns the groups, at most as many as the
    decoder builds at once; the bits of the colour cache; and how many pixels of small images were
    decoded. The groups are DAMAGED, or TOO_LARGE for more than `most_pixels` of them. O(pixels).
    """
    place = np.zeros(2, np.int64)
    decoded = 0
    seen = 0
    while _read(data, place, 1):
        kind = _read(data, place, 2)
        if seen >> kind & 1 or place[1]:
            return DAMAGED, 0, decoded
        seen |= 1 << kind
        if kind == 2:  # subtract green
            continue
        if kind == 3:  # palette
            colours = _read(data, place, 8) + 1
            columns, rows = colours, 1
        else:
            bits = _read(data, place, 3) + 2
            columns, rows = _small(width, bits), _small(height, bits)
        decoded += columns * rows
        if decoded > most_pixels:
            return TOO_LARGE, 0, decoded
        if not _read_image(data, place, columns, np.zeros(columns * rows, np.uint32)):
            return DAMAGED, 0, decoded
        if kind == 3:
            width = _small(
                width, 0 if colours > 16 else 1 if colours > 4 else 2 if colours > 2 else 3
            )
    cache_bits = _read(data, place, 4) if _read(data, place, 1) else 0
    if not _read(data, place, 1):
        return 1, cache_bits, decoded
    bits = _read(data, place, 3) + 2
    columns, rows = _small(width, bits), _small(height, bits)
    decoded += columns * rows
    if decoded > most_pixels:
        return TOO_LARGE, cache_bits, decoded
    groups = np.zeros(columns * rows, np.uint32)
    if not _read_image(data, place, columns, groups):
        return DAMAGED, cache_bits, decoded
    most = 0
    for i in range(len(groups)):
        most = max(most, int(groups[i]) >> 8 & 0xFFFF)
    # Of more than 1,000 libwebp builds only those that a tile names.
    return most + 1 if most < 1000 else min(most + 1, columns * rows), cache_bits, decoded
