"""AVIF of every kind through libavif's encoder, HEIC through pillow-heif; boxes to edit in them."""

import ctypes
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featsvc.media import Kind
from featsvc.media.codecs.libraries import open_library
from featsvc.media.kinds import OPAQUE, PREMULTIPLIED
from tests.hashing.photographs import encode
from tests.media.twins import Twin
from tests.media.write_webp import on_white, with_alpha

SAMPLES = Path(__file__).with_name("samples")
_SAMPLINGS = {"4:4:4": 1, "4:2:2": 2, "4:2:0": 3, "": 4}
_RGB, _RGBA = 0, 1
_SPEED_AT, _QUALITY_AT, _ALPHA_QUALITY_AT = 8, 32, 36
_PREMULTIPLIED_AT = 80
_void = ctypes.c_void_p


class _Rgb(ctypes.Structure):
    _fields_ = (
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("depth", ctypes.c_uint32),
        ("format", ctypes.c_int),
        ("settings", ctypes.c_int * 7),
        ("pixels", _void),
        ("row_bytes", ctypes.c_uint32),
        ("more", ctypes.c_uint32 * 32),
    )


class _Data(ctypes.Structure):
    _fields_ = (("data", _void), ("size", ctypes.c_size_t))


def avif(kind: Kind, image: Image.Image) -> bytes:
    """An AVIF of RGB or RGBA pixels."""
    library = open_library("libavif")
    if library is None:
        pytest.skip("libavif is not a library of its own here")
    for name in ("avifImageCreate", "avifEncoderCreate"):
        getattr(library, name).restype = _void
    library.avifImageRGBToYUV.argtypes = (_void, _void)
    library.avifEncoderWrite.argtypes = (_void, _void, _void)
    for name in ("avifImageDestroy", "avifEncoderDestroy", "avifRWDataFree"):
        getattr(library, name).argtypes = (_void,)
    width, height = image.size
    picture = library.avifImageCreate(width, height, kind.bits, _SAMPLINGS[kind.compression])
    encoder = library.avifEncoderCreate()
    out = _Data()
    try:
        if kind.alpha == PREMULTIPLIED:
            ctypes.c_int.from_address(picture + _PREMULTIPLIED_AT).value = 1
        for at, value in ((_SPEED_AT, 10), (_QUALITY_AT, 95), (_ALPHA_QUALITY_AT, 100)):
            ctypes.c_int.from_address(encoder + at).value = value
        samples = np.asarray(image)
        if kind.bits > 8:
            samples = (samples.astype(np.uint32) * ((1 << kind.bits) - 1) // 255).astype(np.uint16)
        rgb = _Rgb()
        library.avifRGBImageSetDefaults(ctypes.byref(rgb), _void(picture))
        rgb.depth, rgb.format = kind.bits, _RGBA if samples.shape[2] == 4 else _RGB
        rgb.pixels, rgb.row_bytes = samples.ctypes.data, samples.strides[0]
        assert library.avifImageRGBToYUV(picture, ctypes.byref(rgb)) == 0
        assert library.avifEncoderWrite(encoder, picture, ctypes.byref(out)) == 0
        return ctypes.string_at(out.data, out.size)
    finally:
        library.avifRWDataFree(ctypes.byref(out))
        library.avifEncoderDestroy(encoder)
        library.avifImageDestroy(picture)


def _picture(kind: Kind, picture: NDArray[np.uint8]) -> Image.Image:
    if kind.colour == "grey":
        picture = np.repeat(np.asarray(Image.fromarray(picture).convert("L"))[..., None], 3, axis=2)
    return Image.fromarray(picture) if kind.alpha == OPAQUE else with_alpha(picture)


def write_avif(kind: Kind, picture: NDArray[np.uint8]) -> Twin:
    """Of more than 8 bits a sample of PICTURE, which the encoder here does not write."""
    if kind.bits == 8:
        content = avif(kind, _picture(kind, picture))
    elif kind.alpha == PREMULTIPLIED:
        pytest.skip("no encoder at hand writes premultiplied alpha of more than 8 bits")
    else:
        sampling = kind.compression.replace(":", "") or "grey"
        name = f"{kind.bits}_{sampling}{'_alpha' * bool(kind.alpha)}.avif"
        content = (SAMPLES / name).read_bytes()
    return Twin(content, on_white(content))


def write_heic(kind: Kind, picture: NDArray[np.uint8]) -> Twin:
    heif = pytest.importorskip("pillow_heif", reason="of the extra `heic`")
    image = _picture(kind, picture)
    if kind.bits > 8 or kind.alpha == PREMULTIPLIED:
        pytest.skip("pillow-heif writes neither more bits nor premultiplied alpha of this picture")
    heif.register_heif_opener()
    chroma = int(kind.compression.replace(":", "") or 420)
    if kind.colour == "grey":
        image = image.convert("LA" if kind.alpha else "L")
    content = encode(image, "HEIF", quality=95, chroma=chroma)
    pixels = on_white(content)
    return Twin(content, pixels[..., 0] if image.mode == "L" else pixels)


def box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def with_properties(content: bytes, *properties: bytes) -> bytes:
    """The AVIF with boxes added to its properties, which its only item has in this order."""
    meta, iprp, ipco, ipma, iloc = (
        content.index(name) - 4 for name in (b"meta", b"iprp", b"ipco", b"ipma", b"iloc")
    )
    (ipco_size,) = struct.unpack_from(">I", content, ipco)
    (ipma_size,) = struct.unpack_from(">I", content, ipma)
    count, at = 0, ipco + 8
    while at < ipco + ipco_size:
        at += struct.unpack_from(">I", content, at)[0]
        count += 1
    more = b"".join(properties)
    indices = bytes(0x80 | count + 1 + i for i in range(len(properties)))
    grown = len(more) + len(indices)
    out = bytearray(content)
    # The box of associations ends in the list of the only item.
    out[ipma + ipma_size : ipma + ipma_size] = indices
    out[ipma + 18] += len(properties)
    out[ipco + ipco_size : ipco + ipco_size] = more
    struct.pack_into(">I", out, ipco, ipco_size + len(more))
    ipma += len(more)
    struct.pack_into(">I", out, ipma, ipma_size + len(indices))
    for at in (meta, iprp):
        struct.pack_into(">I", out, at, struct.unpack_from(">I", out, at)[0] + grown)
    (offset,) = struct.unpack_from(">I", out, iloc + 22)
    struct.pack_into(">I", out, iloc + 22, offset + grown)
    return bytes(out)


def clap(
    width: tuple[int, int], height: tuple[int, int], x: tuple[int, int], y: tuple[int, int]
) -> bytes:
    return box(b"clap", struct.pack(">8i", *width, *height, *x, *y))


def irot(quarters: int) -> bytes:
    return box(b"irot", bytes((quarters,)))


def imir(axis: int) -> bytes:
    return box(b"imir", bytes((axis,)))
