"""Compare: distances between two pieces of content or signals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from featsvc.errors import InvalidInput, shown
from featsvc.hashing.content import Content, hash_any
from featsvc.media import DecodeOptions, Frames, Limits
from featsvc.requests.plan import default_algorithms
from featsvc.requests.runtime import Runtime
from featsvc.signals.algorithms import Kind, get_algorithm
from featsvc.signals.distance import distance
from featsvc.signals.hashes import ContentOutcome
from featsvc.signals.signal import UNSTABLE, Signal


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of comparing two sides by one algorithm.

    `distance` is NaN where a side has no such signal. `outcome` is then the side's: LOW_QUALITY for
    a picture that is too small or a text that is too short, else why it has no pixels; `reason`
    says which side and why. `match` means OK and within `threshold`, the algorithm's default.
    """

    algorithm: str
    distance: float
    threshold: float
    match: bool
    outcome: ContentOutcome
    reason: str = ""


class _Side(NamedTuple):
    """The signals of a side by algorithm; `outcome` and `reason` are those of its content."""

    name: str
    signals: dict[str, Signal]
    outcome: ContentOutcome
    reason: str


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
    left = _describe(a, "a", names, options, limits)
    right = _describe(b, "b", names, options, limits)
    return tuple(_compare(name, left, right) for name in names)


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


def _describe(
    side: Content | Signal,
    field: str,
    algorithms: Sequence[str],
    options: DecodeOptions,
    limits: Limits,
) -> _Side:
    if not isinstance(side, Signal):
        hashed = hash_any(side, algorithms, options, limits)
        signals = {signal.algorithm.name: signal for signal in hashed.signals}
        return _Side(field, signals, hashed.outcome, hashed.reason)
    others = [name for name in algorithms if name != side.algorithm.name]
    if others:
        raise InvalidInput(
            f"{field}.signal: a {side.algorithm.name} signal does not compare by "
            f"{shown(others[0])}; send the content instead",
            field=f"{field}.signal",
        )
    return _Side(field, {side.algorithm.name: side}, ContentOutcome.OK, "")


def _compare(name: str, a: _Side, b: _Side) -> Comparison:
    threshold = float(get_algorithm(name).default_threshold)
    left, right = a.signals.get(name), b.signals.get(name)
    if left is None or right is None:
        return Comparison(name, math.nan, threshold, False, *_explain_missing(name, a, b))
    value = distance(left, right)
    if left.low_quality or right.low_quality:
        side = a if left.low_quality else b
        reason = f"{side.name}: the {name} signal is below its quality floor"
        return Comparison(name, value, threshold, False, ContentOutcome.LOW_QUALITY, reason)
    if left.unstable or right.unstable:
        reason = f"{(a if left.unstable else b).name}: {UNSTABLE}"
        return Comparison(name, value, threshold, False, ContentOutcome.UNSTABLE, reason)
    return Comparison(name, value, threshold, value <= threshold, ContentOutcome.OK)


def _explain_missing(name: str, a: _Side, b: _Side) -> tuple[ContentOutcome, str]:
    """Return the outcome and reason of an algorithm of which a side has no signal."""
    without = [side for side in (a, b) if name not in side.signals]
    for side in without:
        if side.outcome.undecoded:
            return side.outcome, f"{side.name}: {side.reason}"
    text = get_algorithm(name).kind is Kind.TEXT
    what = "text is too short or too uniform" if text else "picture is too small"
    return ContentOutcome.LOW_QUALITY, f"{without[0].name}: the {what} for {name}"


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
