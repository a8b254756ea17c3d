"""One piece of content on its way to pixels: its header, options, limits and time budget."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import TimedOut
from featsvc.media.header import Header
from featsvc.media.options import DecodeOptions, Image, Limits, Provenance, orient


class Budget:
    """Wall time that all frames of one piece of content may take; `max_decode_ms` from now on.

    Whoever decodes looks at it at least every 50 ms, where a decoder allows that.
    """

    __slots__ = ("_end", "_limit_ms")

    def __init__(self, limit_ms: int) -> None:
        self._limit_ms = limit_ms
        self._end = time.monotonic() + limit_ms / 1000

    def check(self, ahead_ms: float = 0) -> None:
        """Raise TimedOut once the budget is spent, or would be `ahead_ms` from now."""
        if time.monotonic() + ahead_ms / 1000 > self._end:
            raise TimedOut(
                f"decoding takes more than {self._limit_ms:,} ms (media.max_decode_ms); send a "
                "simpler picture or raise the limit"
            )


@dataclass(frozen=True, slots=True)
class Task:
    """What a format's `decode` needs. `luma_suffices`: see `featsvc.media.decode`."""

    content: bytes
    header: Header
    options: DecodeOptions
    limits: Limits
    budget: Budget
    luma_suffices: bool = False

    def image(
        self, stored: NDArray[np.uint8], orientation: int = 0, *, frame: int = 0, frames: int = 1
    ) -> Image:
        """Return a frame of stored pixels (H, W) or (H, W, 3), turned as the options say.

        `orientation` is EXIF's, 0 where the file has none.
        """
        options = self.options
        pixels, applied, _ = orient(stored, orientation, options)
        return Image(
            media_type=self.header.media_type,
            width=pixels.shape[1],
            height=pixels.shape[0],
            pixels=pixels,
            provenance=Provenance(orientation, applied, options.fidelity, options.alpha),
            frames=frames,
            frame=frame,
        )
