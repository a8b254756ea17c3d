"""Composite RGBA pixels on a background, as Pillow rounds."""

import numpy as np
from numpy.typing import NDArray

from featsvc.media.options import Alpha
from featsvc.media.task import Budget

BACKGROUNDS = {Alpha.WHITE: 255, Alpha.BLACK: 0, Alpha.IGNORE: -1}
"""Levels as `featsvc_kernels.samples` takes them: -1 keeps the colours as they are stored."""
_STRIP_PIXELS = 2**20


def flatten(rgba: NDArray[np.uint8], alpha: Alpha, budget: Budget) -> NDArray[np.uint8]:
    """Return RGB pixels (H, W, 3) of (H, W, 4), in strips. Raises TimedOut."""
    height, width = rgba.shape[:2]
    rgb = np.empty((height, width, 3), np.uint8)
    rows = max(_STRIP_PIXELS // width, 1)
    for top in range(0, height, rows):
        budget.check()
        strip = np.ascontiguousarray(rgba[top : top + rows])
        part = rgb[top : top + rows]
        flatten_rows(strip.reshape(len(strip), -1), alpha, part.reshape(len(part), -1))
    return rgb


def flatten_rows(rgba: NDArray[np.uint8], alpha: Alpha, rgb: NDArray[np.uint8]) -> None:
    """Write rows of RGBA (H, W * 4) to rows of RGB (H, W * 3)."""
    # Imported late: commands that decode nothing need no kernels.
    from featsvc_kernels import samples  # noqa: PLC0415

    samples.flatten(rgba, BACKGROUNDS[alpha], rgb)
