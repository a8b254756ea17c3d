"""Compare: how far two pieces of content, or two signals, are from each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from featsvc.errors import InvalidInput
from featsvc.media import DecodeOptions, Frames, Limits
from featsvc.requests.content import Content, default_algorithms, hash_any
from featsvc.requests.runtime import Runtime
from featsvc.signals.algorithms import Kind, get_algorithm
from featsvc.signals.distance import distance
from featsvc.signals.hashes import ContentOutcome
from featsvc.signals.signal import Signal


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides by one algorithm.

    `distance` is NaN where a side has no such signal: a file that is no picture is
    `UNSUPPORTED_MEDIA`, a text that is too short `LOW_QUALITY`. `match`: within `threshold`, the
    algorithm's default, and OK.
    """

    algorithm: str
    distance: float
    threshold: float
    match: bool
    outcome: ContentOutcome


def compare_sides(
    a: Content | Signal,
    b: Content | Signal,
    algorithms: Sequence[str],
    options: DecodeOptions,
    limits: Limits,
) -> tuple[Comparison, ...]:
    """Content or a signal on either side, by each of `algorithms`.

    None means those that both sides have: a signal its own, content the default set. Synchronous
    and thread-safe. Raises InvalidInput where a side has not what is asked for, or every frame is
    asked for; UnknownAlgorithm, InvalidSignal, and what `hash_content` raises.
    """
    if options.frames is not Frames.FIRST:
        raise InvalidInput(
            "decode.frames: pictures are compared by their first frame; leave it out",
            field="decode.frames",
        )
    wanted = tuple(dict.fromkeys(algorithms)) or _shared_algorithms(a, b)
    left = _signals(a, "a", wanted, options, limits)
    right = _signals(b, "b", wanted, options, limits)
    return tuple(_compare(name, left.get(name), right.get(name)) for name in wanted)


def _shared_algorithms(a: Content | Signal, b: Content | Signal) -> tuple[str, ...]:
    named = dict.fromkeys(side.algorithm.name for side in (a, b) if isinstance(side, Signal))
    if len(named) > 1:
        raise InvalidInput(
            f"b.signal: {' and '.join(named)} do not compare; hash both with one algorithm",
            field="b.signal",
        )
    if named:
        return tuple(named)
    if isinstance(a, str) is not isinstance(b, str):
        raise InvalidInput(
            "b.content: a text and a file have no hash in common but those of their bytes; name "
            "md5, sha1 or sha256",
            field="b.content",
        )
    return default_algorithms(a if not isinstance(a, Signal) else "")


def _signals(
    side: Content | Signal,
    field: str,
    algorithms: Sequence[str],
    options: DecodeOptions,
    limits: Limits,
) -> dict[str, Signal]:
    if not isinstance(side, Signal):
        hashed = hash_any(side, algorithms, options, limits)
        return {signal.algorithm.name: signal for signal in hashed.signals}
    others = [name for name in algorithms if name != side.algorithm.name]
    if others:
        raise InvalidInput(
            f"{field}.signal: is a {side.algorithm.name} signal and has no {others[0][:64]}; "
            "send the content instead",
            field=f"{field}.signal",
        )
    return {side.algorithm.name: side}


def _compare(name: str, a: Signal | None, b: Signal | None) -> Comparison:
    kind = get_algorithm(name)
    threshold = float(kind.default_threshold)
    if a is None or b is None:
        of_text = kind.kind is Kind.TEXT
        missing = ContentOutcome.LOW_QUALITY if of_text else ContentOutcome.UNSUPPORTED_MEDIA
        return Comparison(name, math.nan, threshold, False, missing)
    apart = distance(a, b)
    if a.low_quality or b.low_quality:
        return Comparison(name, apart, threshold, False, ContentOutcome.LOW_QUALITY)
    return Comparison(name, apart, threshold, apart <= threshold, ContentOutcome.OK)


async def compare(
    runtime: Runtime,
    a: Content | Signal,
    b: Content | Signal,
    algorithms: Sequence[str],
    decode: DecodeOptions,
) -> tuple[Comparison, ...]:
    """The distances of two sides, in one hop; see `compare_sides`."""
    compared, _ = await runtime.pool.run(
        lambda: compare_sides(a, b, algorithms, decode, runtime.limits)
    )
    return compared
