"""Files of every kind, and the pixels that each must decode to.

`write_<format>.py` has a writer for each format; `tests/media/test_kinds.py` runs all of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featsvc.media import Kind


class Twin(NamedTuple):
    """A file, and the pixels (H, W, 3) or (H, W) uint8 that it shows; they may differ by `levels`.

    `levels` is 0 for lossless kinds of at least 8 bits.
    """

    content: bytes
    pixels: NDArray[np.uint8]
    levels: int = 0


Writer = Callable[[Kind, NDArray[np.uint8]], Twin]
"""Takes the kind, and RGB pixels (H, W, 3)."""
