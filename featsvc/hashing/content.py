"""Compute all hashes of a file from one decode, or of a text."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TypeAlias, cast

from featsvc.errors import (
    FeatsvcError,
    InvalidInput,
    MediaCorrupt,
    MediaTooLarge,
    TimedOut,
    UnknownAlgorithm,
    UnsupportedMedia,
)
from featsvc.hashing.perceptual import hash_image
from featsvc.hashing.variants import VariantMaker, make_original
from featsvc.media import (
    DecodeOptions,
    Header,
    Image,
    Limits,
    check_content,
    decode,
    decode_frames,
    probe,
)
from featsvc.signals.algorithms import Algorithm, Kind, get_algorithm
from featsvc.signals.computing import ByteHash, resolve
from featsvc.signals.hashes import ContentHashes, ContentOutcome, MediaInfo
from featsvc.signals.signal import UNSTABLE, Signal
from featsvc.signals.text import hash_text
from featsvc.signals.variants import ORIGINAL

Content: TypeAlias = bytes | str
"""A file, or a text."""

_OUTCOMES: dict[type[FeatsvcError], ContentOutcome] = {
    UnsupportedMedia: ContentOutcome.UNSUPPORTED_MEDIA,
    MediaCorrupt: ContentOutcome.CORRUPT_MEDIA,
    MediaTooLarge: ContentOutcome.TOO_LARGE_MEDIA,
    TimedOut: ContentOutcome.TOO_LARGE_MEDIA,
}
"""What an error of decoding means for an answer that has the byte hashes."""


def hash_any(
    content: Content,
    algorithms: Sequence[str],
    options: DecodeOptions,
    limits: Limits,
    variants: VariantMaker = make_original,
    *,
    parts: bool = False,
    must_decode: bool = False,
) -> ContentHashes:
    """Call `hash_text` or `hash_content`; `parts` applies to texts, the rest to files."""
    if isinstance(content, str):
        return hash_text(content, algorithms, parts=parts)
    return hash_content(content, algorithms, options, limits, variants, must_decode=must_decode)


def hash_content(
    content: bytes,
    algorithms: Sequence[str],
    options: DecodeOptions,
    limits: Limits,
    variants: VariantMaker = make_original,
    *,
    on_image: Callable[[Image], None] | None = None,
    grey_suffices: bool = True,
    must_decode: bool = False,
) -> ContentHashes:
    """Compute each of `algorithms` (names of the table; a repeated one counts once).

    `variants` yields PDQ of the original and its variants (`featsvc.hashing.variants`); the
    outcome depends on the quality of the original alone. `options.frames` says whether every frame
    of an animation is hashed; byte hashes are of the whole content and have frame 0.

    `on_image` is called with every decoded picture, so that others need not decode it again;
    `grey_suffices` allows it grey pixels. Its time counts as hashing.

    Byte hashes do not depend on the pixels: a damaged picture is CORRUPT_MEDIA, one whose decoding
    exceeds a limit TOO_LARGE_MEDIA, and the whole frames before are hashed. With `must_decode`
    either is raised instead: MediaCorrupt, MediaTooLarge, or TimedOut.

    Synchronous and thread-safe; decoding and hashing release the GIL.

    Raises UnknownAlgorithm, InvalidInput (no algorithm, empty content), MediaTooLarge (more than
    `limits.max_content_bytes`).
    """
    check_content(content, limits)
    kinds = _file_algorithms(tuple(algorithms))
    if not kinds and on_image is None:
        raise InvalidInput("algorithms: name at least one", field="algorithms")
    perceptual = [kind for kind in kinds if kind.kind is Kind.PICTURE]
    clock = _Clock()
    media: MediaInfo | None = None
    signals: list[Signal] = []
    outcome, reason = ContentOutcome.OK, ""
    frames = 0
    if perceptual or on_image is not None:
        luma = grey_suffices and all(kind.luma_suffices for kind in perceptual)
        try:
            for image in decode_frames(content, options, limits, luma_suffices=luma):
                clock.decoded()
                media = media or _media_info(image)
                hashed, pixels = _hash_frame(image, content, perceptual, options, limits, variants)
                signals += hashed
                if on_image is not None:
                    on_image(pixels)
                frames += 1
                clock.hashed()
                # Else they would stay in memory while the next frame is decoded.
                del image, pixels
        except tuple(_OUTCOMES) as exc:
            if must_decode and not isinstance(exc, UnsupportedMedia):
                raise
            outcome, reason = _undecoded(exc, frames, media)
    media = media or _probe_media(content, limits)
    clock.decoded()
    signals += _byte_hashes(content, kinds)
    rank = {kind.name: i for i, kind in enumerate(kinds)}
    signals.sort(key=lambda signal: (signal.frame, rank[signal.algorithm.name]))
    clock.hashed()
    if outcome is ContentOutcome.OK:
        outcome, reason = _outcome_of(signals, perceptual, frames)
    return ContentHashes(outcome, reason, media, tuple(signals), clock.decode_us, clock.hash_us)


def _byte_hashes(content: bytes, kinds: Sequence[Algorithm]) -> Iterator[Signal]:
    for kind in kinds:
        if kind.kind is Kind.BYTES:
            digest: ByteHash = resolve(kind.compute)
            yield Signal(kind, digest(content))


def _undecoded(
    error: FeatsvcError, frames: int, media: MediaInfo | None
) -> tuple[ContentOutcome, str]:
    """Return the outcome and reason of content that stopped decoding after `frames` frames."""
    outcome = next(of for kind, of in _OUTCOMES.items() if isinstance(error, kind))
    reason = str(error)
    if media is not None:
        reason = f"only the first {frames} of {media.frames} frames were hashed: {reason}"
    elif outcome is not ContentOutcome.UNSUPPORTED_MEDIA:
        reason = f"{reason}; only byte hashes apply"
    return outcome, reason


@lru_cache(maxsize=64)
def _file_algorithms(names: tuple[str, ...]) -> tuple[Algorithm, ...]:
    """Look up and check the algorithms. Cached: most requests name the same few."""
    kinds = tuple(get_algorithm(name, field="algorithms") for name in dict.fromkeys(names))
    for kind in kinds:
        if kind.of_files:
            continue
        if kind.kind is Kind.TEXT:
            raise InvalidInput(
                f"algorithms: {kind.name} applies to text only; send the text as content.text",
                field="algorithms",
            )
        why = f"featsvc stores {kind.name} but does not compute it; leave it out"
        if kind.kind is Kind.VECTOR:
            why = f"{kind.name} is a vector; call Embed instead of Hash"
        raise UnknownAlgorithm(f"algorithms: {why}", field="algorithms")
    return kinds


class _Clock:
    """Splits wall time into decoding and hashing."""

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


def _probe_media(content: bytes, limits: Limits) -> MediaInfo | None:
    """Return what the header says; None where it cannot be read, or exceeds the limits."""
    try:
        return _media_info(probe(content, limits))
    except FeatsvcError:
        return None


def _media_info(picture: Image | Header) -> MediaInfo:
    return MediaInfo(picture.media_type, picture.width, picture.height, picture.frames)


def _hash_frame(
    image: Image,
    content: bytes,
    perceptual: Sequence[Algorithm],
    options: DecodeOptions,
    limits: Limits,
    variants: VariantMaker,
) -> tuple[tuple[Signal, ...], Image]:
    """Return the signals, and the picture that they are of: the RGB one where they are unstable.

    Their bits hang on the rounding of the pixels, and other tools hash RGB, not the grey plane.
    """
    signals = hash_image(image, perceptual, variants)
    if image.provenance.luma_plane and any(signal.unstable for signal in signals):
        # A JPEG, which has one frame.
        image = decode(content, options, limits)
        signals = hash_image(image, perceptual, variants)
    return signals, image


def _outcome_of(
    signals: Sequence[Signal], perceptual: Sequence[Algorithm], frames: int
) -> tuple[ContentOutcome, str]:
    """Return the outcome of decoded content, and why it is not OK."""
    if reason := _low_quality_reason(signals, perceptual, frames):
        return ContentOutcome.LOW_QUALITY, reason
    if any(signal.unstable and signal.variant == ORIGINAL for signal in signals):
        return ContentOutcome.UNSTABLE, UNSTABLE
    return ContentOutcome.OK, ""


def _low_quality_reason(
    signals: Sequence[Signal], perceptual: Sequence[Algorithm], frames: int
) -> str:
    """Return why a signal of a frame is missing or of low quality; empty where none is."""
    for signal in signals:
        if signal.low_quality and signal.variant == ORIGINAL:
            floor = cast(int, signal.algorithm.quality_floor)
            return (
                f"{signal.algorithm.name} quality {signal.quality} is below the floor of {floor}: "
                "the picture has too little structure and is matched only with match_low_quality"
            )
    computed = {(signal.frame, signal.algorithm.name) for signal in signals}
    for frame in range(frames):
        for kind in perceptual:
            if (frame, kind.name) not in computed:
                return f"the picture is too small for {kind.name}: there is no signal"
    return ""
