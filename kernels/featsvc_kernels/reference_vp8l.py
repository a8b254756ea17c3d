"""The plain Python twin of `vp8l`, after RFC 9649: codes are dictionaries of their bits."""

from collections.abc import Iterator

from featsvc_kernels.vp8l import DAMAGED, LENGTH_ORDER, NEAR, TOO_LARGE

Code = dict[str, int]


class _Damaged(Exception):
    pass


class _TooLarge(Exception):
    pass


class _Stream:
    def __init__(self, data: bytes) -> None:
        self._bits: Iterator[int] = (byte >> i & 1 for byte in data for i in range(8))

    def read(self, count: int) -> int:
        try:
            return sum(next(self._bits) << i for i in range(count))
        except (StopIteration, RuntimeError):
            raise _Damaged from None

    def symbol(self, code: Code) -> int:
        bits = ""
        while bits not in code:
            bits += str(self.read(1))
        return code[bits]


def _code(lengths: list[int]) -> Code:
    """Build a canonical code; it must be complete, or of one symbol."""
    used = [(length, symbol) for symbol, length in enumerate(lengths) if length]
    if len(used) == 1:
        return {"": used[0][1]}
    if sum(2.0**-length for length, _ in used) != 1:
        raise _Damaged
    code: Code = {}
    value = last = 0
    for length, symbol in sorted(used):
        value <<= length - last
        last = length
        code[f"{value:0{length}b}"] = symbol
        value += 1
    return code


def _read_code(stream: _Stream, alphabet: int) -> Code:
    lengths = [0] * max(alphabet, 256)
    if stream.read(1):
        two = stream.read(1)
        lengths[stream.read(8 if stream.read(1) else 1)] = 1
        if two:
            lengths[stream.read(8)] = 1
        return _code(lengths)
    inner = [0] * 19
    for place in LENGTH_ORDER[: 4 + stream.read(4)].tolist():
        inner[place] = stream.read(3)
    most = 2 + stream.read(2 + 2 * stream.read(3)) if stream.read(1) else alphabet
    if most > alphabet:
        raise _Damaged
    code = _code(inner)
    out: list[int] = []
    previous = 8
    while len(out) < alphabet and most:
        most -= 1
        length = stream.symbol(code)
        if length < 16:
            out.append(length)
            previous = length or previous
        else:
            count = stream.read((2, 3, 7)[length - 16]) + (3, 3, 11)[length - 16]
            out += [previous if length == 16 else 0] * count
    if len(out) > alphabet:
        raise _Damaged
    return _code(out)


def _prefixed(stream: _Stream, prefix: int) -> int:
    if prefix < 4:
        return prefix + 1
    extra = (prefix - 2) // 2
    return ((2 + prefix % 2) << extra) + stream.read(extra) + 1


def _read_image(stream: _Stream, width: int, height: int) -> list[int]:
    cache_bits = stream.read(4) if stream.read(1) else 0
    if cache_bits > 11:
        raise _Damaged
    cache = [0] * 2**cache_bits
    greens = 280 + (2**cache_bits if cache_bits else 0)
    codes = [_read_code(stream, size) for size in (greens, 256, 256, 256, 40)]
    pixels: list[int] = []
    while len(pixels) < width * height:
        green = stream.symbol(codes[0])
        if green < 256:
            red, blue, alpha = (stream.symbol(code) for code in codes[1:4])
            new = [alpha << 24 | red << 16 | green << 8 | blue]
        elif green < 280:
            count = _prefixed(stream, green - 256)
            back = _prefixed(stream, stream.symbol(codes[4]))
            if back <= 120:
                near = int(NEAR[back - 1])
                back = max((near >> 4) * width + 8 - (near & 15), 1)
            else:
                back -= 120
            if back > len(pixels) or count > width * height - len(pixels):
                raise _Damaged
            new = [pixels[len(pixels) - back + i % back] for i in range(count)]
        else:
            new = [cache[green - 280]]
        pixels += new
        for pixel in new:
            cache[(0x1E35A7BD * pixel & 0xFFFFFFFF) >> 32 - cache_bits if cache_bits else 0] = pixel
    return pixels


def count_groups(data: bytes, width: int, height: int, most_pixels: int) -> tuple[int, int, int]:
    """Return what `vp8l.count_groups` returns."""
    decoded = 0
    cache_bits = 0
    stream = _Stream(data)

    def image(columns: int, rows: int) -> list[int]:
        nonlocal decoded
        decoded += columns * rows
        if decoded > most_pixels:
            raise _TooLarge
        return _read_image(stream, columns, rows)

    seen = []
    try:
        while stream.read(1):
            kind = stream.read(2)
            if kind in seen:
                raise _Damaged
            seen.append(kind)
            if kind == 3:
                colours = stream.read(8) + 1
                image(colours, 1)
                per_byte = 1 if colours > 16 else 2 if colours > 4 else 4 if colours > 2 else 8
                width = -(-width // per_byte)
            elif kind != 2:
                side = 4 << stream.read(3)
                image(-(-width // side), -(-height // side))
        cache_bits = stream.read(4) if stream.read(1) else 0
        if not stream.read(1):
            return 1, cache_bits, decoded
        side = 4 << stream.read(3)
        tiles = image(-(-width // side), -(-height // side))
    except _Damaged:
        return DAMAGED, cache_bits, decoded
    except _TooLarge:
        return TOO_LARGE, cache_bits, decoded
    most = max(tile >> 8 & 0xFFFF for tile in tiles) + 1
    return most if most <= 1000 else min(most, len(tiles)), cache_bits, decoded
