"""HEIC through libheif, as pillow-heif (the extra `heic`) offers it: on the caller's thread."""

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from featsvc.errors import FeatsvcError, MediaCorrupt, MediaTooLarge, UnsupportedMedia

_CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "RGBa": 4}
_CONVERTED = frozenset({"LA", "RGBa"})
_WIDE_GREY = "I;16"


@cache
def _library() -> Any:
    if importlib.util.find_spec("pillow_heif") is None:
        return None
    library = importlib.import_module("pillow_heif")
    options = library.options
    options.DECODE_THREADS = 0
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    return library


def is_available() -> bool:
    """Return whether the extra `heic` is installed."""
    return _library() is not None


class HeicFile:
    """An open file; `images` are its pictures, the primary one first. Use `open_heic`."""

    def __init__(self, file: Any) -> None:
        self._images = list(file)
        self._images.insert(0, self._images.pop(file.primary_index))

    @property
    def frames(self) -> int:
        return len(self._images)

    def size(self, frame: int) -> tuple[int, int]:
        """Width and height of a frame as it is shown."""
        width, height = self._images[frame].size
        return int(width), int(height)

    def read(self, frame: int) -> NDArray[np.uint8]:
        """Decode a frame as it is shown: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA.

        Samples of more than 8 bits are scaled to 8. Raises what `open_heic` raises.
        """
        with _as_corrupt():
            image = self._images[frame]
            data, (width, height), mode, stride = image.data, image.size, image.mode, image.stride
            # Nothing else needs what it holds.
            self._images[frame] = None
        if mode == _WIDE_GREY:
            wide = np.frombuffer(data, "<u2").reshape(height, stride // 2)[:, :width]
            return (wide >> 8).astype(np.uint8)
        if mode not in _CHANNELS:
            raise UnsupportedMedia(
                f"this HEIC holds {mode} samples, which featsvc does not decode; only byte hashes "
                "apply"
            )
        channels = _CHANNELS[mode]
        rows = np.frombuffer(data, np.uint8).reshape(height, stride)[:, : width * channels]
        if mode in _CONVERTED:
            picture = PillowImage.frombuffer(
                mode, (width, height), rows.tobytes(), "raw", mode, 0, 1
            )
            return np.asarray(picture.convert("RGBA"))
        return rows.reshape(height, width, channels) if channels > 1 else rows


@contextmanager
def open_heic(content: bytes) -> Iterator[HeicFile]:
    """Read the header of a file.

    Raises MediaCorrupt, MediaTooLarge (no memory), UnsupportedMedia.
    """
    with _as_corrupt():
        file = HeicFile(_library().open_heif(content, convert_hdr_to_8bit=True))
    yield file


@contextmanager
def _as_corrupt() -> Iterator[None]:
    try:
        yield
    except FeatsvcError:
        raise
    except MemoryError:
        raise MediaTooLarge(
            "not enough memory to decode this HEIC; send a smaller picture"
        ) from None
    except Exception as exc:
        raise MediaCorrupt(
            f"the HEIC does not decode: {type(exc).__name__}; it is truncated or damaged; send the "
            "whole file"
        ) from None
