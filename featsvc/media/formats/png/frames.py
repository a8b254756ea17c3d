"""Decodes the picture, or the frames, of a PNG: pixels appear as they are displayed, once."""

from collections.abc import Iterator

import numpy as np

from featsvc.media.exif import stored_view, swaps_sides
from featsvc.media.formats.png.animation import Canvas, FrameReader
from featsvc.media.formats.png.chunks import (
    Chunk,
    Layout,
    corrupt,
    read_layout,
    read_orientation,
    walk,
)
from featsvc.media.formats.png.pixels import (
    Converter,
    Pixels,
    decode_pixels,
    join,
    output_channels,
)
from featsvc.media.inflate import Inflater
from featsvc.media.options import Frames, Image, Provenance
from featsvc.media.task import Task


def decode(task: Task) -> Iterator[Image]:
    """Yield the frames of a task.

    Raises MediaCorrupt, MediaTooLarge, UnsupportedMedia, TimedOut.
    """
    layout = read_layout(task.content)
    output = _Output(task, layout)
    if not layout.frames:
        yield output.decode(join(task.content, _data_chunks(task.content, layout)))
    else:
        yield from _animate(task, layout, output)


def _data_chunks(content: bytes, layout: Layout) -> Iterator[Chunk]:
    """Yield the IDAT chunks: those that follow each other."""
    for chunk in walk(content, layout.data_at):
        if chunk.name != b"IDAT":
            return
        yield chunk


def _animate(task: Task, layout: Layout, output: "_Output") -> Iterator[Image]:
    reader = FrameReader(task.content, layout)
    control, data = reader.read()
    if task.options.frames is Frames.FIRST and control.fills(layout):
        yield output.decode(data)
        return
    canvas = Canvas(layout, task.budget)
    for frame in range(1 if task.options.frames is Frames.FIRST else output.frames):
        if frame:
            control, data = reader.read()
        covered = canvas.draw(control, data)
        displayed, stored = output.blank(3)
        canvas.show(task.options.alpha, stored)
        yield output.image(displayed, frame)
        canvas.dispose(control, covered)


class _Output:
    """Makes the pictures of one file, turned as its orientation says."""

    def __init__(self, task: Task, layout: Layout) -> None:
        self._task = task
        self._layout = layout
        self.frames = max(layout.frames, 1)
        orientation = read_orientation(task.content, layout)
        applied = orientation > 0 and not task.options.ignore_orientation
        self._turn = orientation if applied else 0
        self._provenance = Provenance(
            orientation, applied, task.options.fidelity, task.options.alpha
        )

    def blank(self, channels: int) -> tuple[Pixels, Pixels]:
        """Return new pixels (h, w, channels) as displayed, and a view of them as stored."""
        width, height = self._layout.width, self._layout.height
        shape = (width, height) if swaps_sides(self._turn) else (height, width)
        displayed = np.empty((*shape, channels), np.uint8)
        return displayed, stored_view(displayed, self._turn)

    def decode(self, data: Iterator[memoryview]) -> Image:
        """Decode a picture of the full size."""
        layout, task = self._layout, self._task
        displayed, stored = self.blank(output_channels(layout))

        def paint(where: tuple[slice, slice], part: Pixels) -> None:
            stored[where] = part

        target = displayed if stored.flags.c_contiguous else None
        converter = Converter(layout, task.options.alpha)
        size = (layout.width, layout.height)
        decode_pixels(Inflater(data, corrupt), layout, size, converter, paint, task.budget, target)
        return self.image(displayed, 0)

    def image(self, displayed: Pixels, frame: int) -> Image:
        height, width, channels = displayed.shape
        pixels = displayed if channels > 1 else displayed[:, :, 0]
        return Image(
            media_type=self._task.header.media_type,
            width=width,
            height=height,
            pixels=pixels,
            provenance=self._provenance,
            frames=self.frames,
            frame=frame,
        )
