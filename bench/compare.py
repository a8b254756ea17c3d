"""Time featsvc and its peers in turn, with pytest-benchmark.

    def bench_sum(compare: Compare) -> None:
        compare("the sum of a million", lambda: values.sum(), {"python": lambda: sum(values)})

A round calls each side for about as long, in alternating order. The result is the median of the
ratios of the rounds: what else the machine does slows both sides of a round, so that a ratio holds
where a time does not. A peer that is not installed is None, from `peer(...)`.

Each side is a benchmark of pytest-benchmark, whose group is the case and whose name is the side, so
that options, JSON and comparisons of pytest-benchmark work. It measures all rounds of a benchmark
before those of the next, or with `pedantic(setup=...)` leaves the peers out of its results. So
`Compare` calls three private methods and fields of its fixture: `_make_runner` times a round,
`_make_stats` keeps the rounds, and `_mode` says that the fixture was used.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from math import ceil
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from bench.size import SMOKE

Side = Callable[[], object]
Clock = Callable[[range], float]
"""Calls a side once for each number of the range; returns seconds."""
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

    def extra_info(self, side: str) -> dict[str, object]:
        """What JSON says of a side beside its times."""
        if side == self.ours:
            return {"peers": self.peers, "not_installed": self.missing, "notes": self.notes}
        return {"times_as_long_as": {"side": self.ours, **asdict(self.ratio(side))}}


def spread(values: list[float]) -> Ratio:
    """The median and the quartiles."""
    if len(values) == 1:
        return Ratio(*values * 3)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Ratio(statistics.median(values), low, high)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a case is measured that does not state its number of rounds."""

    least_rounds: int = 5
    side_s: float = 1.0
    """Of all rounds, for each side on average."""
    round_s: float = 0.02
    """A side is called in a round as often as takes at least this long."""


class Compare:
    """Measures the cases of one bench; the fixture `compare`."""

    def __init__(self, benchmark: BenchmarkFixture, limits: Limits, cases: list[Case]) -> None:
        self._benchmark, self._limits, self._cases = benchmark, limits, cases

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
        `rounds`: without it, as many as the limits allow; 1 measures the first call.
        `own_clock`: a side returns the seconds that count, and is called once a round.
        """
        self._benchmark._mode = "compare(...)"
        sides = {name: ours}
        sides |= {title: side for title, side in (peers or {}).items() if side is not None}
        clock_of = _own_clock if own_clock else self._clock
        clocks = {title: clock_of(side) for title, side in sides.items()}
        spent_s = {title: [clock(range(1))] for title, clock in clocks.items()}
        calls = dict.fromkeys(sides, 1)
        if rounds != 1 and not SMOKE and self._benchmark.enabled:
            if not own_clock:
                calls = {title: self._calls(clock) for title, clock in clocks.items()}
            turns = {title: partial(clock, range(calls[title])) for title, clock in clocks.items()}
            budget_s = 0 if rounds else self._limits.side_s * len(sides)
            spent_s = in_turn(turns, rounds or self._limits.least_rounds, budget_s)
        iterations = {title: calls[title] * operations for title in sides}
        seconds = {title: [s / iterations[title] for s in spent_s[title]] for title in sides}
        measured = Case(case, seconds, [title for title in peers or {} if title not in sides])
        if self._benchmark.enabled:
            self._keep(measured, iterations)
        return measured

    def _clock(self, side: Side) -> Clock:
        """With the timer, and without the garbage collector, as pytest-benchmark's options say."""
        clock: Clock = self._benchmark._make_runner(side, (), {})
        return clock

    def _calls(self, clock: Clock) -> int:
        """How many calls fill a round, of a side that has been called before."""
        round_s, once_s = self._limits.round_s, clock(range(1))
        if once_s < round_s:
            # One of a few calls is undisturbed, on a busy machine too.
            once_s = min(once_s, *(clock(range(1)) for _ in range(5)))
        return max(1, ceil(round_s / once_s))

    def _keep(self, case: Case, iterations: Mapping[str, int]) -> None:
        """Add the case to our table, and its sides to the results of pytest-benchmark."""
        self._cases.append(case)
        for title, seconds in case.seconds.items():
            side = copy(self._benchmark)
            side.group, side.name = case.name, title
            side.fullname = f"{self._benchmark.fullname}::{case.name}::{title}"
            side.extra_info = case.extra_info(title)
            stats = side._make_stats(iterations[title])
            for per_operation_s in seconds:
                stats.update(per_operation_s * iterations[title])


def in_turn(
    turns: Mapping[str, Callable[[], float]], least_rounds: int, budget_s: float
) -> dict[str, list[float]]:
    """What each turn returns, by round. Every other round runs backwards: none always comes first.

    There are at least `least_rounds`, and more until `budget_s` are over.
    """
    spent_s: dict[str, list[float]] = {title: [] for title in turns}
    order, done, started = list(turns), 0, time.perf_counter()
    while done < least_rounds or time.perf_counter() - started < budget_s:
        order.reverse()
        for title in order:
            spent_s[title].append(turns[title]())
        done += 1
    return spent_s


def _own_clock(side: Side) -> Clock:
    def clock(_: range) -> float:
        seconds = side()
        assert isinstance(seconds, float)
        return seconds

    return clock
