"""Compute PDQ of variants of a picture: turned, unframed, cropped and tilted.

All but tilts are rectangles of the same buffer, hashed in place. `featsvc.signals.variants` lists
them with the share of the threshold that applies to each.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
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
    hash_part,
    hash_pdq,
    hash_pdq_dihedral,
)
from featsvc.hashing.planes import Rectangle
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
Side = tuple[Pixels, kernels.Part]
"""Rows of interleaved bytes, and a rectangle of them."""
VariantMaker = Callable[[Pixels], Iterable[tuple[str, PdqHash]]]
"""Yields name and PDQ of each variant of the pixels, the original first."""

_TURNED = frozenset(DIHEDRAL_VARIANTS) - {ORIGINAL}
_ONE_PASS = frozenset({"flip_y", "transpose", "rotate_90"})
_FRAMES = {"trimmed": framing.TRIMMED, "unframed": framing.UNFRAMED}
_FRAMED = frozenset(f"{name}{turn}" for name in _FRAMES for turn in ("", "_flip_y"))
_GRID = 128
"""Approximate number of grid lines on the short side on which frames are searched."""
_MIN_FRAMED_SIDE = 64
_MIN_FRAMED_AREA = 0.15
_MIN_DIFFERENCE = 0.01
"""Share of the sides by which two rectangles must differ for the second to be worth hashing."""
_MIN_CUT_AREA = 0.33
_TURNS: Mapping[str, tuple[bool, bool, bool]] = {
    "original": (False, False, False),
    "rotate_90": (True, True, False),
    "rotate_180": (False, True, True),
    "rotate_270": (True, False, True),
    "flip_x": (False, True, False),
    "flip_y": (False, False, True),
    "transpose": (True, False, False),
    "transverse": (True, True, True),
}
"""Whether pixels are transposed, and then turned upside down, and mirrored left to right."""
_MAX_SETTLED_PIXELS = 1 << 24
"""Variants of larger parts are not settled, which bounds what an unstable picture costs."""
_TILTED_SIDE = 384
"""Approximate pixels on the short side of the plane that is tilted."""


def make_original(pixels: Pixels) -> Iterator[tuple[str, PdqHash]]:
    """Yield the original only."""
    yield ORIGINAL, hash_pdq(pixels)


def make_dihedral(pixels: Pixels) -> Iterable[tuple[str, PdqHash]]:
    """Yield Meta's eight turns from one DCT block; see `hash_pdq_dihedral`."""
    return zip(DIHEDRAL_VARIANTS, hash_pdq_dihedral(pixels), strict=True)


def query_maker(names: frozenset[str]) -> VariantMaker:
    """Return the maker of the original and the named query variants."""
    return partial(make_query, names) if names else make_original


def make_query(names: frozenset[str], pixels: Pixels) -> Iterator[tuple[str, PdqHash]]:
    """Yield the original and those of `names` that the picture has: most have no frame."""
    rows, channels = as_rows(pixels)
    height, width = pixels.shape[:2]
    whole = Rectangle(0, 0, height, width)
    if min(height, width) < MIN_SIDE:
        yield from make_original(pixels)
        return
    frames = find_frames(pixels)
    turns = names & _TURNED
    if turns and not _is_empty_frame(rows, channels, frames):
        yield from _turned(rows, channels, whole, turns)
    else:
        yield ORIGINAL, hash_part(rows, channels, whole.extent)
    if names & _FRAMED:
        for name, rectangle in frames.items():
            if f"{name}_flip_y" in names:
                for turn, hashed in _turned(rows, channels, rectangle, frozenset({"flip_y"})):
                    if (variant := name if turn == ORIGINAL else f"{name}_{turn}") in names:
                        yield variant, hashed
            elif name in names:
                yield name, hash_part(rows, channels, rectangle.extent)


def make_entry(pixels: Pixels) -> Iterator[tuple[str, PdqHash]]:
    """Yield the original, then each stable entry variant with sufficient quality and a new value.

    An unstable one would find nothing, and costs more to compute exactly.
    """
    rows, channels = as_rows(pixels)
    if min(pixels.shape[:2]) < MIN_SIDE or _is_empty_frame(rows, channels, find_frames(pixels)):
        yield from make_original(pixels)
        return
    seen = set()
    for name, hashed in make_original(pixels):
        seen.add(hashed.value)
        yield name, hashed
    parts = (
        (name, hash_part(rows, channels, rectangle.extent, settle=False))
        for name, rectangle in entry_rectangles(pixels).items()
    )
    for name, hashed in chain(parts, _tilted(rows, channels)):
        good = hashed.quality >= QUALITY_FLOOR and not hashed.unstable
        if good and hashed.value not in seen:
            seen.add(hashed.value)
            yield name, hashed


def _tilted(rows: Pixels, channels: int) -> Iterator[tuple[str, PdqHash]]:
    """Yield the tilts, for each angle up to the first of low quality.

    Filled corners add structure that is the same for all pictures, so a picture with too little
    structure without them has no tilted variants.
    """
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
                hashed = hash_part(turned, 1, (0, 0, height, width), settle=False)
                if hashed.quality < QUALITY_FLOOR:
                    break
                yield tilt_name(side, degrees, fill), hashed


def find_frames(pixels: Pixels) -> dict[str, Rectangle]:
    """Find the `trimmed` and the `unframed` rectangle of RGB (H, W, 3) or grey (H, W) pixels.

    Leaves out a rectangle that differs too little from the whole or from the one before, or is too
    small to be the picture.
    """
    rows, channels = as_rows(pixels)
    height, width = pixels.shape[:2]
    step = max(1, min(height, width) // _GRID)
    lines = np.empty((framing.FRAMES, 4), np.int64)
    framing.find_frames(rows, channels, step, lines)
    frames: dict[str, Rectangle] = {}
    known = [Rectangle(0, 0, height, width)]
    for name, row in _FRAMES.items():
        top, left, bottom, right = lines[row].tolist()
        rectangle = Rectangle(top, left, bottom, right)
        if _is_picture(rectangle, height, width) and all(_differs(rectangle, k) for k in known):
            known.append(rectangle)
            frames[name] = rectangle
    return frames


def entry_rectangles(pixels: Pixels) -> dict[str, Rectangle]:
    """Return the entry variants that are parts of the picture, by name."""
    height, width = pixels.shape[:2]
    parts = {k: v for k, v in find_frames(pixels).items() if VARIANTS[k].entry}
    for percent in CENTRE_CROPS:
        parts[centre_name(percent)] = _cut(height, width, *(percent / 200,) * 4)
    for number, side in enumerate(SIDES):
        for percent in SIDE_CROPS:
            off = [0.0] * 4
            off[number] = percent / 100
            parts[side_name(side, percent)] = _cut(height, width, *off)
    for w, h in RATIOS:
        across = max(0.0, 1 - height * w / h / width) / 2
        down = max(0.0, 1 - width * h / w / height) / 2
        if _MIN_DIFFERENCE < across + down < (1 - _MIN_CUT_AREA) / 2:
            parts[ratio_name(w, h)] = _cut(height, width, down, across, down, across)
    return {k: v for k, v in parts.items() if min(v.height, v.width) >= MIN_SIDE}


def _cut(
    height: int, width: int, top: float, left: float, bottom: float, right: float
) -> Rectangle:
    """Return the whole without these shares of its height and width."""
    down, across = round(height * (1 - bottom)), round(width * (1 - right))
    return Rectangle(round(height * top), round(width * left), down, across)


def _is_picture(rectangle: Rectangle, height: int, width: int) -> bool:
    if min(rectangle.height, rectangle.width) < _MIN_FRAMED_SIDE:
        return False
    return rectangle.height * rectangle.width >= _MIN_FRAMED_AREA * height * width


def _differs(a: Rectangle, b: Rectangle) -> bool:
    down = abs(a.top - b.top) + abs(a.bottom - b.bottom)
    across = abs(a.left - b.left) + abs(a.right - b.right)
    return down > _MIN_DIFFERENCE * a.height or across > _MIN_DIFFERENCE * a.width


def _is_empty_frame(rows: Pixels, channels: int, frames: Mapping[str, Rectangle]) -> bool:
    """Return whether the picture inside the frame has too little structure.

    The quality is then that of the frame, which many pictures share: turns and crops would match
    those.
    """
    inside = frames.get("trimmed")
    if inside is None:
        return False
    return hash_part(rows, channels, inside.extent, settle=False).quality < QUALITY_FLOOR


def _turned(
    rows: Pixels, channels: int, part: Rectangle, turns: frozenset[str]
) -> Iterator[tuple[str, PdqHash]]:
    """Yield PDQ of a part, then of its turned pixels.

    Those that are to be settled are, by the order of the reference. Turns of low quality, which
    match nothing, and of very large parts are left as they are.
    """
    bits = np.empty((len(DIHEDRAL_VARIANTS), 32), np.uint8)
    marks = np.empty((len(DIHEDRAL_VARIANTS), 2), np.bool_)
    every = not turns <= _ONE_PASS
    quality = int(kernels.pdq_turned_hashes(rows, channels, part.extent, every, bits, marks))
    settle = quality >= QUALITY_FLOOR and part.height * part.width <= _MAX_SETTLED_PIXELS
    sides: dict[bool, Side] = {False: (rows, part.extent)}
    hashes = zip(DIHEDRAL_VARIANTS, bits, marks.tolist(), strict=True)
    for name, row, (unsettled, unstable) in hashes:
        if name != ORIGINAL and name not in turns:
            continue
        if unsettled and (settle or name == ORIGINAL):
            transposed, upside_down, mirrored = _TURNS[name]
            if transposed not in sides:
                sides[transposed] = _transposed(rows, channels, part)
            side, extent = sides[transposed]
            turn = upside_down, mirrored
            settled, mark = kernels.pdq_settled_hash(side, channels, extent, turn, row)
            yield name, PdqHash(row.tobytes(), int(settled), bool(mark))
        else:
            yield name, PdqHash(row.tobytes(), quality, unstable)


def _transposed(rows: Pixels, channels: int, part: Rectangle) -> Side:
    """Return a part with its rows as columns."""
    cut = rows[part.top : part.bottom, part.left * channels : part.right * channels]
    pixels = cut if channels == 1 else cut.reshape(part.height, part.width, channels)
    return as_rows(pixels.swapaxes(0, 1))[0], (0, 0, part.width, part.height)
