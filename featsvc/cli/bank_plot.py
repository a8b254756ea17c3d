"""The plot of `featsvc bank evaluate`: distances at the top, rates of each threshold below."""

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from featsvc_client.v1 import banks_pb2, hashing_pb2

from featsvc.cli.words import counted

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator
except ImportError as exc:
    raise click.ClickException(
        "--plot needs matplotlib: pip install 'featsvc[plot]', or use --csv instead"
    ) from exc

# Okabe and Ito: distinct in grey and for colour-blind readers.
_BAD = "#D55E00"
_GOOD = "#0072B2"
_INK = "#333333"
# PDQ and other hashes with as many ones as zeros lie at even distances from one another.
_BIN_STEPS = 2
# The interesting rates are small: the scale is logarithmic down to this one, then linear to 0.
_SMALLEST_RATE = 1e-4

_UNITS = {
    hashing_pb2.Algorithm.DISTANCE_HAMMING: "bits",
    hashing_pb2.Algorithm.DISTANCE_COSINE: "1 - cosine",
    hashing_pb2.Algorithm.DISTANCE_CONTAINMENT: "share of 4-grams that are missing",
    hashing_pb2.Algorithm.DISTANCE_TLSH: "TLSH's own",
}

_Threshold = banks_pb2.EvaluateBankResponse.Threshold


def draw(
    path: Path,
    bank_id: str,
    algorithm: hashing_pb2.Algorithm,
    result: banks_pb2.EvaluateBankResponse,
) -> None:
    """Write a PNG: three charts over one axis of distances."""
    matplotlib.use("Agg")
    figure = Figure(figsize=(9.5, 9), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.09)  # type: ignore[union-attr, call-arg]
    distances, recall, false = figure.subplots(3, 1, sharex=True, height_ratios=(1.2, 1, 1))
    _histograms(distances, result)
    _rate(recall, result.thresholds, "recall", _BAD)
    _titles(recall, "Known bad samples that each threshold finds", "found")
    recall.set_ylim(0, 1.02)
    _rate(false, result.thresholds, "false_match_rate", _GOOD)
    _titles(false, "Known good samples that it matches wrongly", "matched wrongly")
    false.set_yscale("symlog", linthresh=_SMALLEST_RATE)
    false.set_ylim(0, 1)
    unit = _UNITS.get(algorithm.distance, "")
    distances.set_xlabel(f"distance, {unit}", fontsize=9)
    false.set_xlabel(f"threshold, {unit}; shaded: where the true rate lies with 95 % confidence")
    last = max(len(result.positive_histogram), len(result.negative_histogram), 40)
    for axes in (distances, recall, false):
        axes.set_xlim(0, (last + 1) * result.step)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
        axes.grid(axis="y", alpha=0.25, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelbottom=True, labelsize=9)
        _mark_thresholds(axes, result, named=axes is recall)
    title = f"Bank {bank_id}, {algorithm.name}\n"
    figure.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="bold")
    figure.text(0.01, 0.952, _summary(result), ha="left", va="top", fontsize=10, color=_INK)
    figure.savefig(path, dpi=130, format="png")


def _summary(result: banks_pb2.EvaluateBankResponse) -> str:
    lines = []
    for name, threshold in _named_thresholds(result):
        row = next((r for r in result.thresholds if r.threshold >= threshold), None)
        if row is not None:
            lines.append(
                f"{name} {threshold:g}: finds {row.recall:.0%} of the bad samples, matches "
                f"{row.false_match_rate:.2%} of the good ones "
                f"(at most {row.false_match_rate_high:.2%} with 95 % confidence)"
            )
    return "\n".join(lines)


def _named_thresholds(result: banks_pb2.EvaluateBankResponse) -> list[tuple[str, float]]:
    own = result.bank_threshold
    if not result.HasField("suggested_threshold"):
        return [("now", own)]
    if result.suggested_threshold == own:
        return [("now, and suggested:", own)]
    return sorted([("now", own), ("suggested", result.suggested_threshold)], key=lambda p: p[1])


def _mark_thresholds(axes: Axes, result: banks_pb2.EvaluateBankResponse, *, named: bool) -> None:
    for height, (name, threshold) in enumerate(_named_thresholds(result)):
        # Distances to the left of the line match, the threshold itself included.
        x = threshold + result.step / 2
        axes.axvline(x, color=_INK, linestyle=":" if name == "now" else "--", linewidth=1.2)
        if named:
            axes.annotate(
                f"{name} {threshold:g}",
                (x, 0.04 + 0.12 * height),
                xytext=(6, 0),
                textcoords="offset points",
                color=_INK,
                fontsize=9,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
            )


def _titles(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title, loc="left", fontsize=10.5)
    axes.set_ylabel(label, fontsize=9)


def _histograms(axes: Axes, result: banks_pb2.EvaluateBankResponse) -> None:
    """Draw shares of the bad and of the good samples: there are often far more good ones."""
    for histogram, colour, name in (
        (result.positive_histogram, _BAD, "known bad"),
        (result.negative_histogram, _GOOD, "known good"),
    ):
        total = sum(histogram)
        if not total:
            continue
        edges = np.arange(0, len(histogram) + _BIN_STEPS, _BIN_STEPS)
        shares, _ = np.histogram(
            np.arange(len(histogram)), bins=edges, weights=np.asarray(histogram) / total
        )
        label = f"{name}: {counted(total, 'sample')}"
        distances = edges * result.step
        axes.stairs(shares, distances, fill=True, color=colour, alpha=0.55, label=label)
        axes.stairs(shares, distances, color=colour, linewidth=1)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    _titles(axes, "Distance of the samples to their nearest entry", "share of samples")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=9)


def _rate(axes: Axes, rows: Sequence[_Threshold], name: str, colour: str) -> None:
    """Draw a rate over the thresholds, and its confidence interval."""
    thresholds = [row.threshold for row in rows]
    low, rate, high = (
        [float(getattr(row, field)) for row in rows]
        for field in (f"{name}_low", name, f"{name}_high")
    )
    axes.fill_between(thresholds, low, high, step="post", color=colour, alpha=0.18, linewidth=0)
    (line,) = axes.plot(thresholds, rate, color=colour, drawstyle="steps-post", linewidth=1.8)
    # Above the edge of the chart, so that a rate of 0 is visible.
    line.set(clip_on=False, zorder=3)
