"""Pixels for tests: photographs through featsvc's decoder, and deterministic noise."""

import hashlib
import io
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featsvc.media import DecodeOptions, Limits, decode
from tests import photographs

SKIMAGE_DATA = photographs.photograph("camera.png").parent

PHOTOGRAPHS = sorted(
    path.name for path in SKIMAGE_DATA.iterdir() if path.suffix in (".png", ".jpg", ".gif")
)
"""File names in scikit-image's data folder."""


@cache
def photograph(name: str) -> NDArray[np.uint8]:
    """Pixels of a scikit-image file through featsvc's decoder, read-only."""
    content = (SKIMAGE_DATA / name).read_bytes()
    pixels = decode(content, DecodeOptions(), Limits()).pixels
    pixels.flags.writeable = False
    return pixels


def noise(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Random RGB with energy at every scale; the same on every machine."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 192, (9, 9, 3), dtype=np.uint8)
    rows = np.arange(height) * 9 // height
    cols = np.arange(width) * 9 // width
    fine = rng.integers(0, 64, (height, width, 3), dtype=np.uint8)
    return np.asarray(coarse[rows][:, cols] + fine)


def sha256_of(pixels: NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    """The picture as a file of Pillow's."""
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def plain(red: int, green: int, blue: int) -> bytes:
    """A PNG of one colour."""
    return encode(Image.new("RGB", (32, 32), (red, green, blue)), "PNG")


def hamming(a: bytes, b: bytes) -> int:
    return (int.from_bytes(a) ^ int.from_bytes(b)).bit_count()
