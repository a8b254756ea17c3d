"""JPEG files of every kind, for tests."""

import io
import struct

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from featsvc.media import Kind
from tests.media.twins import Twin

_LEVELS = 6
"""By which quality 100, without subsampling, may change a sample of a photograph."""


def jpeg(picture: Image.Image, **options: object) -> bytes:
    """Write a JPEG through Pillow."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def by_pillow(content: bytes) -> NDArray[np.uint8]:
    """Pillow's pixels (h, w) or (h, w, 3)."""
    picture = Image.open(io.BytesIO(content), formats=["JPEG"])
    return np.asarray(picture if picture.mode == "L" else picture.convert("RGB"))


def segment(marker: int, body: bytes) -> bytes:
    """One segment: its marker, its length, its body."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def scan_data(content: bytes) -> int:
    """Where the entropy-coded data of the first scan begins."""
    at = content.index(b"\xff\xda") + 2
    return at + int.from_bytes(content[at : at + 2], "big")


def with_frame(content: bytes, **fields: int) -> bytes:
    """Return a copy with another `marker`, `bits`, `height`, `width` or `sampling` of its frame.

    `sampling` is the byte of the first component.
    """
    at = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    places = {"marker": (1, 1), "bits": (4, 1), "height": (5, 2), "width": (7, 2)}
    patched = bytearray(content)
    for name, value in fields.items():
        offset, size = {**places, "sampling": (11, 1)}[name]
        patched[at + offset : at + offset + size] = value.to_bytes(size, "big")
    return bytes(patched)


def one_component_a_scan(picture: Image.Image, **options: object) -> bytes:
    """Write a sequential JPEG without subsampling, each component in a scan of its own."""
    planes = [jpeg(plane, **options) for plane in picture.convert("YCbCr").split()]
    first = planes[0]
    frame = first.index(b"\xff\xc0")
    components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    size = first[frame + 4 : frame + 9]
    parts = [first[:frame], segment(0xC0, size + b"\3" + components)]
    parts.append(first[first.index(b"\xff\xc4") : first.index(b"\xff\xda")])
    for number, plane in enumerate(planes, 1):
        parts.append(segment(0xDA, bytes([1, number, 0, 0, 63, 0])))
        parts.append(plane[scan_data(plane) : -2])
    return b"".join([*parts, b"\xff\xd9"])


def write_kind(kind: Kind, pixels: NDArray[np.uint8]) -> Twin:
    """Write RGB pixels as the kind."""
    picture = Image.fromarray(pixels)
    options = {"quality": 100, "subsampling": 0, "progressive": kind.compression == "progressive"}
    if kind.colour == "grey":
        grey = picture.convert("L")
        return Twin(jpeg(grey, **options), np.asarray(grey), _LEVELS)
    if kind.colour == "ycck":
        content = ycck(pixels)
        if options["progressive"]:
            content = as_progressive_ycck(pixels)
        return Twin(content, pixels, _LEVELS)
    if kind.colour == "cmyk":
        picture = picture.convert("CMYK")
    return Twin(jpeg(picture, keep_rgb=kind.colour == "rgb", **options), pixels, _LEVELS)


def ycck(pixels: NDArray[np.uint8], sampling: str = "444", quality: int = 100) -> bytes:
    """Write YCCK with an Adobe marker, as TurboJPEG does: inverted."""
    cmyk = 255 - np.asarray(Image.fromarray(pixels).convert("CMYK"))
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(cmyk), quality, "CMYK", sampling))


def as_progressive_ycck(pixels: NDArray[np.uint8]) -> bytes:
    """Write a progressive CMYK JPEG whose planes are those of YCCK, and say so."""
    inverted = 255 - np.asarray(Image.fromarray(pixels).convert("CMYK"))
    colours = np.asarray(Image.fromarray(255 - inverted[:, :, :3]).convert("YCbCr"))
    planes = np.dstack([255 - colours, 255 - inverted[:, :, 3]])
    content = jpeg(Image.fromarray(planes, "CMYK"), quality=100, subsampling=0, progressive=True)
    at = content.index(b"Adobe") + 11
    return content[:at] + b"\2" + content[at + 1 :]
