"""GIF of every kind: palettes of 1 to 8 bits, with and without a transparent colour."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featsvc.media import Kind
from featsvc.media.kinds import KEYED
from tests.media.twins import Twin


def write_kind(kind: Kind, picture: NDArray[np.uint8]) -> Twin:
    few = Image.fromarray(picture).quantize(2**kind.bits)
    shown = np.asarray(few.convert("RGB")).copy()
    options = {}
    if kind.alpha == KEYED:
        options["transparency"] = 1
        shown[np.asarray(few) == 1] = 255
    content = io.BytesIO()
    few.save(content, "GIF", optimize=False, **options)
    return Twin(content.getvalue(), shown)
