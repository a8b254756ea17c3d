"""Lossless WebP whose codes are chosen by hand (RFC 9649): as many groups of them as wanted."""

import struct

_SIMPLE = ((1, 1), (0, 1), (0, 1), (0, 1))
"""A code of one symbol, 0, which takes no bits."""
_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8)


def _reversed(value: int) -> int:
    return int(f"{value:08b}"[::-1], 2)


def _bytes_code(zeros: int) -> list[tuple[int, int]]:
    """A code of 8 bits for each byte, and none for the `zeros` symbols after them."""
    lengths = [(1 if length in (8, 18 if zeros else 7) else 0, 3) for length in _ORDER]
    if not zeros:
        # A code needs a second symbol: 7, which is never used.
        lengths = [*lengths, (0, 3)]
        lengths[10] = (1, 3)
    head = [(0, 1), (len(lengths) - 4, 4), *lengths, (0, 1)]
    eight = (0 if zeros else 1, 1)
    return [*head, *[eight] * 256, *([(1, 1), (zeros - 11, 7)] if zeros else [])]


def groups_stream(side: int, groups: int) -> bytes:
    """The data after the header: tiles of 4 x 4 that name `groups` groups, all pixels 0."""
    bits = [(0, 1), (0, 1), (1, 1), (0, 3), (0, 1)]
    bits += [*_bytes_code(24), *_bytes_code(0), *_SIMPLE * 3]
    for tile in range(((side + 3) // 4) ** 2):
        number = tile % groups
        bits += [(_reversed(number & 255), 8), (_reversed(number >> 8), 8)]
    bits += _SIMPLE * (5 * groups)
    text = "".join(f"{value:0{count}b}"[::-1] for value, count in bits)
    text += "0" * (-len(text) % 8 + 64)
    return int(text[::-1], 2).to_bytes(len(text) // 8, "little")


def picture_of_groups(side: int, groups: int) -> bytes:
    """A black picture of side x side."""
    size = (side - 1) | (side - 1) << 14
    data = b"\x2f" + struct.pack("<I", size) + groups_stream(side, groups)
    data += b"\0" * (len(data) % 2)
    body = b"WEBPVP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body
