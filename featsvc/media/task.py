"""One piece of content on its way to pixels: its header, options, limits and time budget."""

import time
from dataclasses import dataclass

from featsvc.errors import TimedOut
from featsvc.media.header import Header
from featsvc.media.options import DecodeOptions, Limits


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
