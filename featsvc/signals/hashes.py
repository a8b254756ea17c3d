"""The signals of one piece of content and their outcome."""

from dataclasses import dataclass
from enum import Enum

from featsvc.signals.signal import Signal


class ContentOutcome(Enum):
    """The outcome for a piece of content; anything but OK means that the answer is incomplete."""

    OK = "ok"
    LOW_QUALITY = "low_quality"
    """At least one signal is under its quality floor."""
    UNSUPPORTED_MEDIA = "unsupported_media"
    """Not a supported picture format: only byte hashes were computed."""
    NOT_SEARCHED = "not_searched"
    """Nothing was searched, or nothing for something that the caller named."""
    DEGRADED = "degraded"
    """Searched banks hold vectors of a model that is not served; those were not compared."""


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """Facts about the file. `width`, `height`: pixels as displayed; `frames`: 1 if not animated."""

    media_type: str
    width: int
    height: int
    frames: int


@dataclass(frozen=True, slots=True)
class ContentHashes:
    """The signals of one piece of content.

    `signals` are by frame, then in the order of the requested algorithms. `reason` is empty where
    the outcome is OK. `media` is None where the content is not a picture, or where only byte hashes
    were requested and the header cannot be read.
    """

    outcome: ContentOutcome
    reason: str
    media: MediaInfo | None
    signals: tuple[Signal, ...]
    decode_us: int
    hash_us: int
