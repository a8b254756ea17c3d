"""Pixels to PDQ's variants: turns, frames, crops and tilts of one decoded picture.

All but tilts are rectangles of the same buffer, hashed in place. Which there are, and what share
of a threshold each is held to: `featsvc.signals.variants`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
from featsvc_kernels import framing, tilting
from featsvc_kernels import pdq as kernels
from featsvc_kernels.pictures import as_rows
from numpy.typing import NDArray

from featsvc.hashing.pdq import (
    DIHEDRAL_VARIANTS,
    MIN_SIDE,
    PdqHash,
    hash_pdq,
    hash_pdq_dihedral,
)
from featsvc.signals.algorithms import QUALITY_FLOOR
from featsvc.signals.variants import (
    CENTRE_CROPS,
    FILLS,
    ORIGINAL,
    RATIOS,
    SIDE_CROPS,
    SIDES,
    TILT_SIDES,
    TILTS,
    VARIANTS,
    centre_name,
    ratio_name,
    side_name,
    tilt_name,
)

Pixels = NDArray[np.uint8]
MakeVariants = Callable[[Pixels], Iterable[tuple[str, PdqHash]]]
"""Pixels -> name and PDQ of each variant, the original first."""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Pixels `top` to `bottom` and `left` to `right`, the last ones exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left


_TURNED = frozenset(DIHEDRAL_VARIANTS) - {ORIGINAL}
_ONE_PASS = frozenset({"flip_y", "transpose", "rotate_90"})
_FRAMES = {"trimmed": framing.TRIMMED, "unframed": framing.UNFRAMED}
_FRAMED = frozenset(f"{name}{turn}" for name in _FRAMES for turn in ("", "_flip_y"))
_GRID = 128
"""Grid lines on the short side, about, that frames are looked for on."""
_MIN_FRAMED_SIDE = 64
_MIN_FRAMED_AREA = 0.15
_NOTABLE = 0.01
"""A rectangle that differs from another by less of its sides would be found by that one."""
_MIN_CUT_AREA = 0.33
_TILTED_SIDE = 384
"""Tilts are made of a plane with about so many pixels on its short side."""


def make_original(pixels: Pixels) -> Iterator[tuple[str, PdqHash]]:
    yield ORIGINAL, hash_pdq(pixels)


def make_dihedral(pixels: Pixels) -> Iterable[tuple[str, PdqHash]]:
    """Meta's eight, from one DCT block; see `hash_pdq_dihedral`."""
    return zip(DIHEDRAL_VARIANTS, hash_pdq_dihedral(pixels), strict=True)


def making(wanted: frozenset[str]) -> MakeVariants:
    """The maker of these query variants beside the original."""
    return partial(make_query, wanted) if wanted else make_original


def make_query(wanted: frozenset[str], pixels: Pixels) -> Iterator[tuple[str, PdqHash]]:
    """The original and those of `wanted` that the picture has: most have no frame."""
    rows, channels = as_rows(pixels)
    height, width = pixels.shape[:2]
    whole = Rectangle(0, 0, height, width)
    if min(height, width) < MIN_SIDE:
        yield from make_original(pixels)
        return
    frames = find_frames(pixels)
    turns = wanted & _TURNED
    if turns and not _is_mere_frame(rows, channels, frames):
        yield from _turned(rows, channels, whole, turns)
    else:
        yield ORIGINAL, _hash(rows, channels, whole)
    if wanted & _FRAMED:
        for name, rectangle in frames.items():
            if f"{name}_flip_y" in wanted:
                for turn, hashed in _turned(rows, channels, rectangle, frozenset({"flip_y"})):
                    if (full := name if turn == ORIGINAL else f"{name}_{turn}") in wanted:
                        yield full, hashed
            elif name in wanted:
                yield name, _hash(rows, channels, rectangle)


def make_entry(pixels: Pixels) -> Iterator[tuple[str, PdqHash]]:
    """The original, then every entry variant that has a quality to match on and a new value."""
    rows, channels = as_rows(pixels)
    if min(pixels.shape[:2]) < MIN_SIDE or _is_mere_frame(rows, channels, find_frames(pixels)):
        yield from make_original(pixels)
        return
    seen = set()
    for name, hashed in make_original(pixels):
        seen.add(hashed.value)
        yield name, hashed
    parts = (
        (name, _hash(rows, channels, rectangle))
        for name, rectangle in entry_rectangles(pixels).items()
    )
    for name, hashed in chain(parts, _tilted(rows, channels)):
        if hashed.quality >= QUALITY_FLOOR and hashed.value not in seen:
            seen.add(hashed.value)
            yield name, hashed


def _tilted(rows: Pixels, channels: int) -> Iterator[tuple[str, PdqHash]]:
    """Corners are a structure of their own, the same for all pictures: they are no variants of a
    picture that has too little without them."""
    height, width = rows.shape[0], rows.shape[1] // channels
    factor = max(1, min(height, width) // _TILTED_SIDE)
    plane = np.empty((height // factor, width // factor), np.uint8)
    tilting.shrink(rows, channels, factor, plane)
    turned = np.empty_like(plane)
    height, width = plane.shape
    for degrees in TILTS:
        sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
        cut = max(cosine + sine * height / width, cosine + sine * width / height)
        for side, sign in TILT_SIDES:
            for fill, level in FILLS.items():
                zoom = cut if fill == "cut" else 1.0
                tilting.tilt(plane, math.radians(sign * degrees), zoom, level, turned)
                hashed = hash_pdq(turned)
                if hashed.quality < QUALITY_FLOOR:
                    break
                yield tilt_name(side, degrees, fill), hashed


def find_frames(pixels: Pixels) -> dict[str, Rectangle]:
    """The `trimmed` and `unframed` rectangle of RGB (H, W, 3) or grey (H, W), where it has one.

    Left out is what differs too little from the whole or from the one before, or is too small to
    be the picture.
    """
    rows, channels = as_rows(pixels)
    height, width = pixels.shape[:2]
    step = max(1, min(height, width) // _GRID)
    lines = np.empty((framing.FRAMES, 4), np.int64)
    framing.find_frames(rows, channels, step, lines)
    found: dict[str, Rectangle] = {}
    known = [Rectangle(0, 0, height, width)]
    for name, row in _FRAMES.items():
        top, left, bottom, right = lines[row].tolist()
        rectangle = Rectangle(top, left, bottom, right)
        if _is_picture(rectangle, height, width) and all(_differs(rectangle, k) for k in known):
            known.append(rectangle)
            found[name] = rectangle
    return found


def entry_rectangles(pixels: Pixels) -> dict[str, Rectangle]:
    """By name, every part of the picture that is an entry variant of it."""
    height, width = pixels.shape[:2]
    found = {k: v for k, v in find_frames(pixels).items() if VARIANTS[k].entry}
    for percent in CENTRE_CROPS:
        found[centre_name(percent)] = _cut(height, width, *(percent / 200,) * 4)
    for number, side in enumerate(SIDES):
        for percent in SIDE_CROPS:
            off = [0.0] * 4
            off[number] = percent / 100
            found[side_name(side, percent)] = _cut(height, width, *off)
    for w, h in RATIOS:
        across = max(0.0, 1 - height * w / h / width) / 2
        down = max(0.0, 1 - width * h / w / height) / 2
        if _NOTABLE < across + down < (1 - _MIN_CUT_AREA) / 2:
            found[ratio_name(w, h)] = _cut(height, width, down, across, down, across)
    return {k: v for k, v in found.items() if min(v.height, v.width) >= MIN_SIDE}


def _cut(
    height: int, width: int, top: float, left: float, bottom: float, right: float
) -> Rectangle:
    """Without these shares of the sides' lengths."""
    return Rectangle(
        round(height * top), round(width * left),
        round(height * (1 - bottom)), round(width * (1 - right)),
    )  # fmt: skip


def _is_picture(rectangle: Rectangle, height: int, width: int) -> bool:
    if min(rectangle.height, rectangle.width) < _MIN_FRAMED_SIDE:
        return False
    return rectangle.height * rectangle.width >= _MIN_FRAMED_AREA * height * width


def _differs(a: Rectangle, b: Rectangle) -> bool:
    down = abs(a.top - b.top) + abs(a.bottom - b.bottom)
    across = abs(a.left - b.left) + abs(a.right - b.right)
    return down > _NOTABLE * a.height or across > _NOTABLE * a.width


def _is_mere_frame(rows: Pixels, channels: int, frames: Mapping[str, Rectangle]) -> bool:
    """Whether what lies within the bars has too little structure: then the quality of the whole is
    that of its frame, which many pictures share, and turns and crops of it are no content."""
    inside = frames.get("trimmed")
    return inside is not None and _hash(rows, channels, inside).quality < QUALITY_FLOOR


def _turned(
    rows: Pixels, channels: int, part: Rectangle, turns: frozenset[str]
) -> Iterator[tuple[str, PdqHash]]:
    """PDQ of a part as it is, then of its turned pixels."""
    bits = np.empty((len(DIHEDRAL_VARIANTS), 32), np.uint8)
    every = not turns <= _ONE_PASS
    quality = kernels.pdq_turned_hashes(
        rows, channels, part.top, part.left, part.height, part.width, every, bits
    )
    for name, row in zip(DIHEDRAL_VARIANTS, bits, strict=True):
        if name == ORIGINAL or name in turns:
            yield name, PdqHash(row.tobytes(), int(quality))


def _hash(rows: Pixels, channels: int, part: Rectangle) -> PdqHash:
    """PDQ of a part, read where it lies."""
    coefficients = np.empty((kernels.COEFFICIENTS, kernels.COEFFICIENTS), np.float32)
    bits = np.empty(32, np.uint8)
    quality = kernels.pdq_hash(
        rows, channels, part.top, part.left, part.height, part.width, coefficients, bits
    )
    return PdqHash(bits.tobytes(), int(quality))
