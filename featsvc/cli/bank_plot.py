"""The plot of `featsvc bank evaluate`: distances above, what each threshold would do below."""

from collections.abc import Sequence
from pathlib import Path

import click

from featsvc.v1 import banks_pb2

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter
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
    figure = Figure(figsize=(9, 9), layout="constrained")
    rows = figure.subplots(3, 1, sharex=True)
    step = result.step
    last = max(len(result.positive_histogram), len(result.negative_histogram), 40) * step
    unit = "bits" if step == 1 else "1 - cosine"
    _histograms(rows[0], result)
    _rate(rows[1], result, "recall", _BAD)
    rows[1].set_ylabel("bad content found")
    rows[1].set_ylim(-0.02, 1.02)
    _rate(rows[2], result, "false_match_rate", _GOOD)
    rows[2].set_ylabel("good content matched")
    # Rates that matter are small; below one in ten thousand the scale is linear, down to 0.
    rows[2].set_yscale("symlog", linthresh=1e-4)
    rows[2].set_ylim(0, 1)
    rows[0].set_xlabel(f"distance to the nearest entry, {unit}")
    rows[2].set_xlabel(f"threshold, {unit} (shaded: 95 % confidence)")
    for axes in rows:
        axes.set_xlim(-step, last)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelbottom=True)
        if result.HasField("suggested_threshold"):
            suggested = result.suggested_threshold
            axes.axvline(suggested + step / 2, color=_THRESHOLD, linestyle="--", linewidth=1.2)
    if result.HasField("suggested_threshold"):
        rows[1].annotate(
            f"suggested: {result.suggested_threshold:g}",
            (result.suggested_threshold + step / 2, 0.08),
            xytext=(6, 0), textcoords="offset points", color=_THRESHOLD,
        )  # fmt: skip
    figure.suptitle(f"Bank {bank_id}: {algorithm}, samples against their nearest entry")
    figure.savefig(path, dpi=120, format="png")


def _histograms(axes: Axes, result: banks_pb2.EvaluateBankResponse) -> None:
    """Each as a share of its own samples: there are often far more good ones than bad."""
    for histogram, colour, shift, name in (
        (result.positive_histogram, _BAD, -0.2, "known bad"),
        (result.negative_histogram, _GOOD, 0.2, "known good"),
    ):
        total = sum(histogram)
        places = [(distance + shift) * result.step for distance in range(len(histogram))]
        shares = [number / total for number in histogram]
        axes.bar(
            places,
            shares,
            width=0.4 * result.step,
            color=colour,
            label=f"{name}: {total:,} samples",
        )
    axes.set_ylabel("share of samples")
    # Above the axes: nothing drawn is hidden.
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)


def _rate(axes: Axes, result: banks_pb2.EvaluateBankResponse, name: str, colour: str) -> None:
    rows = result.thresholds
    places = [row.threshold for row in rows]
    axes.plot(places, _values(rows, name), color=colour, drawstyle="steps-post")
    axes.fill_between(
        places, _values(rows, f"{name}_low"), _values(rows, f"{name}_high"),
        step="post", color=colour, alpha=0.2, linewidth=0,
    )  # fmt: skip


def _values(rows: Sequence[banks_pb2.EvaluateBankResponse.Threshold], name: str) -> list[float]:
    return [float(getattr(row, name)) for row in rows]
