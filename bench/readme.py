"""The README's two pictures: the demo's output, and what is found again after each edit.

The demo runs as a user runs it, and its output is drawn unchanged. The robustness picture shows the
hashes of `bench.robustness` at their shipped thresholds; its own report has every method.
"""

import io
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.terminal_theme import MONOKAI

from bench.command import Command, say
from bench.edits import EDITS, FURTHER
from bench.robustness import measure
from bench.robustness_pictures import photographs

HASHES = ("pdq + variants", "pdq", "phash", "dhash", "ahash", "whash")


def draw_demo(path: Path) -> None:
    """Write the terminal of `featsvc demo` as SVG. Raises CalledProcessError if the demo fails."""
    command = [sys.executable, "-m", "featsvc", "demo"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = ["$ featsvc demo", *(line.rstrip() for line in printed.splitlines())]
    console = Console(record=True, width=max(map(len, lines)) + 1, file=io.StringIO())
    for line in lines:
        console.print(line, markup=False, highlight=False)
    svg = console.export_svg(title="featsvc", theme=MONOKAI, unique_id="demo")
    # Rich names fonts on another host, which a picture on a web page must not load.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    path.write_text(svg.replace("Fira Code, monospace", "monospace") + "\n", encoding="utf-8")


def draw_robustness(path: Path) -> None:
    """Write a heat map as PNG: a row for each hash, a column for each edit."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of a back end

    measured = {m.method: m for m in measure(photographs(), HASHES) if m.point == "default"}
    rows = {name: measured[name] for name in HASHES}
    edits = [*EDITS, *FURTHER]
    recall = np.array([[rows[name].recall[edit] for edit in edits] for name in HASHES])
    figure, axes = plt.subplots(figsize=(14, 3.9), layout="constrained")
    axes.imshow(recall, cmap="RdYlGn", vmin=0, vmax=1, aspect="auto")
    for (y, x), share in np.ndenumerate(recall):
        text = f"{share:.1f}".removeprefix("0") if share < 1 else "1"
        colour = "black" if 0.2 < share < 0.93 else "white"
        axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(edits)), edits, rotation=55, ha="right", fontsize=9)
    labels = [f"{name}   {row.overall:.2f}   {row.false_rate:.2%}" for name, row in rows.items()]
    axes.set_yticks(range(len(HASHES)), labels, fontsize=10)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.tick_params(length=0)
    axes.axvline(len(EDITS) - 0.5, color="white", linewidth=3)
    one = rows[HASHES[0]]
    axes.set_title(
        f"Share of {one.photographs} held-out photographs found after an edit, at the shipped "
        f"thresholds\nBeside each name: mean of the edits left of the line, false-match rate among "
        f"{one.queries:,} queries",
        fontsize=11,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    command = Command("readme", __doc__ or "", takes="about 5 minutes")
    default = Path("docs/images")
    about = f"where the pictures go; {default} without it"
    command.parser.add_argument("folder", nargs="?", type=Path, default=default, help=about)
    folder: Path = command.begin(argv).folder
    folder.mkdir(parents=True, exist_ok=True)
    say("running the demo")
    draw_demo(folder / "demo.svg")
    draw_robustness(folder / "robustness.png")
    print(f"written to {folder}/demo.svg and {folder}/robustness.png")


if __name__ == "__main__":
    main()
