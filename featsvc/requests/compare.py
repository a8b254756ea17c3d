"""Compare: distances between two pieces of content or signals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from featsvc.errors import InvalidInput, shown
from featsvc.hashing.content import Content, hash_any
from featsvc.media import DecodeOptions, Frames, Limits
from featsvc.requests.plan import default_algorithms
from featsvc.requests.runtime import Runtime
from featsvc.signals.algorithms import Kind, get_algorithm
from featsvc.signals.distance import distance
from featsvc.signals.hashes import ContentOutcome
from featsvc.signals.signal import Signal


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of comparing two sides by one algorithm.

    `distance` is NaN where a side has no such signal: `outcome` is then UNSUPPORTED_MEDIA for a
    file that is not a picture, LOW_QUALITY for a text that is too short. `match` means OK and
    within `threshold`, the algorithm's default.
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
    """Compare content or a signal with another by each of `algorithms`.

    Without algorithms the sides are compared by the algorithm of a signal, or the default set.
    Synchronous and thread-safe. Raises InvalidInput where a signal is of another algorithm, or
    `options.frames` is ALL; UnknownAlgorithm, InvalidSignal, and what `hash_content` raises.
    """
    if options.frames is not Frames.FIRST:
        raise InvalidInput(
            "decode.frames: Compare uses the first frame only; leave it out",
            field="decode.frames",
        )
    names = tuple(dict.fromkeys(algorithms)) or _shared_algorithms(a, b)
    left = _signals(a, "a", names, options, limits)
    right = _signals(b, "b", names, options, limits)
    return tuple(_compare(name, left.get(name), right.get(name)) for name in names)


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
            "b.content: a text and a file compare only by byte hashes; name md5, sha1 or sha256",
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
            f"{field}.signal: a {side.algorithm.name} signal does not compare by "
            f"{shown(others[0])}; send the content instead",
            field=f"{field}.signal",
        )
    return {side.algorithm.name: side}


def _compare(name: str, a: Signal | None, b: Signal | None) -> Comparison:
    kind = get_algorithm(name)
    threshold = float(kind.default_threshold)
    if a is None or b is None:
        is_text = kind.kind is Kind.TEXT
        outcome = ContentOutcome.LOW_QUALITY if is_text else ContentOutcome.UNSUPPORTED_MEDIA
        return Comparison(name, math.nan, threshold, False, outcome)
    value = distance(a, b)
    if a.low_quality or b.low_quality:
        return Comparison(name, value, threshold, False, ContentOutcome.LOW_QUALITY)
    return Comparison(name, value, threshold, value <= threshold, ContentOutcome.OK)


async def compare(
    runtime: Runtime,
    a: Content | Signal,
    b: Content | Signal,
    algorithms: Sequence[str],
    decode: DecodeOptions,
) -> tuple[Comparison, ...]:
    """Compare two sides in one hop to the pool; see `compare_sides`."""
    comparisons, _ = await runtime.pool.run(
        lambda: compare_sides(a, b, algorithms, decode, runtime.limits)
    )
    return comparisons
