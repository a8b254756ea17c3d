"""The formats, one a file: each reads its header and decodes its frames.

`read_header(content, max_frames)` parses what the bytes declare and allocates nothing; it raises
MediaCorrupt, UnsupportedMedia (a kind of the format that is not decoded, by name), or struct.error
and IndexError where the header is cut short. `decode(task)` yields the frames; it raises
MediaCorrupt, MediaTooLarge, TimedOut and UnsupportedMedia.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from featsvc.media import sniff
from featsvc.media.formats import bmp, gif, isobmff, jpeg, png, tiff, webp
from featsvc.media.header import Header
from featsvc.media.options import Image
from featsvc.media.task import Task


class Format(NamedTuple):
    read_header: Callable[[bytes, int], Header]
    decode: Callable[[Task], Iterator[Image]]


FORMATS: Mapping[str, Format] = {
    sniff.JPEG: Format(jpeg.read_header, jpeg.decode),
    sniff.PNG: Format(png.read_header, png.decode),
    sniff.WEBP: Format(webp.read_header, webp.decode),
    sniff.GIF: Format(gif.read_header, gif.decode),
    sniff.BMP: Format(bmp.read_header, bmp.decode),
    sniff.TIFF: Format(tiff.read_header, tiff.decode),
    sniff.AVIF: Format(isobmff.read_avif_header, isobmff.decode),
    sniff.HEIC: Format(isobmff.read_heic_header, isobmff.decode),
}
