"""The plot of `featsvc bank evaluate`: distances above, what each threshold would do below."""

from collections.abc import Sequence
from pathlib import Path

import click

from featsvc.v1 import banks_pb2

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter
except ImportError as exc:
    raise click.ClickException(
        "--plot needs matplotlib: pip install 'featsvc[plot]', or leave it out and take --csv"
    ) from exc

# Told apart in grey and by the colour-blind (Okabe and Ito).
_BAD = "#D55E00"
_GOOD = "#0072B2"
_THRESHOLD = "#333333"


def draw(path: Path, bank_id: str, algorithm: str, result: banks_pb2.EvaluateBankResponse) -> None:
    """Write a PNG."""
    matplotlib.use("Agg")
    figure = Figure(figsize=(9, 7), layout="constrained")
    above, below = figure.subplots(2, 1)
    last = max(len(result.positive_histogram), len(result.negative_histogram), 40)
    _histogram(above, result)
    _rates(below, result)
    for axes in (above, below):
        axes.set_xlim(-1, last)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    if result.HasField("suggested_threshold"):
        threshold = result.suggested_threshold
        for axes in (above, below):
            axes.axvline(threshold + 0.5, color=_THRESHOLD, linestyle="--", linewidth=1.2)
        above.annotate(
            f"suggested: {threshold:g}", (threshold + 0.5, 0.97), xytext=(5, 0),
            xycoords=("data", "axes fraction"), textcoords="offset points", va="top",
            color=_THRESHOLD,
        )  # fmt: skip
    figure.suptitle(f"Bank {bank_id}: {algorithm} distances of samples to their nearest entry")
    figure.savefig(path, dpi=120, format="png")


def _histogram(axes: Axes, result: banks_pb2.EvaluateBankResponse) -> None:
    for histogram, colour, shift, name in (
        (result.positive_histogram, _BAD, -0.2, "known bad"),
        (result.negative_histogram, _GOOD, 0.2, "known good"),
    ):
        places = [distance + shift for distance in range(len(histogram))]
        total = sum(histogram)
        axes.bar(places, histogram, width=0.4, color=colour, label=f"{name} ({total:,})")
    axes.set_ylabel("samples")
    axes.set_xlabel("distance to the nearest entry, bits")
    axes.legend(frameon=False, loc="upper center", ncols=2)


def _rates(axes: Axes, result: banks_pb2.EvaluateBankResponse) -> None:
    rows = result.thresholds
    places = [row.threshold for row in rows]
    for name, colour, text in (
        ("recall", _BAD, "bad content found"),
        ("false_match_rate", _GOOD, "good content matched"),
    ):
        axes.plot(places, _values(rows, name), color=colour, label=text, drawstyle="steps-post")
        axes.fill_between(
            places, _values(rows, f"{name}_low"), _values(rows, f"{name}_high"),
            step="post", color=colour, alpha=0.2, linewidth=0,
        )  # fmt: skip
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel("share of samples, 95 % interval")
    axes.set_xlabel("threshold, bits")
    axes.legend(frameon=False, loc="center right")


def _values(rows: Sequence[banks_pb2.EvaluateBankResponse.Threshold], name: str) -> list[float]:
    return [float(getattr(row, name)) for row in rows]
