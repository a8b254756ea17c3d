"""TIFF: own directories and conversions, libtiff's codecs.

`directory` reads tags from hostile bytes, `layout` decides what kind of picture they describe and
what decoding takes, `segments` reads strips and tiles, `pixels` makes a page of them. libtiff
sees none of the file's directories: `featsvc.media.codecs.libtiff` shows it one strip at a time.
"""

import math
from collections.abc import Iterator

from featsvc.errors import InvalidInput
from featsvc.media import sniff
from featsvc.media.formats.tiff.directory import read_directories
from featsvc.media.formats.tiff.layout import KINDS, Layout, read_layout
from featsvc.media.header import Header
from featsvc.media.options import Frames, Image
from featsvc.media.task import Task

_LARGE_TILE = 2**24
"""Pixels of a tile that is larger than its page, from which on it counts as the picture."""

__all__ = ["KINDS", "decode", "read_header"]


def read_header(content: bytes, max_frames: int) -> Header:
    """Read page 1, and the sizes of the others up to the first that is damaged.

    Raises MediaCorrupt and UnsupportedMedia for page 1 only: a page that is not asked for spoils
    nothing.
    """
    directories = read_directories(content)
    first = read_layout(next(directories))
    largest, peak, pages = first, first.peak_bytes, 1
    try:
        for directory in directories:
            pages += 1
            if pages > max_frames:
                break
            layout = read_layout(directory)
            largest = max(largest, layout, key=_pixels)
            peak = max(peak, layout.peak_bytes)
    except InvalidInput:
        pass
    return Header(sniff.TIFF, *_extent(largest), pages, peak, first.kind)


def _extent(layout: Layout) -> tuple[int, int]:
    """Return width and height of the page, or of its tiles where these are larger than any need."""
    page = layout.width, layout.height
    tile = layout.segment_width, layout.segment_rows
    hostile = layout.tiled and math.prod(tile) > max(math.prod(page), _LARGE_TILE) > 0
    return tile if hostile else page


def _pixels(layout: Layout) -> int:
    return math.prod(_extent(layout))


def decode(task: Task) -> Iterator[Image]:
    """Yield page after page; damage ends them after the last whole page."""
    # Imported late: it loads kernels, which commands that decode nothing do not need.
    from featsvc.media.formats.tiff.pixels import read_page  # noqa: PLC0415

    for index, directory in enumerate(read_directories(task.content)):
        layout = read_layout(directory)
        task.limits.check_size(*_extent(layout))
        task.limits.check_peak(layout.width, layout.height, layout.peak_bytes)
        pixels = read_page(task, layout, f"page {index + 1}")
        frames = task.header.frames
        yield task.image(pixels, layout.orientation, frame=index, frames=frames)
        if task.options.frames is Frames.FIRST:
            return
