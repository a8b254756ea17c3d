"""Pictures and files to signals: one decode serves every hash. Text: see `text`."""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import cast

from featsvc.errors import InvalidInput, UnknownAlgorithm, UnsupportedMedia
from featsvc.hashing.perceptual import hash_image
from featsvc.hashing.variants import MakeVariants, make_original
from featsvc.media import DecodeOptions, Image, Limits, decode_frames, probe
from featsvc.signals.algorithms import Algorithm, Kind, get_algorithm
from featsvc.signals.computing import ByteHash, resolve
from featsvc.signals.hashes import ContentHashes, ContentOutcome, MediaInfo
from featsvc.signals.signal import Signal
from featsvc.signals.variants import ORIGINAL


def hash_content(
    content: bytes,
    algorithms: Sequence[str],
    options: DecodeOptions,
    limits: Limits,
    variants: MakeVariants = make_original,
    *,
    see: Callable[[Image], None] | None = None,
    grey_suffices: bool = True,
) -> ContentHashes:
    """Compute each of `algorithms` (names of the table; a repeated one counts once).

    `variants` makes PDQ's variants beside the original (`featsvc.hashing.variants`), whose own
    quality is no part of the outcome; `options.frames` says whether every frame of an animation
    is hashed (byte hashes are of the whole content, and stand at frame 0).

    `see` is shown every picture that is decoded, so that others need not decode it again;
    `grey_suffices` says whether grey is enough for it. The time it takes counts as hashing.

    Synchronous and thread-safe; decoding and hashing run without the GIL.

    Raises UnknownAlgorithm, InvalidInput (no algorithm, empty content), MediaTooLarge,
    MediaCorrupt, TimedOut (decoding took longer than the limits allow).
    """
    kinds = _kinds_of_files(tuple(algorithms))
    if not kinds and see is None:
        raise InvalidInput("algorithms: name at least one", field="algorithms")
    perceptual = [kind for kind in kinds if kind.kind is Kind.PICTURE]
    clock = _Clock()
    media: MediaInfo | None = None
    signals: list[Signal] = []
    outcome, reason = ContentOutcome.OK, ""
    if perceptual or see is not None:
        luma = grey_suffices and all(kind.luma_suffices for kind in perceptual)
        try:
            for image in decode_frames(content, options, limits, luma_suffices=luma):
                clock.decoded()
                if media is None:
                    media = MediaInfo(image.media_type, image.width, image.height, image.frames)
                signals += hash_image(image, perceptual, variants)
                if see is not None:
                    see(image)
                clock.hashed()
        except UnsupportedMedia as exc:
            outcome, reason = ContentOutcome.UNSUPPORTED_MEDIA, str(exc)
    else:
        media = _describe(content, limits)
    clock.decoded()
    for kind in kinds:
        if kind.kind is Kind.BYTES:
            digest: ByteHash = resolve(kind.compute)
            signals.append(Signal(kind, digest(content)))
    rank = {kind.name: i for i, kind in enumerate(kinds)}
    signals.sort(key=lambda signal: (signal.frame, rank[signal.algorithm.name]))
    clock.hashed()
    if outcome is ContentOutcome.OK and (reason := _find_fault(signals, perceptual)):
        outcome = ContentOutcome.LOW_QUALITY
    return ContentHashes(outcome, reason, media, tuple(signals), clock.decode_us, clock.hash_us)


@lru_cache(maxsize=64)
def _kinds_of_files(names: tuple[str, ...]) -> tuple[Algorithm, ...]:
    """Most requests name the same few, or none."""
    kinds = tuple(get_algorithm(name, field="algorithms") for name in dict.fromkeys(names))
    for kind in kinds:
        if kind.of_files:
            continue
        if kind.kind is Kind.TEXT:
            raise InvalidInput(
                f"algorithms: {kind.name} is computed of text alone; send the text as content.text",
                field="algorithms",
            )
        why = "is kept in banks but not computed here; leave it out"
        if kind.kind is Kind.VECTOR:
            why = "is a vector; Embed computes it, not Hash"
        raise UnknownAlgorithm(f"algorithms: {kind.name} {why}", field="algorithms")
    return kinds


class _Clock:
    """Wall time since the last mark goes to decoding or to hashing."""

    def __init__(self) -> None:
        self._mark = time.perf_counter_ns()
        self._decode_ns = self._hash_ns = 0

    def decoded(self) -> None:
        now = time.perf_counter_ns()
        self._decode_ns += now - self._mark
        self._mark = now

    def hashed(self) -> None:
        now = time.perf_counter_ns()
        self._hash_ns += now - self._mark
        self._mark = now

    @property
    def decode_us(self) -> int:
        return self._decode_ns // 1000

    @property
    def hash_us(self) -> int:
        return self._hash_ns // 1000


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


def _find_fault(signals: Sequence[Signal], perceptual: Sequence[Algorithm]) -> str:
    """Why the picture could not be looked at fully; empty where it could."""
    for signal in signals:
        if signal.low_quality and signal.variant == ORIGINAL:
            floor = cast(int, signal.algorithm.quality_floor)
            return (
                f"{signal.algorithm.name} quality {signal.quality} is under its floor of {floor}: "
                "too little structure to match on, so it is not matched unless asked for"
            )
    made = {signal.algorithm.name for signal in signals}
    for kind in perceptual:
        if kind.name not in made:
            return f"the picture is too small for {kind.name}: it gives no signal"
    return ""
