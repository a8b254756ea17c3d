"""The signals of one piece of content, and how they are to be read."""

from dataclasses import dataclass
from enum import Enum

from featsvc.signals.signal import Signal


class ContentOutcome(Enum):
    """How signals are to be read; anything but OK means "could not look, or not fully"."""

    OK = "ok"
    LOW_QUALITY = "low_quality"
    """At least one signal is under its quality floor."""
    UNSUPPORTED_MEDIA = "unsupported_media"
    """Not a picture format that is decoded: only byte hashes were computed."""
    DEGRADED = "degraded"
    """Searched banks hold vectors of a model that is not served: those were not looked at."""


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """`width` and `height` in pixels as displayed; `frames` of an animation, else 1."""

    media_type: str
    width: int
    height: int
    frames: int


@dataclass(frozen=True, slots=True)
class ContentHashes:
    """`signals` by frame, then in the order of the algorithms asked for; `reason` where not OK.

    `media` is None where the content is no picture, or where only byte hashes were asked for and
    its header cannot be read.
    """

    outcome: ContentOutcome
    reason: str
    media: MediaInfo | None
    signals: tuple[Signal, ...]
    decode_us: int
    hash_us: int
