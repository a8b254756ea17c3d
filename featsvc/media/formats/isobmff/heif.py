"""What a HEIF or AVIF file shows: one picture or a grid, with alpha, cropped, turned, mirrored."""

import struct
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import MediaCorrupt, UnsupportedMedia
from featsvc.media.exif import apply_orientation
from featsvc.media.formats.isobmff import av1, hevc
from featsvc.media.formats.isobmff.boxes import Box, Boxes, Item, Meta, read_meta
from featsvc.media.formats.isobmff.coded import Stream

_GRID = b"grid"
CODED = {b"av01": "AV1", b"hvc1": "HEVC", b"hev1": "HEVC"}
_OTHERS = {
    b"iovl": "an overlay of pictures",
    b"iden": "a derived picture",
    b"tmap": "a tone-mapped picture",
    b"avc1": "H.264",
    b"jpeg": "JPEG",
    b"j2k1": "JPEG 2000",
    b"vvc1": "H.266",
    b"unci": "uncompressed samples",
    b"mski": "a mask",
    b"lhv1": "layered HEVC",
}
_ALPHA = (
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha",
    b"urn:mpeg:hevc:2015:auxid:1",
)


@dataclass(frozen=True, slots=True)
class Crop:
    """Keep the part of this place and size."""

    x: int
    y: int
    width: int
    height: int

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return pixels[self.y : self.y + self.height, self.x : self.x + self.width]


@dataclass(frozen=True, slots=True)
class Turn:
    """Turn by quarters, anticlockwise."""

    quarters: int

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.rot90(pixels, self.quarters)


@dataclass(frozen=True, slots=True)
class Mirror:
    """Swap left and right, or top and bottom."""

    sides: bool

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return pixels[:, ::-1] if self.sides else pixels[::-1]


Step = Crop | Turn | Mirror


@dataclass(frozen=True, slots=True)
class Picture:
    """What is shown: stored pixels of this size, from these streams, through these steps.

    `colour` and `alpha` have a stream for each tile, of one tile where there is no grid.
    """

    codec: str
    width: int
    height: int
    colour: tuple[Stream, ...]
    alpha: tuple[Stream, ...] = ()
    is_premultiplied: bool = False
    steps: tuple[Step, ...] = ()
    frames: int = 1

    @property
    def orientation(self) -> int:
        """The turns and mirrors as EXIF counts them, 1 to 8; 0 where the file has none."""
        turns = [step for step in self.steps if not isinstance(step, Crop)]
        stored = shown = np.arange(6, dtype=np.uint8).reshape(2, 3)
        for step in turns:
            shown = step.apply(shown)
        same = (o for o in range(1, 9) if np.array_equal(shown, apply_orientation(stored, o)))
        return next(same, 0) if turns else 0

    def show(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a view of stored pixels as they are shown."""
        for step in self.steps:
            pixels = step.apply(pixels)
        return pixels


def read_picture(content: bytes) -> Picture:
    """Read the primary item. Raises MediaCorrupt, UnsupportedMedia (its name)."""
    boxes = Boxes(content)
    meta = read_meta(boxes)
    primary = meta.items.get(meta.primary)
    if primary is None or not primary.type:
        raise MediaCorrupt("the HEIF has no primary picture; send the whole file")
    width, height = _read_size(boxes, primary)
    numbers = _tiles(meta, meta.primary)
    tiles = [_coded(meta, number) for number in numbers]
    if primary.type == _GRID:
        _check_grid(boxes, primary, tiles, (width, height))
    alphas = dict.fromkeys(
        alpha
        for number in (meta.primary, *numbers)
        for alpha in meta.referring(b"auxl", number)
        if _is_alpha(boxes, meta.item(alpha))
    )
    coded_alphas = [_coded(meta, number) for alpha in alphas for number in _tiles(meta, alpha)]
    return Picture(
        codec=CODED[tiles[0].type],
        width=width,
        height=height,
        colour=tuple(_read_stream(boxes, tile) for tile in tiles),
        alpha=tuple(_read_stream(boxes, alpha) for alpha in coded_alphas),
        is_premultiplied=bool(alphas) and bool(meta.referred(b"prem", meta.primary)),
        steps=read_steps(boxes, primary.properties, width, height),
    )


def _tiles(meta: Meta, number: int) -> list[int]:
    """Return the coded items of an item: its tiles, or itself."""
    kind = meta.item(number).type
    if kind == _GRID:
        return meta.referred(b"dimg", number)
    if kind not in CODED:
        name = _OTHERS.get(kind, repr(kind.decode("latin-1")))
        raise UnsupportedMedia(
            f"this HEIF shows {name}, which featsvc does not decode; only byte hashes apply"
        )
    return [number]


def _read_stream(boxes: Boxes, item: Item) -> Stream:
    data = _read_bytes(boxes.content, item)
    if item.type == b"av01":
        stream = av1.read_stream(data)
    else:
        box = _find(item, b"hvcC")
        if box is None:
            raise MediaCorrupt("the HEIF has no parameters of its picture; send the whole file")
        stream = hevc.read_stream(boxes.content[box.start : box.end], data)
    if not stream.width or not stream.frames:
        raise MediaCorrupt("the HEIF's item holds no picture; it is damaged; send the whole file")
    return stream


def _read_bytes(content: bytes, item: Item) -> bytes:
    if not item.extents or any(start + size > len(content) for start, size in item.extents):
        raise MediaCorrupt(
            "the HEIF does not hold all bytes of its picture; it is truncated; send the whole file"
        )
    if sum(size for _, size in item.extents) > len(content):
        raise MediaCorrupt("parts of the HEIF's picture overlap; it is damaged")
    return b"".join(content[start : start + size] for start, size in item.extents)


def _coded(meta: Meta, number: int) -> Item:
    item = meta.items.get(number)
    if item is None or item.type not in CODED:
        name = "nothing" if item is None else repr(item.type.decode("latin-1"))
        raise UnsupportedMedia(
            f"this HEIF is a grid of {name}, which featsvc does not decode; only byte hashes apply"
        )
    return item


def _find(item: Item, name: bytes) -> Box | None:
    return next((box for box in item.properties if box.name == name), None)


def _read_size(boxes: Boxes, item: Item) -> tuple[int, int]:
    box = _find(item, b"ispe")
    if box is None:
        raise MediaCorrupt("the HEIF does not say how large its picture is; send the whole file")
    reader = boxes.reader(box)
    reader.version()
    return reader.number(4), reader.number(4)


def _is_alpha(boxes: Boxes, item: Item) -> bool:
    box = _find(item, b"auxC")
    return box is not None and boxes.content[box.start + 4 : box.end].startswith(_ALPHA)


def _check_grid(boxes: Boxes, grid: Item, tiles: list[Item], size: tuple[int, int]) -> None:
    """Raise MediaCorrupt where a grid has too few tiles or too small ones for its size."""
    data = _read_bytes(boxes.content, grid)
    _, flags, rows, columns = struct.unpack_from("BBBB", data)
    declared = struct.unpack_from(">II" if flags & 1 else ">HH", data, 4)
    if not tiles or len(tiles) != (rows + 1) * (columns + 1) or declared != size:
        raise MediaCorrupt(
            f"the HEIF's grid of {columns + 1} x {rows + 1} has {len(tiles)} tiles for a picture "
            f"of {size[0]} x {size[1]}; it is damaged; send the whole file"
        )
    sizes = {_read_size(boxes, tile) for tile in tiles}
    width, height = sizes.pop()
    if sizes or width * (columns + 1) < size[0] or height * (rows + 1) < size[1]:
        raise MediaCorrupt("the tiles of the HEIF do not fill its grid; send the whole file")
    if width * columns >= size[0] or height * rows >= size[1]:
        raise MediaCorrupt("tiles of the HEIF lie outside of its grid; it is damaged")


def read_steps(boxes: Boxes, properties: list[Box], width: int, height: int) -> tuple[Step, ...]:
    """Read the crops, turns and mirrors in their order.

    Raises MediaCorrupt for a crop outside of the picture, UnsupportedMedia for one between pixels,
    which viewers round in different ways.
    """
    steps: list[Step] = []
    for box in properties:
        if box.name == b"clap":
            crop = _read_crop(boxes, box, width, height)
            width, height = crop.width, crop.height
            steps.append(crop)
        elif box.name == b"irot":
            turn = Turn(boxes.reader(box).number(1) & 3)
            if turn.quarters & 1:
                width, height = height, width
            steps.append(turn)
        elif box.name == b"imir":
            steps.append(Mirror(bool(boxes.reader(box).number(1) & 1)))
    return tuple(steps)


def _read_crop(boxes: Boxes, box: Box, width: int, height: int) -> Crop:
    reader = boxes.reader(box)
    values = [reader.number(4) for _ in range(8)]
    # The offsets are signed, as of the 2022 edition so are the sizes.
    signed = [v - 2**32 if v >= 2**31 and i % 2 == 0 else v for i, v in enumerate(values)]
    if not all(signed[1::2]):
        raise MediaCorrupt("the HEIF's crop (`clap`) divides by zero; it is damaged")
    crop_width, crop_height, across, down = (
        Fraction(signed[i], signed[i + 1]) for i in range(0, 8, 2)
    )
    x = (width - crop_width) / 2 + across
    y = (height - crop_height) / 2 + down
    outside = x < 0 or y < 0 or x + crop_width > width or y + crop_height > height
    if crop_width <= 0 or crop_height <= 0 or outside:
        raise MediaCorrupt(
            f"the HEIF's crop (`clap`) lies outside of its {width} x {height} pixels; it is damaged"
        )
    parts = (x, y, crop_width, crop_height)
    if any(part.denominator != 1 for part in parts):
        raise UnsupportedMedia(
            "this HEIF's crop (`clap`) begins or ends between two pixels, which featsvc does not "
            "decode; only byte hashes apply"
        )
    return Crop(*map(int, parts))
