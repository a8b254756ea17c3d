"""Warm up decoders and hash kernels before the first request."""

import io

import numpy as np
from PIL import Image as PillowImage

from featsvc.hashing.content import hash_content
from featsvc.media import DecodeOptions, Limits
from featsvc.signals.algorithms import ALGORITHMS
from featsvc.signals.text import hash_text

_SIDE = 64
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


def warm() -> None:
    """Decode and hash one small picture in every format, and a text.

    Loads the library of each decoder and runs each kernel once. Importing this module compiles the
    kernels or loads them from Numba's cache.
    """
    ramp = np.arange(_SIDE * _SIDE * 3, dtype=np.uint32) * 2654435761 >> 24
    picture = PillowImage.fromarray(ramp.astype(np.uint8).reshape(_SIDE, _SIDE, 3))
    names = [name for name, kind in ALGORITHMS.items() if kind.of_files]
    for name in _FORMATS:
        content = io.BytesIO()
        picture.save(content, name)
        hash_content(content.getvalue(), names, DecodeOptions(), Limits())
    hash_text("A text to hash once.", [n for n, k in ALGORITHMS.items() if k.of_texts])
