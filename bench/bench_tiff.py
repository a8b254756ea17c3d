"""TIFF to pixels, compared with Pillow.

    make bench ARGS="-k tiff"

One thread.
"""

import io
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.compare import Compare
from bench.size import pick
from featsvc.media import DecodeOptions, Limits, decode
from tests.hashing.photographs import encode, photograph

SIZES = pick([(1600, 1004), (4000, 3000)], smoke=[(160, 120)])
CODECS = {"none": None, "LZW": "tiff_lzw", "deflate": "tiff_adobe_deflate", "JPEG": "jpeg"}


def by_pillow(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        if picture.mode == "I;16":
            return (np.asarray(picture) >> 8).astype(np.uint8)
        return np.asarray(picture)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", CODECS)
def bench_tiff_to_pixels(compare: Compare, name: str, size: tuple[int, int]) -> None:
    picture = Image.fromarray(photograph("coffee.png")).resize(size, Image.Resampling.LANCZOS)
    grey = Image.fromarray(np.asarray(picture)[..., 1].astype(np.uint16) * 257)
    for samples, shown in (("RGB", picture), ("16-bit grey", grey)):
        if name == "JPEG" and shown is grey:
            continue
        content = encode(shown, "TIFF", compression=CODECS[name])
        limits = Limits(max_content_bytes=2**29)
        compare(
            f"TIFF of {samples}, {name}, {size[0] * size[1] / 1e6:.1f} megapixels",
            partial(decode, content, DecodeOptions(), limits),
            {"Pillow": partial(by_pillow, content)},
        )
