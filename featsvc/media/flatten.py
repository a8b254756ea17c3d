"""Composite RGBA pixels on a background, strip by strip."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from featsvc.media.options import Alpha
from featsvc.media.task import Budget

BACKGROUNDS = {Alpha.WHITE: 255, Alpha.BLACK: 0}
_STRIP_PIXELS = 2**17
"""Takes about a millisecond, and 2 MiB."""


def flatten(rgba: NDArray[np.uint8], alpha: Alpha, budget: Budget) -> NDArray[np.uint8]:
    """Return RGB pixels (H, W, 3) of (H, W, 4) as Pillow composites them; memory for these alone.

    Raises TimedOut.
    """
    height, width = rgba.shape[:2]
    rgb = np.empty((height, width, 3), np.uint8)
    rows = max(_STRIP_PIXELS // width, 1)
    for top in range(0, height, rows):
        budget.check()
        strip = rgba[top : top + rows]
        if alpha is Alpha.IGNORE:
            rgb[top : top + rows] = strip[..., :3]
            continue
        picture = PillowImage.fromarray(strip, "RGBA")
        flat = PillowImage.new("RGB", picture.size, (BACKGROUNDS[alpha],) * 3)
        flat.paste(picture, mask=picture.getchannel("A"))
        rgb[top : top + rows] = np.asarray(flat)
    return rgb
