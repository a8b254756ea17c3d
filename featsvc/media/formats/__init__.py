"""The formats, one a file: each reads its header and decodes its frames.

`KINDS` are the rules of the kinds that it decodes. `read_header(content, max_frames)` parses what
the bytes declare and allocates nothing; it raises MediaCorrupt, UnsupportedMedia (a kind that no
rule has), or struct.error and IndexError where the header is cut short. `decode(task)` yields the
frames; it raises MediaCorrupt, MediaTooLarge, TimedOut and UnsupportedMedia.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from featsvc.media import sniff
from featsvc.media.formats import bmp, gif, isobmff, jpeg, png, tiff, webp
from featsvc.media.header import Header
from featsvc.media.kinds import Rule
from featsvc.media.options import Image
from featsvc.media.task import Task


class Format(NamedTuple):
    kinds: Sequence[Rule]
    read_header: Callable[[bytes, int], Header]
    decode: Callable[[Task], Iterator[Image]]


FORMATS: Mapping[str, Format] = {
    sniff.JPEG: Format(jpeg.KINDS, jpeg.read_header, jpeg.decode),
    sniff.PNG: Format(png.KINDS, png.read_header, png.decode),
    sniff.WEBP: Format(webp.KINDS, webp.read_header, webp.decode),
    sniff.GIF: Format(gif.KINDS, gif.read_header, gif.decode),
    sniff.BMP: Format(bmp.KINDS, bmp.read_header, bmp.decode),
    sniff.TIFF: Format(tiff.KINDS, tiff.read_header, tiff.decode),
    sniff.AVIF: Format(isobmff.KINDS, isobmff.read_avif_header, isobmff.decode),
    sniff.HEIC: Format(isobmff.KINDS, isobmff.read_heic_header, isobmff.decode),
}
