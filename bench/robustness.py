"""Recall of edited copies, and false matches.

The photographs are divided into halves. Each half is a bank, together with entries of other
pictures. Queries are the photographs of the half with a fixed set of edits, and thousands of other
pictures, among them parts of photographs of the other half. Thresholds for a false-match rate are
chosen on the first half; all results are of the second. Writes robustness.md, robustness.csv and
robustness.png.

A query is a false match where any wrong entry matches. As in the service, a query (or a variant)
below the quality floor is not matched, which counts as not found.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.command import Command, Step, progress
from bench.edits import EDITS, FURTHER
from bench.robustness_methods import Method, methods
from bench.robustness_pictures import Picture, halves, photographs, strangers
from bench.robustness_report import Measured, write_csv, write_markdown, write_plot
from bench.size import pick

DISTRACTORS = pick(300, smoke=5)
"""Entries of the bank besides the photographs of the half."""
STRANGERS = pick(3000, smoke=12)
"""Queries of pictures that are in no bank."""
FALSE_RATE = 0.001


@dataclass(frozen=True, slots=True)
class Trial:
    """Distances of one method on one half.

    Of each edited photograph to its own entry (edits, photographs), and of each query to the
    nearest wrong entry; and the size of the bank.
    """

    own: NDArray[np.float64]
    wrong: NDArray[np.float64]
    entries: int

    def threshold(self, false_rate: float) -> float:
        """The largest threshold with false matches for at most this share of the queries."""
        allowed = int(false_rate * len(self.wrong))
        return float(np.nextafter(np.sort(self.wrong)[allowed], -np.inf))

    def false_rate(self, threshold: float) -> float:
        return float((self.wrong <= threshold).mean())


def trials(
    chosen: Sequence[Method],
    half: dict[str, Picture],
    other: dict[str, Picture],
    seed: int,
    step: Step,
) -> list[Trial]:
    """One trial per method; each picture is computed once for all methods."""
    pictures = list(half.values())
    sources = list(other.values())
    distractors = strangers(sources[::2], DISTRACTORS, seed, plain=False)
    entries = _by_method(([m.entry(p) for m in chosen] for p in (*pictures, *distractors)), step)
    edits = (EDITS | FURTHER).values()
    edited = _by_method(
        ([m.query(picture) for m in chosen] for edit in edits for picture in map(edit, pictures)),
        step,
    )
    others = strangers(sources[1::2], STRANGERS, seed + 1)
    queries = _by_method(([m.query(p) for m in chosen] for p in others), step)
    results = []
    for number, method in enumerate(chosen):
        distances = method.distances(edited[number], entries[number])
        same = np.arange(len(distances)), np.arange(len(distances)) % len(pictures)
        own = distances[same].reshape(-1, len(pictures))
        distances[same] = np.inf
        distant = method.distances(queries[number], entries[number])
        wrong = np.concatenate([distances.min(axis=1), distant.min(axis=1)])
        results.append(Trial(own, wrong, len(entries[number])))
    return results


def _by_method(rows: Iterable[list[Any]], step: Step) -> list[list[Any]]:
    """The signals of each picture, by method; a step for each picture."""
    made = []
    for row in rows:
        made.append(row)
        step()
    return [list(column) for column in zip(*made, strict=True)]


def measure(pictures: dict[str, Picture], names: Sequence[str] = ()) -> Iterator[Measured]:
    tuning, held_out = halves(pictures)
    chosen = [method for method in methods() if not names or method.name in names]
    of_a_picture = 1 + len(EDITS | FURTHER)
    steps = 2 * (DISTRACTORS + STRANGERS) + of_a_picture * len(pictures)
    with progress("pictures", steps) as step:
        tuned = trials(chosen, tuning, held_out, seed=1, step=step)
        reported = trials(chosen, held_out, tuning, seed=3, step=step)
    for method, before, trial in zip(chosen, tuned, reported, strict=True):
        points = {"default": method.default} if method.default is not None else {}
        points |= {"0.1 %": before.threshold(FALSE_RATE), "zero": before.threshold(0)}
        for point, threshold in points.items():
            recall = (trial.own <= threshold).mean(axis=1)
            yield Measured(
                method=method.name,
                point=point,
                threshold=threshold,
                recall=dict(zip(EDITS | FURTHER, recall.tolist(), strict=True)),
                false_rate=trial.false_rate(threshold),
                nearest_wrong=float(trial.wrong.min()),
                queries=len(trial.wrong),
                photographs=trial.own.shape[1],
                entries=trial.entries,
            )


def expected_matches(radius: int, entries: int) -> float:
    """Expected false matches of a query among random hashes of 256 bits."""
    return entries * sum(comb(256, k) for k in range(radius + 1)) / 2**256


def main(argv: Sequence[str] | None = None) -> None:
    command = Command("robustness", __doc__ or "", takes="about 10 minutes")
    default = Path("build/robustness")
    about = f"where the report goes; {default} without it"
    command.parser.add_argument("folder", nargs="?", type=Path, default=default, help=about)
    command.parser.add_argument(
        "methods", nargs="*", metavar="method", help="all, if none is named"
    )
    arguments = command.begin(argv)
    folder: Path = arguments.folder
    known = [method.name for method in methods()]
    if unknown := set(arguments.methods) - {*known}:
        command.parser.error(f"no such method: {', '.join(unknown)}. There are {', '.join(known)}")
    measured = list(measure(photographs(), arguments.methods))
    folder.mkdir(parents=True, exist_ok=True)
    expected = expected_matches(31, 1_000_000)
    chance = (
        f"Random hashes add nothing: a query expects {expected:.0e} false matches among 1,000,000 "
        f"of them at 31 bits, and with 12 signals a query and 55 an entry {12 * 55 * expected:.0e}."
    )
    write_markdown(measured, chance, folder / "robustness.md")
    write_csv(measured, folder / "robustness.csv")
    write_plot(measured, folder / "robustness.png")
    print((folder / "robustness.md").read_text(encoding="utf-8"))
    print(f"written to {folder}/robustness.{{md,csv,png}}")


if __name__ == "__main__":
    main()
