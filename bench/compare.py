"""Time featsvc and its peers in turn.

    def bench_sum(compare: Compare) -> None:
        compare("the sum of a million", lambda: values.sum(), {"python": lambda: sum(values)})

A round calls each side for about as long, in alternating order. The result is the median of the
ratios of the rounds: what else the machine does slows both sides of a round, so that a ratio holds
where a time does not. A peer that is not installed is None, from `peer(...)`.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from bench.size import SMOKE

ROUND_S = 0.02
"""A side is called in a round as often as takes at least this long."""
BUDGET_S = 3.0
LEAST_ROUNDS, MOST_ROUNDS = 5, 51

Side = Callable[[], object]
Note = float | str


def peer(module: str) -> Any:
    """The module of a peer, or None if its package is not installed."""
    return import_module(module) if find_spec(module.partition(".")[0]) else None


@dataclass(frozen=True, slots=True)
class Ratio:
    """How often as long a peer takes: the median of the rounds, and their middle half."""

    median: float
    low: float
    high: float


@dataclass(slots=True)
class Case:
    """Seconds per operation of each side, by round; the first side is ours."""

    name: str
    seconds: dict[str, list[float]]
    missing: list[str] = field(default_factory=list)
    notes: dict[str, Note] = field(default_factory=dict)
    words: tuple[str, str] = ("faster", "slower")

    @property
    def ours(self) -> str:
        return next(iter(self.seconds))

    @property
    def peers(self) -> list[str]:
        return list(self.seconds)[1:]

    def median_s(self, side: str) -> float:
        return statistics.median(self.seconds[side])

    def ratio(self, name: str) -> Ratio:
        """The time of a peer over ours."""
        pairs = zip(self.seconds[name], self.seconds[self.ours], strict=True)
        return spread([theirs / mine for theirs, mine in pairs])


def spread(values: list[float]) -> Ratio:
    """The median and the quartiles."""
    if len(values) == 1:
        return Ratio(*values * 3)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Ratio(statistics.median(values), low, high)


class Compare:
    """Measures the cases of one bench; the fixture `compare`."""

    def __init__(self) -> None:
        self.cases: list[Case] = []

    def __call__(
        self,
        case: str,
        ours: Side,
        peers: Mapping[str, Side | None] | None = None,
        *,
        operations: int = 1,
        rounds: int | None = None,
        own_clock: bool = False,
        name: str = "featsvc",
    ) -> Case:
        """Measure `ours` and `peers`, and keep the case for the table at the end.

        `operations`: how many a call does; times are per operation.
        `rounds`: without it, as many as the budget allows; 1 measures the first call.
        `own_clock`: a side returns the seconds that count, and is called once a round.
        """
        sides = {name: ours}
        sides |= {title: side for title, side in (peers or {}).items() if side is not None}
        missing = [title for title in peers or {} if title not in sides]
        clock = _own_clock if own_clock else _timed
        seconds = {title: [clock(side, 1) / operations] for title, side in sides.items()}
        if rounds != 1 and not SMOKE:
            calls = {title: 1 if own_clock else _calls(side) for title, side in sides.items()}
            seconds = _in_turn(sides, calls, clock, rounds, operations)
        self.cases.append(Case(case, seconds, missing))
        return self.cases[-1]

    def facts(self, case: str, notes: dict[str, Note]) -> None:
        """Keep figures that are no times, such as memory."""
        self.cases.append(Case(case, {}, notes=notes))


def _calls(side: Side) -> int:
    """How many calls fill a round, of a side that has been called before."""
    once_s = _timed(side, 1)
    if once_s < ROUND_S:
        # One of a few calls is undisturbed, on a busy machine too.
        once_s = min(once_s, *(_timed(side, 1) for _ in range(5)))
    return max(1, math.ceil(ROUND_S / once_s))


def _in_turn(
    sides: Mapping[str, Side],
    calls: Mapping[str, int],
    clock: Callable[[Side, int], float],
    rounds: int | None,
    operations: int,
) -> dict[str, list[float]]:
    """Seconds per operation. Every other round runs backwards: no side always comes first."""
    seconds: dict[str, list[float]] = {title: [] for title in sides}
    order, done, started = list(sides), 0, time.perf_counter()
    while done < (rounds or LEAST_ROUNDS) or (
        rounds is None and done < MOST_ROUNDS and time.perf_counter() - started < BUDGET_S
    ):
        order.reverse()
        for title in order:
            spent_s = clock(sides[title], calls[title])
            seconds[title].append(spent_s / calls[title] / operations)
        done += 1
    return seconds


def _timed(side: Side, calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        side()
    return time.perf_counter() - started


def _own_clock(side: Side, _: int) -> float:
    seconds = side()
    assert isinstance(seconds, float)
    return seconds
