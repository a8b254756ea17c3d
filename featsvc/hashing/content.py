"""Content to signals: one decode serves every hash."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import cast

from featsvc.errors import InvalidInput, UnsupportedMedia
from featsvc.hashing.pdq import hash_pdq
from featsvc.hashing.registry import Algorithm, get_algorithm
from featsvc.hashing.signals import Provenance, Signal
from featsvc.media import DecodeOptions, Image, Limits, decode, probe


class ContentOutcome(Enum):
    """How signals are to be read; anything but OK means "could not look, or not fully"."""

    OK = "ok"
    LOW_QUALITY = "low_quality"
    """At least one signal is under its quality floor."""
    UNSUPPORTED_MEDIA = "unsupported_media"
    """Not a picture format that is decoded: only byte hashes were computed."""


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """`width` and `height` in pixels as displayed; `frames` of an animation, else 1."""

    media_type: str
    width: int
    height: int
    frames: int


@dataclass(frozen=True, slots=True)
class ContentHashes:
    """`signals` in the order of the algorithms asked for; `reason` says why where not OK.

    `media` is None where the content is no picture, or where only byte hashes were asked for and
    its header cannot be read.
    """

    outcome: ContentOutcome
    reason: str
    media: MediaInfo | None
    signals: tuple[Signal, ...]
    decode_us: int
    hash_us: int


_BYTE_HASHES: dict[str, Callable[[bytes], bytes]] = {
    # Exchanged lists are MD5 and SHA-1; nothing here relies on their strength.
    "md5": lambda content: hashlib.md5(content, usedforsecurity=False).digest(),
    "sha1": lambda content: hashlib.sha1(content, usedforsecurity=False).digest(),
    "sha256": lambda content: hashlib.sha256(content).digest(),
}


def hash_content(
    content: bytes, algorithms: Sequence[str], options: DecodeOptions, limits: Limits
) -> ContentHashes:
    """Compute each of `algorithms` (registry names; a repeated one counts once).

    Synchronous and thread-safe; decoding and hashing run without the GIL.

    Raises UnknownAlgorithm, InvalidInput (no algorithm, empty content), MediaTooLarge,
    MediaCorrupt.
    """
    kinds = tuple(get_algorithm(name, field="algorithms") for name in dict.fromkeys(algorithms))
    if not kinds:
        raise InvalidInput("algorithms: name at least one", field="algorithms")
    perceptual = tuple(kind for kind in kinds if kind.perceptual)
    reason = ""
    outcome = ContentOutcome.OK
    image: Image | None = None
    media: MediaInfo | None = None
    started = time.perf_counter_ns()
    if perceptual:
        try:
            image = decode(content, options, limits, luma_suffices=_luma_suffices(perceptual))
            media = MediaInfo(image.media_type, image.width, image.height, image.frames)
        except UnsupportedMedia as exc:
            outcome, reason = ContentOutcome.UNSUPPORTED_MEDIA, str(exc)
    else:
        media = _describe(content, limits)
    decoded = time.perf_counter_ns()
    by_name = {
        kind.name: Signal(kind.name, _BYTE_HASHES[kind.name](content))
        for kind in kinds
        if not kind.perceptual
    }
    if image is not None:
        by_name |= {signal.algorithm: signal for signal in hash_image(image, perceptual)}
    signals = tuple(by_name[kind.name] for kind in kinds if kind.name in by_name)
    hashed = time.perf_counter_ns()
    if low := [signal for signal in signals if signal.low_quality]:
        outcome, reason = ContentOutcome.LOW_QUALITY, _explain_low_quality(low[0])
    return ContentHashes(
        outcome, reason, media, signals, (decoded - started) // 1000, (hashed - decoded) // 1000
    )


def hash_image(image: Image, algorithms: Sequence[Algorithm]) -> tuple[Signal, ...]:
    """Perceptual signals of one decoded image, in the order of `algorithms`."""
    provenance = Provenance.of(image)
    signals = []
    for kind in algorithms:
        result = hash_pdq(image.pixels)
        signals.append(
            Signal(
                kind.name, result.value, result.quality, frame=image.frame, provenance=provenance
            )
        )
    return tuple(signals)


def _luma_suffices(algorithms: Sequence[Algorithm]) -> bool:
    return all(kind.name == "pdq" for kind in algorithms)


def _describe(content: bytes, limits: Limits) -> MediaInfo | None:
    """What the header says, for requests that need no pixels; damage is no error there."""
    try:
        header = probe(content, limits)
    except InvalidInput:
        limits.check_bytes(len(content))
        if not content:
            raise
        return None
    return MediaInfo(header.media_type, header.width, header.height, header.frames)


def _explain_low_quality(signal: Signal) -> str:
    floor = cast(int, get_algorithm(signal.algorithm).quality_floor)
    return (
        f"{signal.algorithm} quality {signal.quality} is under its floor of {floor}: "
        "too little structure to match on, so it is not matched unless asked for"
    )
