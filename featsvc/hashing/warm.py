"""Warm up decoders and hash kernels before the first request."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image as PillowImage

from featsvc.hashing.content import hash_content
from featsvc.media import DecodeOptions, Limits
from featsvc.signals.algorithms import ALGORITHMS
from featsvc.signals.text import hash_text

_SIDE = 64
_FORMATS: Sequence[tuple[str, Mapping[str, bool]]] = (
    *((name, {}) for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")),
    ("WEBP", {"lossless": True}),  # has a kernel of its own
)


def warm() -> None:
    """Decode and hash one small picture in every format, and a text.

    Loads the library of each decoder and runs each kernel once. Importing this module compiles the
    kernels or loads them from Numba's cache.
    """
    ramp = np.arange(_SIDE * _SIDE * 3, dtype=np.uint32) * 2654435761 >> 24
    picture = PillowImage.fromarray(ramp.astype(np.uint8).reshape(_SIDE, _SIDE, 3))
    names = [name for name, kind in ALGORITHMS.items() if kind.of_files]
    for name, options in _FORMATS:
        content = io.BytesIO()
        picture.save(content, name, **options)
        hash_content(content.getvalue(), names, DecodeOptions(), Limits())
    hash_text("A text to hash once.", [n for n, k in ALGORITHMS.items() if k.of_texts])
