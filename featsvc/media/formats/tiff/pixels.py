"""A page of a TIFF as pixels: its segments as levels, its levels as grey or RGB, in small steps."""

import numpy as np
from numpy.typing import NDArray

from featsvc.media import samples
from featsvc.media.formats.tiff import layout as kinds
from featsvc.media.formats.tiff.layout import Layout, Segment, read_colour_map
from featsvc.media.formats.tiff.segments import Segments
from featsvc.media.formats.tiff.ycbcr import YCbCr
from featsvc.media.kinds import OPAQUE
from featsvc.media.task import Task


def read_page(task: Task, layout: Layout, page: str) -> NDArray[np.uint8]:
    """Return the page as stored, (H, W) or (H, W, 3) uint8.

    Raises MediaCorrupt where a strip or tile does not decode whole, TimedOut, MediaTooLarge.
    """
    with Segments(task, layout, page) as segments:
        return _Page(task, layout, segments).read()


class _Page:
    def __init__(self, task: Task, layout: Layout, segments: Segments) -> None:
        self._layout, self._segments = layout, segments
        self._alpha = task.options.alpha
        self._stretch = samples.Stretch()
        self._palette = read_colour_map(layout) if layout.colour == kinds.PALETTE else None
        lab = layout.colour in (kinds.LAB, kinds.ICC_LAB)
        self._lab = samples.Lab() if lab else None
        self._ycbcr = YCbCr(layout) if layout.colour == kinds.YCBCR else None

    def read(self) -> NDArray[np.uint8]:
        layout = self._layout
        shape = (layout.height, layout.width) if layout.grey else (layout.height, layout.width, 3)
        pixels = np.empty(shape, np.uint8)
        if layout.stretched:
            self._see_range()
        for segment in self._segments:
            rows = slice(segment.y, segment.y + segment.rows)
            target = pixels[rows, segment.x : segment.x + segment.columns]
            if layout.direct:
                self._segments.read(segment, 0, target.reshape(-1))
            elif layout.kind.separate_planes:
                self._read_planes(segment, target)
            else:
                self._read_together(segment, target)
            if layout.kind.colour == kinds.INVERTED and layout.kind.alpha == OPAQUE:
                np.subtract(255, target, out=target)
        return pixels

    def _see_range(self) -> None:
        """Find the range of samples that are stretched: a pass of its own, which keeps nothing."""
        layout = self._layout
        for segment in self._segments:
            for plane in range(layout.planes):
                rows = self._segments.read(segment, plane)
                for first, last, at in self._segments.chunks(rows, segment):
                    values = self._values(rows[at : at + last - first], segment)
                    self._stretch.see(values if layout.planes > 1 else values[..., : layout.used])

    def _read_together(self, segment: Segment, target: NDArray[np.uint8]) -> None:
        layout = self._layout
        stored = self._segments.read(segment, 0)
        v = layout.subsampling[1]
        for first, last, at in self._segments.chunks(stored, segment):
            rows = stored[at : at + -(-(last - first) // v)]
            if self._ycbcr is not None:
                rows = self._segments.unreversed(rows)
                self._ycbcr.convert_packed(rows, target[first:last])
                continue
            if layout.plain and layout.samples == layout.used:
                part = target[first:last]
                self._to_levels(rows, segment, part[:, :, None] if layout.grey else part)
                continue
            levels = np.empty((last - first, segment.columns, layout.samples), np.uint8)
            self._to_levels(rows, segment, levels)
            self._to_pixels(levels, target[first:last])

    def _read_planes(self, segment: Segment, target: NDArray[np.uint8]) -> None:
        """Read plane after plane: into the pixels where these are the planes, else beside them."""
        layout = self._layout
        levels = target
        if layout.assembled:
            levels = np.empty((segment.rows, segment.columns, layout.used), np.uint8)
        elif layout.grey:
            levels = target[:, :, None]
        for plane in range(layout.planes):
            stored = self._segments.read(segment, plane)
            for first, last, at in self._segments.chunks(stored, segment):
                part = levels[first:last, :, plane : plane + 1]
                self._to_levels(stored[at : at + last - first], segment, part)
        if layout.assembled:
            for first, last, _ in self._segments.chunks(levels, segment):
                if self._ycbcr is not None:
                    self._ycbcr.convert(levels[first:last], target[first:last])
                else:
                    self._to_pixels(levels[first:last], target[first:last])

    def _values(self, rows: NDArray[np.uint8], segment: Segment) -> NDArray[np.generic]:
        """Return rows of bytes as samples (rows, columns, samples) of their own type."""
        count = 1 if self._layout.kind.separate_planes else self._layout.samples
        rows = self._segments.unreversed(rows)
        wide: NDArray[np.generic] = rows.view(self._layout.dtype)
        return wide[:, : segment.columns * count].reshape(len(rows), segment.columns, count)

    def _to_levels(
        self, rows: NDArray[np.uint8], segment: Segment, levels: NDArray[np.uint8]
    ) -> None:
        """Write rows of bytes as levels (rows, columns, C)."""
        layout = self._layout
        if layout.stretched:
            values = self._values(rows, segment)
            levels[..., : layout.used] = self._stretch.levels(values[..., : layout.used])
            return
        rows = self._segments.unreversed(rows)
        flat = levels.reshape(len(rows), -1) if levels.flags.c_contiguous else None
        if flat is None:
            flat = np.empty((len(rows), segment.columns * levels.shape[2]), np.uint8)
        big = layout.directory.order == ">" if layout.compression == kinds.NONE else _NATIVE_BIG
        scaled = layout.colour != kinds.PALETTE
        samples.to_levels(rows, layout.kind.bits, big, flat, scaled=scaled)
        if not np.may_share_memory(flat, levels):
            levels[:] = flat.reshape(levels.shape)

    def _to_pixels(self, levels: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        """Write levels (rows, columns, C) as the pixels of the target."""
        layout, alpha = self._layout, self._layout.kind.alpha
        if layout.grey:
            target[:] = levels[..., 0]
            return
        if layout.kind.colour == kinds.INVERTED:
            np.subtract(255, levels[..., 0], out=levels[..., 0])
        colours = levels.shape[2] if alpha == OPAQUE else layout.used - 1
        rgb = self._to_rgb(levels, target)
        if alpha == OPAQUE:
            if rgb is not target:
                target[:] = rgb[..., :3]
            return
        if self._palette is not None:
            # Indices are not spread over 0 to 255, but their alpha is.
            levels[..., 1] *= 255 // ((1 << layout.kind.bits) - 1)
        if rgb is target:
            rgb = np.concatenate((target, levels[..., colours, None]), axis=2)
            colours = 3
        samples.flatten(rgb, colours, alpha, self._alpha, target)

    def _to_rgb(self, levels: NDArray[np.uint8], target: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return levels that are grey or RGB; others as RGB, in the target."""
        colour = self._layout.colour
        if self._palette is not None:
            np.take(self._palette, levels[..., 0], axis=0, out=target)
        elif colour == kinds.CMYK:
            samples.cmyk_to_rgb(levels, target)
        elif self._lab is not None:
            lab = np.ascontiguousarray(levels[..., :3])
            if colour == kinds.ICC_LAB:
                # Offset by 128, where CIELab has signed bytes.
                by_row = lab.reshape(len(lab), -1)
                by_row ^= np.tile(np.array([0, 128, 128], np.uint8), lab.shape[1])
            self._lab.convert(lab, target)
        else:
            return levels
        return target


_NATIVE_BIG = np.little_endian is False
