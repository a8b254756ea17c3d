"""The signals of one piece of content and their outcome."""

from dataclasses import dataclass
from enum import Enum

from featsvc.signals.signal import Signal


class ContentOutcome(Enum):
    """The outcome for a piece of content; anything but OK means that the answer is incomplete."""

    OK = "ok"
    LOW_QUALITY = "low_quality"
    """At least one signal is under its quality floor."""
    UNSTABLE = "unstable"
    """A signal finds only exact copies of the picture. See `Signal.unstable`."""
    UNSUPPORTED_MEDIA = "unsupported_media"
    """Not a supported picture format: only byte hashes were computed."""
    CORRUPT_MEDIA = "corrupt_media"
    """A damaged picture: only byte hashes and whole frames before the damage were hashed."""
    TOO_LARGE_MEDIA = "too_large_media"
    """A picture whose decoding exceeds a limit; otherwise as CORRUPT_MEDIA."""
    NOT_SEARCHED = "not_searched"
    """Nothing was searched, or nothing for something that the caller named."""
    DEGRADED = "degraded"
    """Searched banks hold vectors of a model that is not served; those were not compared."""

    @property
    def undecoded(self) -> bool:
        """Whether the content, or a frame of it, did not become pixels."""
        return self in _UNDECODED


_UNDECODED = frozenset(
    {
        ContentOutcome.UNSUPPORTED_MEDIA,
        ContentOutcome.CORRUPT_MEDIA,
        ContentOutcome.TOO_LARGE_MEDIA,
    }
)


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
    the outcome is OK. `media` is None where the content is not a picture, or where its header
    cannot be read or exceeds the limits.
    """

    outcome: ContentOutcome
    reason: str
    media: MediaInfo | None
    signals: tuple[Signal, ...]
    decode_us: int
    hash_us: int
