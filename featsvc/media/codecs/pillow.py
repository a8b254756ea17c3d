"""Decode through Pillow: GIF, and WebP and AVIF where their libraries are not beside it.

Each with the plugin of the sniffed type alone.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from featsvc.errors import FeatsvcError, MediaCorrupt, MediaTooLarge
from featsvc.media import sniff
from featsvc.media.exif import parse_orientation
from featsvc.media.flatten import flatten
from featsvc.media.options import Alpha, Frames, Image
from featsvc.media.task import Budget, Task

_PLUGINS = {sniff.GIF: "GIF", sniff.WEBP: "WEBP", sniff.AVIF: "AVIF"}

_STRIP_PIXELS = 1_000_000
_WITH_ALPHA = frozenset({"RGBA", "LA", "PA"})

# Limits.check_size runs first and is stricter.
PillowImage.MAX_IMAGE_PIXELS = None
# At DEBUG its plugins log chunk names and tag values, which are content.
logging.getLogger("PIL").setLevel(logging.WARNING)


def _silence_warnings() -> None:
    """Ignore Pillow's warnings about odd files; adds the filter again where a reset removed it.

    `warnings.catch_warnings` is not thread-safe.
    """
    module = r"PIL\."
    ignored = (getattr(f[3], "pattern", f[3]) for f in warnings.filters if f[0] == "ignore")
    if module not in ignored:
        warnings.filterwarnings("ignore", module=module)


@contextmanager
def _as_corrupt(media_type: str) -> Iterator[None]:
    """Raise MediaCorrupt for any exception: on hostile bytes Pillow's plugins raise nearly all."""
    _silence_warnings()
    try:
        yield
    except FeatsvcError:
        raise
    except MemoryError as exc:
        raise MediaTooLarge(
            f"not enough memory to decode this {media_type}; send a smaller picture"
        ) from exc
    except Exception as exc:
        raise MediaCorrupt(
            f"the {media_type} does not decode: {type(exc).__name__}; it is truncated or damaged; "
            "send the whole file"
        ) from exc


class _BudgetedReader(io.BytesIO):
    """A file that looks at the time budget before each read; Pillow reads 64 KiB at a time."""

    def __init__(self, content: bytes, budget: Budget) -> None:
        super().__init__(content)
        self._budget = budget

    def read(self, size: int | None = -1, /) -> bytes:
        self._budget.check()
        return super().read(size)


class _Decoder:
    """Decodes the frames of one file; reads only its header until `read` is called.

    Every method raises MediaCorrupt for damage, and TimedOut once the budget is spent.
    """

    def __init__(self, content: bytes, media_type: str, budget: Budget) -> None:
        self._media_type = media_type
        self._budget = budget
        self._reader = _BudgetedReader(content, budget)
        with _as_corrupt(media_type):
            self._picture = PillowImage.open(self._reader, formats=[_PLUGINS[media_type]])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height that `read` allocates for the current frame."""
        return self._picture.size

    def count_frames(self) -> int:
        """Return the decoder's frame count; slow for GIF, which it scans to the end."""
        with _as_corrupt(self._media_type):
            return int(getattr(self._picture, "n_frames", 1))

    def seek(self, frame: int) -> None:
        """Go forward to a frame, counted from 0."""
        with _as_corrupt(self._media_type):
            self._budget.check()
            if frame:
                self._picture.seek(frame)

    def read(self, alpha: Alpha) -> tuple[NDArray[np.uint8], int]:
        """Decode the frame to stored pixels (H, W) or (H, W, 3), and its EXIF orientation or 0."""
        picture = self._picture
        with _as_corrupt(self._media_type):
            pixels = _to_pixels(picture, alpha, self._budget)
            exif = picture.info.get("exif", b"")
            return pixels, parse_orientation(exif) if isinstance(exif, bytes) else 0


def decode(task: Task, *, count_frames: bool = False) -> Iterator[Image]:
    """Yield the frames of a task; `count_frames` asks the decoder instead of the header.

    Raises MediaCorrupt, MediaTooLarge, TimedOut.
    """
    header, options = task.header, task.options
    decoder = _Decoder(task.content, header.media_type, task.budget)
    frames = decoder.count_frames() if count_frames else header.frames
    count = 1
    if options.frames is Frames.ALL:
        task.limits.check_frames(frames)
        count = frames
    for index in range(count):
        decoder.seek(index)
        task.limits.check_size(*decoder.size)
        pixels, orientation = decoder.read(options.alpha)
        yield task.image(pixels, orientation, frame=index, frames=frames)


def _to_pixels(picture: PillowImage.Image, alpha: Alpha, budget: Budget) -> NDArray[np.uint8]:
    picture.load()
    mode = picture.mode
    has_alpha = mode in _WITH_ALPHA or "transparency" in picture.info
    target = "RGBA" if has_alpha else "L" if mode in ("1", "L") else "RGB"
    width, height = picture.size
    out = np.empty((height, width) if target == "L" else (height, width, 3), np.uint8)
    rows = max(_STRIP_PIXELS // width, 1)
    for top in range(0, height, rows):
        strip = picture.crop((0, top, width, min(top + rows, height)))
        pixels = np.asarray(strip if mode == target else strip.convert(target))
        out[top : top + rows] = flatten(pixels, alpha, budget) if has_alpha else pixels
        budget.check()
    return out
