"""WebP through libwebp's own interface: straight to RGB, in slices of the file, without the GIL.

Pillow decodes every WebP as an animation, on RGBA canvases: twice the time and four times the
memory for a still picture. The structures are those of webp/decode.h and webp/demux.h; each call
that takes one passes the version of the interface, which libwebp checks.
"""

import ctypes
from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import MediaCorrupt, MediaTooLarge
from featsvc.media.codecs.libraries import open_library
from featsvc.media.task import Budget

RGB, RGBA = 0, 1
"""Colour spaces of the output."""

_DECODER_ABI, _DEMUX_ABI = 0x0200, 0x0100  # libwebp compares the upper byte
_OK, _OUT_OF_MEMORY, _SUSPENDED = 0, 1, 5
# A slice of a megapixel takes 10 to 30 ms.
_SLICE_PIXELS = 1_000_000

_int, _void, _size, _u32 = ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32


class _Features(ctypes.Structure):
    _fields_ = (
        ("width", _int),
        ("height", _int),
        ("has_alpha", _int),
        ("has_animation", _int),
        ("format", _int),
        ("pad", _u32 * 5),
    )


class _RgbaBuffer(ctypes.Structure):
    _fields_ = (("rgba", _void), ("stride", _int), ("size", _size))


class _Planes(ctypes.Union):
    # The other member, four planes, is the larger one: 80 bytes.
    _fields_ = (("rgba", _RgbaBuffer), ("yuva", ctypes.c_uint64 * 10))


class _Output(ctypes.Structure):
    _fields_ = (
        ("colorspace", _int),
        ("width", _int),
        ("height", _int),
        ("is_external_memory", _int),
        ("planes", _Planes),
        ("pad", _u32 * 4),
        ("private_memory", _void),
    )


class _Config(ctypes.Structure):
    """WebPDecoderConfig; the options stay as WebPInitDecoderConfig sets them."""

    _fields_ = (("input", _Features), ("output", _Output), ("options", _u32 * 19))


class _Data(ctypes.Structure):
    _fields_ = (("bytes", _void), ("size", _size))


class _AnimationInfo(ctypes.Structure):
    _fields_ = (
        ("width", _u32),
        ("height", _u32),
        ("loops", _u32),
        ("background", _u32),
        ("frames", _u32),
        ("pad", _u32 * 4),
    )


@cache
def _decoder() -> ctypes.CDLL | None:
    library = open_library("libwebp")
    if library is not None:
        library.WebPInitDecoderConfigInternal.argtypes = (_void, _int)
        library.WebPIDecode.argtypes = (_void, _size, _void)
        library.WebPIDecode.restype = _void
        library.WebPIUpdate.argtypes = (_void, _void, _size)
        library.WebPIDelete.argtypes = (_void,)
        library.WebPIDelete.restype = None
        if not library.WebPInitDecoderConfigInternal(ctypes.byref(_Config()), _DECODER_ABI):
            return None
    return library


@cache
def _demuxer() -> ctypes.CDLL | None:
    library = open_library("libwebpdemux")
    if library is not None:
        library.WebPAnimDecoderNewInternal.argtypes = (_void, _void, _int)
        library.WebPAnimDecoderNewInternal.restype = _void
        library.WebPAnimDecoderGetInfo.argtypes = (_void, _void)
        library.WebPAnimDecoderGetNext.argtypes = (_void, _void, _void)
        library.WebPAnimDecoderDelete.argtypes = (_void,)
        library.WebPAnimDecoderDelete.restype = None
    return library


def is_available() -> bool:
    """Return whether libwebp is a library of its own here, of a version that this module knows."""
    return _decoder() is not None and _demuxer() is not None


def decode_still(
    content: bytes, width: int, height: int, colorspace: int, budget: Budget
) -> NDArray[np.uint8]:
    """Decode a picture that is no animation to (H, W, 3) for RGB or (H, W, 4) for RGBA.

    Raises MediaCorrupt, MediaTooLarge (no memory), TimedOut.
    """
    library = _require(_decoder())
    pixels = np.empty((height, width, 3 + colorspace), np.uint8)
    config = _Config()
    library.WebPInitDecoderConfigInternal(ctypes.byref(config), _DECODER_ABI)
    config.output.colorspace = colorspace
    config.output.is_external_memory = 1
    buffer = config.output.planes.rgba
    buffer.rgba, buffer.stride, buffer.size = pixels.ctypes.data, pixels.strides[0], pixels.nbytes
    decoder = library.WebPIDecode(None, 0, ctypes.byref(config))
    if not decoder:
        raise MediaTooLarge("not enough memory to decode this WebP; send a smaller picture")
    slices = -(-width * height // _SLICE_PIXELS)
    status = _SUSPENDED
    try:
        for index in range(1, slices + 1):
            budget.check()
            status = library.WebPIUpdate(decoder, content, len(content) * index // slices)
            if status != _SUSPENDED:
                break
    finally:
        library.WebPIDelete(decoder)
    _check(status)
    return pixels


def decode_animation(content: bytes, width: int, height: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the canvas (H, W, 4) RGBA of each frame; it is valid until the next one.

    Raises MediaCorrupt.
    """
    library = _require(_demuxer())
    data = _Data(ctypes.cast(ctypes.c_char_p(content), _void), len(content))
    decoder = library.WebPAnimDecoderNewInternal(ctypes.byref(data), None, _DEMUX_ABI)
    if not decoder:
        raise MediaCorrupt("the WebP animation does not decode; send the whole file")
    try:
        info = _AnimationInfo()
        library.WebPAnimDecoderGetInfo(decoder, ctypes.byref(info))
        if (info.width, info.height) != (width, height):
            raise MediaCorrupt("the WebP declares two sizes of its canvas; send the whole file")
        pointer, time_ms = _void(), _int()
        for _ in range(info.frames):
            if not library.WebPAnimDecoderGetNext(
                decoder, ctypes.byref(pointer), ctypes.byref(time_ms)
            ):
                raise MediaCorrupt("a frame of the WebP does not decode; send the whole file")
            canvas = (ctypes.c_uint8 * (width * height * 4)).from_address(pointer.value or 0)
            yield np.ctypeslib.as_array(canvas).reshape(height, width, 4)
    finally:
        library.WebPAnimDecoderDelete(decoder)


def _check(status: int) -> None:
    if status == _OUT_OF_MEMORY:
        raise MediaTooLarge("not enough memory to decode this WebP; send a smaller picture")
    if status != _OK:
        raise MediaCorrupt(
            f"the WebP does not decode (libwebp's status {status}); it is truncated or damaged; "
            "send the whole file"
        )


def _require(library: ctypes.CDLL | None) -> ctypes.CDLL:
    if library is None:
        raise RuntimeError("ask is_available() first")
    return library
