"""Writes PNG of every kind, filter and layout, and the pixels that each must decode to."""

import struct
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from featsvc.media import Kind
from featsvc.media.kinds import KEYED, OPAQUE, STRAIGHT
from tests.media.twins import Twin

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {
    ("grey", False): 0,
    ("rgb", False): 2,
    ("palette", False): 3,
    ("grey", True): 4,
    ("rgb", True): 6,
}
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = (
    (slice(0, None, 8), slice(0, None, 8)),
    (slice(0, None, 8), slice(4, None, 8)),
    (slice(4, None, 8), slice(0, None, 4)),
    (slice(0, None, 4), slice(2, None, 4)),
    (slice(2, None, 4), slice(0, None, 2)),
    (slice(0, None, 2), slice(1, None, 2)),
    (slice(1, None, 2), slice(None)),
)

Samples = NDArray[np.uint16]
"""(H, W, channels), each below 2 to the power of the depth."""


def chunk(name: bytes, data: bytes = b"") -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def damaged(data: bytes) -> bytes:
    """A chunk with a wrong checksum."""
    return data[:-1] + bytes([data[-1] ^ 1])


def header(width: int, height: int, depth: int, colour: int, *, interlaced: bool = False) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def pack(samples: Samples, depth: int) -> NDArray[np.uint8]:
    """The samples as rows of bytes (H, bytes), without filters."""
    rows = samples.reshape(len(samples), -1)
    if depth == 16:
        return rows.astype(">u2").view(np.uint8)
    bits = (rows[:, :, None] >> np.arange(depth)[::-1]) & 1
    return np.packbits(bits.reshape(len(rows), -1).astype(np.uint8), axis=1)


def predict(left: NDArray[np.int64], above: NDArray[np.int64], corner: NDArray[np.int64]) -> object:
    """Paeth's choice, of arrays."""
    estimate = left + above - corner
    near = [abs(estimate - value) for value in (left, above, corner)]
    return np.where(
        (near[0] <= near[1]) & (near[0] <= near[2]),
        left,
        np.where(near[1] <= near[2], above, corner),
    )


def apply_filters(rows: NDArray[np.uint8], step: int, filters: Iterable[int]) -> bytes:
    """The rows with a filter each, its number in front."""
    out = []
    above = np.zeros(rows.shape[1], np.int64)
    for row, kind in zip(rows.astype(np.int64), filters, strict=False):
        left = np.concatenate((np.zeros(step, np.int64), row))[: row.size]
        corner = np.concatenate((np.zeros(step, np.int64), above))[: row.size]
        guess = (0, left, above, (left + above) // 2, predict(left, above, corner))[kind]
        out.append(bytes([kind]) + ((row - guess) % 256).astype(np.uint8).tobytes())
        above = row
    return b"".join(out)


def raw_data(
    samples: Samples, depth: int, filters: Sequence[int] = (0,), *, interlaced: bool = False
) -> bytes:
    """The bytes that are deflated: filtered rows, by the passes of Adam7 if interlaced."""
    height, _, channels = samples.shape
    step = max(depth * channels // 8, 1)
    endless = [filters[y % len(filters)] for y in range(height)]
    parts = [samples[rows, columns] for rows, columns in ADAM7] if interlaced else [samples]
    return b"".join(apply_filters(pack(part, depth), step, endless) for part in parts if part.size)


def write(
    samples: Samples,
    depth: int,
    colour: int,
    filters: Sequence[int] = (0,),
    *,
    interlaced: bool = False,
    palette: bytes = b"",
    transparency: bytes | None = None,
    cuts: Sequence[int] = (),
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A file; its data in chunks that end at `cuts`, `before` and `after` them other chunks."""
    height, width, _ = samples.shape
    data = zlib.compress(raw_data(samples, depth, filters, interlaced=interlaced))
    ends = [*sorted(min(cut, len(data)) for cut in cuts), len(data)]
    starts = [0, *ends[:-1]]
    return b"".join(
        (
            SIGNATURE,
            header(width, height, depth, colour, interlaced=interlaced),
            chunk(b"PLTE", palette) if palette else b"",
            chunk(b"tRNS", transparency) if transparency is not None else b"",
            before,
            *(chunk(b"IDAT", data[a:b]) for a, b in zip(starts, ends, strict=True)),
            after,
            chunk(b"IEND"),
        )
    )


def write_kind(kind: Kind, picture: NDArray[np.uint8]) -> Twin:
    """The picture as a kind, with every filter in turn and interlaced where it has alpha."""
    straight = kind.alpha == STRAIGHT
    colour = COLOUR_TYPES[kind.colour, straight and kind.colour != "palette"]
    if kind.colour == "palette":
        return _write_palette(kind, picture)
    wide = (
        picture.astype(np.uint16) if kind.colour == "rgb" else picture[:, :, 1:2].astype(np.uint16)
    )
    top = (1 << kind.bits) - 1
    samples = np.asarray(wide * 257 if kind.bits == 16 else wide >> (8 - kind.bits), np.uint16)
    if kind.bits == 16:
        samples ^= np.arange(samples.shape[1], dtype=np.uint16)[:, None] & 0xFF
    shown = (samples >> 8 if kind.bits == 16 else samples * (255 // top)).astype(np.uint8)
    transparency = None
    if kind.alpha == KEYED:
        key = samples[5, 7]
        transparency = key.astype(">u2").tobytes()
        shown = np.where((samples == key).all(axis=-1, keepdims=True), 255, shown)
    if straight:
        alpha = np.full((*samples.shape[:2], 1), top, np.uint16)
        alpha[::3] = 0
        alpha[1::3] = top // 5
        samples = np.concatenate((samples, alpha), axis=-1)
        share = (alpha >> (kind.bits - 8)) / 255
        shown = np.rint(shown * share + 255 * (1 - share)).astype(np.uint8)
    content = write(
        samples, kind.bits, colour, range(5), interlaced=straight, transparency=transparency
    )
    return Twin(content, shown if kind.colour == "rgb" else shown[:, :, 0])


def _write_palette(kind: Kind, picture: NDArray[np.uint8]) -> Twin:
    count = 1 << kind.bits
    colours = np.random.default_rng(kind.bits).integers(0, 256, (count, 3), dtype=np.uint8)
    samples = (picture[:, :, 1:2] >> (8 - kind.bits)).astype(np.uint16)
    shown, transparency = colours.astype(float), None
    if kind.alpha != OPAQUE:
        alphas = np.arange(count - 1, dtype=np.uint8) * (255 // count)
        transparency = alphas.tobytes()
        share = np.append(alphas, 255)[:, None] / 255
        shown = np.rint(colours * share + 255 * (1 - share))
    content = write(
        samples,
        kind.bits,
        3,
        range(5),
        palette=colours.tobytes(),
        transparency=transparency,
        interlaced=transparency is not None,
    )
    return Twin(content, shown.astype(np.uint8)[samples[:, :, 0]])
