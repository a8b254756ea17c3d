"""APNG: the frames of an animated PNG as it shows them.

Source: W3C, "Portable Network Graphics (PNG) Specification (Third Edition)", 11.3.6 and 13.

The still picture for programs that know no animations is a frame only where a fcTL chunk stands
before it; else it is hidden, and not decoded.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from featsvc_kernels import png as kernels

from featsvc.media.formats.png.chunks import Chunk, Layout, check, corrupt, walk
from featsvc.media.formats.png.pixels import (
    STRIP_BYTES,
    Converter,
    Pixels,
    decode_pixels,
    flatten,
    join,
)
from featsvc.media.inflate import Inflater
from featsvc.media.options import Alpha
from featsvc.media.task import Budget

_KEEP, _CLEAR, _RESTORE = range(3)
_SOURCE, _OVER = range(2)
_SEQUENCE_BYTES = 4
_CONTROL = struct.Struct(">IIIII4xBB")


class Control(NamedTuple):
    """A fcTL chunk: where a frame is on the canvas, how it is put there, and what comes after."""

    width: int
    height: int
    left: int
    top: int
    disposal: int
    blend: int

    @property
    def area(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def fills(self, layout: Layout) -> bool:
        """Return whether the frame is as large as the canvas."""
        return (self.width, self.height) == (layout.width, layout.height)


class FrameReader:
    """Finds the frames of a file one after the other."""

    def __init__(self, content: bytes, layout: Layout) -> None:
        self._content = content
        self._layout = layout
        self._chunks = walk(content)
        self._ahead: Chunk | None = None
        self._sequence = 0

    def read(self) -> tuple[Control, Iterator[memoryview]]:
        """Return the next frame and its data, which must be read to the end before the next call.

        Raises MediaCorrupt for a frame that is missing or not allowed.
        """
        control: Control | None = None
        while (chunk := self._next()) is not None and chunk.name != b"IEND":
            if chunk.name == b"fcTL":
                if control is not None:
                    raise corrupt("a frame of its animation has no data")
                self._check_sequence(chunk)
                control = self._parse(chunk)
            elif chunk.name == b"fdAT" or (chunk.name == b"IDAT" and control is not None):
                if control is None:
                    raise corrupt("its animation has data without a frame")
                if chunk.name == b"IDAT" and not control.fills(self._layout):
                    raise corrupt("the first frame of its animation is smaller than the picture")
                skip = _SEQUENCE_BYTES if chunk.name == b"fdAT" else 0
                return control, join(self._content, self._run(chunk), skip)
        raise corrupt(f"its animation has fewer frames than {self._layout.frames}")

    def _next(self) -> Chunk | None:
        chunk, self._ahead = self._ahead, None
        return chunk or next(self._chunks, None)

    def _run(self, chunk: Chunk | None) -> Iterator[Chunk]:
        """Yield a chunk and those of its name that follow at once."""
        name = chunk.name if chunk else b""
        while chunk is not None and chunk.name == name:
            if name == b"fdAT":
                self._check_sequence(chunk)
            yield chunk
            chunk = self._next()
        self._ahead = chunk

    def _check_sequence(self, chunk: Chunk) -> None:
        check(self._content, chunk)
        if chunk.end - chunk.start < _SEQUENCE_BYTES or self._sequence != int.from_bytes(
            self._content[chunk.start : chunk.start + _SEQUENCE_BYTES], "big"
        ):
            raise corrupt("the frames of its animation are out of order")
        self._sequence += 1

    def _parse(self, chunk: Chunk) -> Control:
        if chunk.end - chunk.start != _CONTROL.size:
            raise corrupt(f"its fcTL chunk has {chunk.end - chunk.start} bytes")
        _, width, height, left, top, disposal, blend = _CONTROL.unpack_from(
            self._content, chunk.start
        )
        layout = self._layout
        inside = left + width <= layout.width and top + height <= layout.height
        if not (width and height and inside) or disposal > _RESTORE or blend > _OVER:
            raise corrupt("a frame of its animation lies outside the picture or is of no known way")
        return Control(width, height, left, top, disposal, blend)


class Canvas:
    """The animation as it stands: RGBA, at first transparent."""

    def __init__(self, layout: Layout, budget: Budget) -> None:
        self._layout = layout
        self._budget = budget
        self._pixels = np.zeros((layout.height, layout.width, kernels.RGBA), np.uint8)
        self._converter = Converter(layout, None)
        self._is_first = True

    def draw(self, control: Control, data: Iterator[memoryview]) -> Pixels | None:
        """Put a frame on the canvas; return what it covers, if that will be needed."""
        area = self._pixels[control.area]
        covered = None
        if control.disposal == _RESTORE and not self._is_first:
            covered = np.empty(area.shape, np.uint8)
            self._copy(area, covered)

        def paint(where: tuple[slice, slice], part: Pixels) -> None:
            if control.blend == _SOURCE:
                area[where] = part
            else:
                kernels.compose(part, area[where])

        size = (control.width, control.height)
        decode_pixels(
            Inflater(data, corrupt), self._layout, size, self._converter, paint, self._budget
        )
        for _ in data:
            self._budget.check()
        return covered

    def show(self, alpha: Alpha, pixels: Pixels) -> None:
        """Write the canvas on its background to `pixels` (H, W, 3)."""
        for rows in self._strips(len(pixels)):
            part = self._pixels[rows]
            flat = flatten(part.reshape(len(part), -1), alpha)
            pixels[rows] = flat.reshape(len(part), -1, kernels.RGB)

    def dispose(self, control: Control, covered: Pixels | None) -> None:
        """Make the canvas ready for the next frame."""
        area = self._pixels[control.area]
        if covered is not None:
            self._copy(covered, area)
        elif control.disposal != _KEEP:
            area[:] = 0
        self._is_first = False

    def _copy(self, source: Pixels, target: Pixels) -> None:
        for rows in self._strips(len(source)):
            target[rows] = source[rows]

    def _strips(self, height: int) -> Iterator[slice]:
        rows = max(1, STRIP_BYTES // (kernels.RGBA * self._layout.width))
        for first in range(0, height, rows):
            self._budget.check()
            yield slice(first, min(first + rows, height))
