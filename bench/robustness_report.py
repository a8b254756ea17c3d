"""Write the robustness report as Markdown, CSV and a plot."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.edits import EDITS, FURTHER

POINTS = {
    "default": "as shipped",
    "0.1 %": "at 0.1 % false matches",
    "zero": "at zero false matches",
}
BARS = ("crop 5 %", "crop 15 %", "border 4 %", "letterbox", "mirror", "meme caption")
FEATURED = 7
"""Methods that the plot shows with every threshold; other hashes have only the default one."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One method with one threshold.

    Recall per edit, share of queries with a false match, distance of the nearest wrong entry, and
    the number of photographs, entries and queries.
    """

    method: str
    point: str
    threshold: float
    recall: dict[str, float]
    false_rate: float
    nearest_wrong: float
    queries: int
    photographs: int
    entries: int

    @property
    def overall(self) -> float:
        """Mean recall of the standard edits."""
        return float(np.mean([self.recall[edit] for edit in EDITS]))

    @property
    def further(self) -> float:
        return float(np.mean([self.recall[edit] for edit in FURTHER]))


def _number(distance: float) -> str:
    if distance >= 1 or abs(distance) < 0.0005:
        return f"{abs(distance):.0f}"
    return f"{distance:.3f}"


def _threshold(threshold: float) -> str:
    """`none` where the nearest wrong entry has distance 0, so that every threshold matches it."""
    return _number(threshold) if threshold >= 0 else "none"


def write_csv(measured: Sequence[Measured], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("method", "point", "threshold", "measure", "edit", "rate", "count"))
        for m in measured:
            key = m.method, m.point, f"{m.threshold:.4f}"
            for edit, recall in m.recall.items():
                writer.writerow((*key, "recall", edit, f"{recall:.4f}", m.photographs))
            writer.writerow((*key, "recall", "overall", f"{m.overall:.4f}", ""))
            writer.writerow((*key, "false_match_rate", "", f"{m.false_rate:.6f}", m.queries))


def write_markdown(measured: Sequence[Measured], chance: str, path: Path) -> None:
    one = measured[0]
    lines = [
        "# Robustness",
        "",
        f"Share of {one.photographs} held-out photographs found after each edit, in a bank of "
        f"{one.entries} entries; false matches of {one.queries:,} queries (edited photographs and "
        'other pictures), counted where any wrong entry matches. "As shipped" is the default '
        "threshold of each hash; the other thresholds were chosen on the other half of the "
        "photographs. Pictures below the quality floor count as not found. " + chance,
    ]
    for point, title in POINTS.items():
        columns = [m for m in measured if m.point == point]
        lines += ["", f"## {title.capitalize()}", "", *_table(columns)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(columns: Sequence[Measured]) -> list[str]:
    def row(name: str, cells: Sequence[str]) -> str:
        return f"| {name} | " + " | ".join(cells) + " |"

    return [
        row("", [m.method for m in columns]),
        "|---" * (len(columns) + 1) + "|",
        row("threshold", [_threshold(m.threshold) for m in columns]),
        *(row(edit, [f"{m.recall[edit]:.2f}" for m in columns]) for edit in EDITS),
        row("**overall**", [f"**{m.overall:.3f}**" for m in columns]),
        *(row(f"*{edit}*", [f"{m.recall[edit]:.2f}" for m in columns]) for edit in FURTHER),
        row("**overall of these**", [f"**{m.further:.3f}**" for m in columns]),
        row("**false matches**", [f"{100 * m.false_rate:.2f} %" for m in columns]),
        row("nearest wrong entry", [_number(m.nearest_wrong) for m in columns]),
    ]


def write_plot(measured: Sequence[Measured], path: Path) -> None:
    """Draw a heat map: edits down; across, methods as shipped, then with other thresholds."""
    import matplotlib as mpl  # noqa: PLC0415 - of the `dev` extra, and slow to import

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    featured = list(dict.fromkeys(m.method for m in measured))[:FEATURED]
    groups = [
        [m for m in measured if m.point == point and (point == "default" or m.method in featured)]
        for point in POINTS
    ]
    figure, panels = plt.subplots(
        1,
        len(groups),
        figsize=(17, 13),
        layout="constrained",
        sharey=True,
        width_ratios=[len(group) for group in groups],
    )
    names = [*EDITS, "overall", *FURTHER, "overall of these"]
    for axes, group, title in zip(panels, groups, POINTS.values(), strict=True):
        _heat_map(axes, group, title)
        axes.set_yticks(range(len(names)), names)
        for label in axes.get_yticklabels():
            label.set_fontweight("bold" if "overall" in label.get_text() else "normal")
    one = measured[0]
    figure.suptitle(
        f"Share of {one.photographs} held-out photographs found again after an edit; under each "
        f"name its threshold, and false matches among {one.queries:,} queries to "
        f"{one.entries} entries",
        fontsize=13,
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _heat_map(axes: Any, group: Sequence[Measured], title: str) -> None:
    recall = np.array(
        [
            [*(m.recall[e] for e in EDITS), m.overall, *(m.recall[e] for e in FURTHER), m.further]
            for m in group
        ]
    ).T
    axes.imshow(recall, cmap="RdYlGn", vmin=0, vmax=1, aspect="auto")
    for (y, x), value in np.ndenumerate(recall):
        colour = "black" if 0.2 < value < 0.93 else "white"
        text = f"{value:.2f}".removeprefix("0") if value < 1 else "1"
        axes.text(x, y, text, ha="center", va="center", fontsize=9, color=colour)
    labels = [f"{m.method}\n≤ {_threshold(m.threshold)}, {100 * m.false_rate:.2f} %" for m in group]
    axes.set_xticks(range(len(group)), labels, rotation=55, ha="right", fontsize=9)
    axes.axhline(len(EDITS) + 0.5, color="white", linewidth=4)
    axes.set_title(title[0].upper() + title[1:], fontsize=12)
    axes.tick_params(length=0)
