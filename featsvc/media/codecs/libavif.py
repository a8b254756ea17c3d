"""AVIF through libavif's own interface: on the caller's thread, without the GIL, straight to RGB.

Pillow holds the GIL while it decodes a frame, starts a thread for each core, and does not crop.
The structures are the beginnings of those in avif/avif.h, which only grow at their ends.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import _avif  # loads libavif

from featsvc.errors import MediaCorrupt, MediaTooLarge, UnsupportedMedia
from featsvc.media.codecs.libraries import open_library

_NOT_IMPLEMENTED, _OUT_OF_MEMORY = 25, 26
_RGB, _RGBA = 0, 1
_MOST_PIXELS, _LONGEST_SIDE = 2**28, 2**15
"""Defaults of libavif, by which the layout of its structure is recognised."""
_CHECK_SIZE_OF_ALPHA = 4
"""The strict flag that Pillow leaves set; the others refuse old files that are whole."""

_int, _void, _size, _u32 = ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32


class _Timing(ctypes.Structure):
    _fields_ = (("values", ctypes.c_uint64 * 5),)


class _Decoder(ctypes.Structure):
    _fields_ = (
        ("codec", _int),
        ("max_threads", _int),
        ("source", _int),
        ("allow_progressive", _int),
        ("allow_incremental", _int),
        ("ignore_exif", _int),
        ("ignore_xmp", _int),
        ("image_size_limit", _u32),
        ("image_dimension_limit", _u32),
        ("image_count_limit", _u32),
        ("strict_flags", _u32),
        ("image", _void),
        ("image_index", _int),
        ("image_count", _int),
        ("progressive_state", _int),
        ("image_timing", _Timing),
        ("timescale", ctypes.c_uint64),
        ("duration", ctypes.c_double),
        ("duration_in_timescales", ctypes.c_uint64),
        ("repetition_count", _int),
        ("alpha_present", _int),
    )


class _Picture(ctypes.Structure):
    """avifImage."""

    _fields_ = (("width", _u32), ("height", _u32), ("depth", _u32))


class _RgbPicture(ctypes.Structure):
    """avifRGBImage, and room for what later versions append."""

    _fields_ = (
        ("width", _u32),
        ("height", _u32),
        ("depth", _u32),
        ("format", _int),
        ("chroma", _int * 2),
        ("avoid_libyuv", _int),
        ("settings", _int * 4),
        ("pixels", _void),
        ("row_bytes", _u32),
        ("more", _u32 * 32),
    )


@cache
def _library() -> ctypes.CDLL | None:
    library = open_library("libavif") if _avif else None
    if library is None:
        return None
    library.avifDecoderCreate.restype = ctypes.POINTER(_Decoder)
    library.avifResultToString.restype = ctypes.c_char_p
    library.avifDecoderSetIOMemory.argtypes = (_void, _void, _size)
    for name in ("avifDecoderParse", "avifDecoderDestroy"):
        getattr(library, name).argtypes = (_void,)
    library.avifDecoderNthImage.argtypes = (_void, _u32)
    for name in ("avifImageYUVToRGB", "avifRGBImageSetDefaults"):
        getattr(library, name).argtypes = (_void, _void)
    decoder = library.avifDecoderCreate()
    limits = (decoder.contents.image_size_limit, decoder.contents.image_dimension_limit)
    library.avifDecoderDestroy(decoder)
    return library if limits == (_MOST_PIXELS, _LONGEST_SIDE) else None


def is_available() -> bool:
    """Return whether libavif is a library of its own here, with the layout of this module."""
    return _library() is not None


class AvifFile:
    """An open file: the count of its frames, and their pixels. Use `open_avif`."""

    def __init__(self, library: ctypes.CDLL, decoder: "ctypes._Pointer[_Decoder]") -> None:
        self._library = library
        self._decoder = decoder

    @property
    def frames(self) -> int:
        return int(self._decoder.contents.image_count)

    def read(
        self, frame: int, width: int, height: int, *, exact: bool = False
    ) -> NDArray[np.uint8]:
        """Decode a frame to (H, W, 3) RGB, or (H, W, 4) RGBA where the file has alpha.

        Samples of more than 8 bits are scaled to 8. `exact` rounds each colour as libheif does;
        libyuv, which Pillow takes, is up to a level off. Raises what `open_avif` raises.
        """
        library, decoder = self._library, self._decoder
        _check(library, library.avifDecoderNthImage(decoder, frame))
        picture = ctypes.cast(decoder.contents.image, ctypes.POINTER(_Picture)).contents
        if (picture.width, picture.height) != (width, height):
            raise MediaCorrupt(
                f"the AVIF declares {width} x {height} pixels and holds {picture.width} x "
                f"{picture.height}; it is damaged; send the whole file"
            )
        has_alpha = bool(decoder.contents.alpha_present)
        pixels = np.empty((height, width, 3 + has_alpha), np.uint8)
        rgb = _RgbPicture()
        library.avifRGBImageSetDefaults(ctypes.byref(rgb), decoder.contents.image)
        rgb.depth, rgb.format = 8, _RGBA if has_alpha else _RGB
        rgb.avoid_libyuv = exact
        rgb.pixels, rgb.row_bytes = pixels.ctypes.data, pixels.strides[0]
        _check(library, library.avifImageYUVToRGB(decoder.contents.image, ctypes.byref(rgb)))
        return pixels


@contextmanager
def open_avif(content: bytes, most_pixels: int) -> Iterator[AvifFile]:
    """Parse a file whose pictures, tiles and frames have at most `most_pixels` each.

    Raises MediaCorrupt, MediaTooLarge (no memory), UnsupportedMedia.
    """
    library = _require(_library())
    decoder = library.avifDecoderCreate()
    if not decoder:
        raise MediaTooLarge("not enough memory to decode this AVIF; send a smaller picture")
    try:
        settings = decoder.contents
        settings.max_threads = 1
        settings.ignore_exif = settings.ignore_xmp = 1
        settings.image_size_limit = max(1, min(most_pixels, _MOST_PIXELS))
        settings.strict_flags = _CHECK_SIZE_OF_ALPHA
        _check(library, library.avifDecoderSetIOMemory(decoder, content, len(content)))
        _check(library, library.avifDecoderParse(decoder))
        yield AvifFile(library, decoder)
    finally:
        library.avifDecoderDestroy(decoder)


def _check(library: ctypes.CDLL, result: int) -> None:
    if not result:
        return
    text = library.avifResultToString(result).decode()
    if result == _OUT_OF_MEMORY:
        raise MediaTooLarge("not enough memory to decode this AVIF; send a smaller picture")
    if result == _NOT_IMPLEMENTED:
        raise UnsupportedMedia(f"this AVIF is of a kind that libavif does not decode: {text}")
    raise MediaCorrupt(
        f"the AVIF does not decode: {text}; it is truncated or damaged; send the whole file"
    )


def _require(library: ctypes.CDLL | None) -> ctypes.CDLL:
    if library is None:
        raise RuntimeError("ask is_available() first")
    return library
