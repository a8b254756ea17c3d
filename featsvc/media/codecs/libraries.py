"""The C libraries that Pillow carries, opened by their own interfaces.

Pillow decodes TIFF through libtiff and WebP through libwebp, but shows neither their warnings nor
their strips. docs/adr/0009-decoders-by-their-own-interfaces.md says why this was chosen.
"""

import ctypes
import re
from functools import cache
from pathlib import Path

from PIL import _imaging, _webp

_EXTENSIONS = (_imaging, _webp)
"""Importing these loads libtiff and libwebp."""
_MAPS = Path("/proc/self/maps")


@cache
def open_library(name: str) -> ctypes.CDLL | None:
    """Return the library that this process has loaded for Pillow, such as "libtiff".

    None where Pillow has it built in, as in some distributions. Functions called through it run
    without the GIL.
    """
    pattern = re.compile(rf" (/\S*/{re.escape(name)}[-.0-9a-f]*\.so[.0-9]*)$", re.MULTILINE)
    found = pattern.search(_MAPS.read_text())
    return ctypes.CDLL(found[1]) if found else None
