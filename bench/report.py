"""Write measured cases for readers, at 80 columns."""

from collections.abc import Iterable, Iterator, Sequence

from bench.compare import Case, Ratio
from bench.size import SMOKE

WIDTH = 80
LEGEND = """\
Times are medians, each of one operation. Sides are measured in turn, in the
same rounds: a ratio is the median of the rounds, in brackets their middle half."""


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9)):
        value = seconds * factor
        if value >= 1 or unit == "ns":
            break
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def factor(value: float) -> str:
    return f"{value:.{2 if value < 2 else 1 if value < 10 else 0}f}"


def versus(name: str, ratio: Ratio, words: tuple[str, str]) -> str:
    """The ratio in words, as seen from our side."""
    if ratio.low <= 1 <= ratio.high and ratio.low < ratio.high:
        return f"about as fast as {name} ({factor(ratio.low)} to {factor(ratio.high)} x)"
    faster = ratio.median >= 1
    low, middle, high = (
        factor(value if faster else 1 / value) for value in (ratio.low, ratio.median, ratio.high)
    )
    between = f" ({low} to {high})" if faster else f" ({high} to {low})"
    return f"{middle} x {words[not faster]} than {name}{between if ratio.low < ratio.high else ''}"


def note(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.5g}"


def lines_of(case: Case) -> Iterator[str]:
    """Our time, then a line for each peer, then the notes."""
    yield _line(case.name, duration(case.median_s(case.ours)))
    for name in case.peers:
        words = versus(name, case.ratio(name), case.words)
        yield _line(f"  {words}", duration(case.median_s(name)))
    for name in case.missing:
        yield f"  {name}: not installed, see below"
    for name, value in case.notes.items():
        yield f"  {name}: {note(value)}"


def _line(text: str, time: str) -> str:
    """The text left and the time right, the text on a line of its own if both are too long."""
    if len(text) + 1 + len(time) > WIDTH:
        return f"{text}\n{time:>{WIDTH}}"
    return text + time.rjust(WIDTH - len(text))


def table(groups: Iterable[tuple[str, Sequence[Case]]]) -> Iterator[str]:
    """All cases under the titles of their benches."""
    missing: set[str] = set()
    for title, cases in groups:
        yield f"\n{title}"
        for case in cases:
            yield from lines_of(case)
            missing |= set(case.missing)
    yield f"\n{LEGEND}"
    if missing:
        yield "`make peers` installs what is missing; it needs a C compiler."
    if SMOKE:
        yield "A smoke run: it shows that benches work, and its figures mean nothing."
