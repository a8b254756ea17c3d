"""WebP of every kind, through Pillow's encoder and its other decoder, that of animations."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featsvc.media import Kind
from featsvc.media.formats.webp import LOSSLESS
from featsvc.media.kinds import OPAQUE
from tests.hashing.photographs import encode
from tests.media.twins import Twin


def with_alpha(picture: NDArray[np.uint8]) -> Image.Image:
    """The picture with alpha that rises from left to right."""
    rgba = Image.fromarray(picture).convert("RGBA")
    ramp = np.linspace(0, 255, picture.shape[1]).astype(np.uint8)
    rgba.putalpha(Image.fromarray(np.tile(ramp, (picture.shape[0], 1))))
    return rgba


def on_white(content: bytes) -> NDArray[np.uint8]:
    """What Pillow shows of a file, composited on white."""
    with Image.open(io.BytesIO(content)) as picture:
        rgba = picture.convert("RGBA")
    white = Image.new("RGB", rgba.size, "white")
    white.paste(rgba, mask=rgba.getchannel("A"))
    return np.asarray(white)


def write_kind(kind: Kind, picture: NDArray[np.uint8]) -> Twin:
    image = Image.fromarray(picture) if kind.alpha == OPAQUE else with_alpha(picture)
    lossless = kind.compression == LOSSLESS
    content = encode(image, "WEBP", lossless=lossless, exact=lossless, quality=95)
    return Twin(content, on_white(content))
