"""How well each perceptual hash survives edits: python -m bench.robustness [FOLDER]

Hashes scikit-image's photographs under a stated set of edits and writes robustness.md,
robustness.csv and robustness.png: per algorithm, recall at its default threshold for each edit,
and the rate of false matches over all pairs of an edited photograph and another one.
"""

import csv
import io
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from featsvc.hashing.compare import distance
from featsvc.hashing.perceptual import hash_image
from featsvc.hashing.registry import ALGORITHMS
from featsvc.hashing.signals import Signal
from featsvc.media import DecodeOptions, Limits, decode
from tests.hashing.photographs import SKIMAGE_DATA, encode

PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png",
    "coffee.png", "coins.png", "color.png", "grass.png", "gravel.png", "hubble_deep_field.jpg",
    "ihc.png", "microaneurysms.png", "moon.png", "motorcycle_left.png", "page.png", "retina.jpg",
    "rocket.jpg", "text.png",
)  # fmt: skip
"""All of scikit-image's but drawings, and but the second picture of the stereo pair."""

PERCEPTUAL = tuple(a for a in ALGORITHMS.values() if a.perceptual)
DIHEDRAL = "pdq, 8 turns"
"""PDQ with all eight turned variants of the query."""

Edit = Callable[[Image.Image], Image.Image]


def _jpeg(quality: int) -> Edit:
    return lambda p: Image.open(io.BytesIO(encode(p, "JPEG", quality=quality))).convert("RGB")


def _resize(share: float) -> Edit:
    return lambda p: p.resize(
        (max(1, round(p.width * share)), max(1, round(p.height * share))), Image.Resampling.BICUBIC
    )


def _crop(share: float) -> Edit:
    """`share` of each side's length off, all around, half at each end."""
    return lambda p: p.crop(
        (
            round(p.width * share / 2),
            round(p.height * share / 2),
            round(p.width * (1 - share / 2)),
            round(p.height * (1 - share / 2)),
        )
    )


def _rotate(degrees: float) -> Edit:
    return lambda p: p.rotate(degrees, Image.Resampling.BICUBIC, fillcolor="black")


def _noise(p: Image.Image) -> Image.Image:
    pixels = np.asarray(p).astype(float)
    grains = np.random.default_rng(0).normal(0, 12, pixels.shape)
    return Image.fromarray((pixels + grains).clip(0, 255).astype(np.uint8))


def _text(p: Image.Image) -> Image.Image:
    """A line of white capitals with a dark edge, a tenth of the height, near the bottom."""
    out = p.copy()
    ImageDraw.Draw(out).text(
        (p.width // 2, round(p.height * 0.86)), "SHARE THIS NOW", fill="white", anchor="mm",
        font_size=max(8, p.height // 10), stroke_width=2, stroke_fill="black",
    )  # fmt: skip
    return out


def _letterbox(p: Image.Image) -> Image.Image:
    bar = round(p.height * 0.12)
    return ImageOps.expand(p, (0, bar), fill="black")


def _screenshot(p: Image.Image) -> Image.Image:
    """A phone's status bar above, a row of buttons below, white margins."""
    bar = round(p.height * 0.08)
    out = ImageOps.expand(p, (round(p.width * 0.03), bar, round(p.width * 0.03), 2 * bar), "white")
    draw = ImageDraw.Draw(out)
    draw.rectangle((0, 0, out.width, bar // 2), fill=(30, 30, 34))
    for i in range(4):
        x = out.width * (2 * i + 1) // 8
        draw.ellipse(
            (x - bar // 3, out.height - bar, x + bar // 3, out.height - bar // 3), fill="grey"
        )
    return out


EDITS: dict[str, Edit] = {
    "JPEG q90": _jpeg(90),
    "JPEG q50": _jpeg(50),
    "JPEG q30": _jpeg(30),
    "resize 75 %": _resize(0.75),
    "resize 50 %": _resize(0.5),
    "resize 25 %": _resize(0.25),
    "brightness +30 %": lambda p: ImageEnhance.Brightness(p).enhance(1.3),
    "contrast +50 %": lambda p: ImageEnhance.Contrast(p).enhance(1.5),
    "saturation +80 %": lambda p: ImageEnhance.Color(p).enhance(1.8),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "blur 2 px": lambda p: p.filter(ImageFilter.GaussianBlur(2)),
    "sharpen": lambda p: ImageEnhance.Sharpness(p).enhance(3),
    "noise s=12": _noise,
    "text": _text,
    "crop 2 %": _crop(0.02),
    "crop 5 %": _crop(0.05),
    "crop 15 %": _crop(0.15),
    "border 4 %": lambda p: ImageOps.expand(p, round(min(p.size) * 0.04), fill="white"),
    "letterbox": _letterbox,
    "rotate 3": _rotate(3),
    "rotate 10": _rotate(10),
    "mirror": ImageOps.mirror,
    "screenshot": _screenshot,
}


def hash_picture(picture: Image.Image) -> dict[str, tuple[Signal, ...]]:
    """Signals by algorithm, of the picture written as PNG: one decode, the service's own."""
    image = decode(encode(picture, "PNG"), DecodeOptions(), Limits())
    signals = hash_image(image, PERCEPTUAL, dihedral=True)
    found = {a.name: tuple(s for s in signals if s.algorithm == a.name)[:1] for a in PERCEPTUAL}
    found[DIHEDRAL] = tuple(s for s in signals if s.algorithm == "pdq")
    return found


@dataclass(frozen=True, slots=True)
class Row:
    """`rate` of `count`: recall of an edit, or false matches where `edit` is empty."""

    algorithm: str
    edit: str
    rate: float
    count: int


def measure(
    originals: Sequence[dict[str, tuple[Signal, ...]]],
    edited: dict[str, list[dict[str, tuple[Signal, ...]]]],
) -> list[Row]:
    rows = []
    for name in (*(a.name for a in PERCEPTUAL), DIHEDRAL):
        threshold = ALGORITHMS[name.partition(",")[0]].default_threshold
        false, pairs = 0, 0
        for edit, pictures in edited.items():
            near = [
                [_nearest(query[name], entry[name][:1]) <= threshold for entry in originals]
                for query in pictures
            ]
            found = sum(line[i] for i, line in enumerate(near))
            false += sum(map(sum, near)) - found
            pairs += len(pictures) * (len(originals) - 1)
            rows.append(Row(name, edit, found / len(pictures), len(pictures)))
        rows.append(Row(name, "", false / pairs, pairs))
    return rows


def _nearest(queries: Iterable[Signal], entries: Iterable[Signal]) -> float:
    return min((distance(q, e) for q in queries for e in entries), default=float("inf"))


def write_markdown(rows: list[Row], path: Path) -> None:
    names = list(dict.fromkeys(row.algorithm for row in rows))
    rate = {(row.algorithm, row.edit): row.rate for row in rows}
    thresholds = [str(ALGORITHMS[name.partition(",")[0]].default_threshold) for name in names]
    pairs = next(row.count for row in rows if not row.edit)
    lines = [
        "# Robustness of the perceptual hashes",
        "",
        f"Share of {len(PHOTOGRAPHS)} photographs found again after each edit, at each algorithm's "
        f"default threshold, and false matches among {pairs:,} pairs of different photographs. "
        "A low-quality picture counts as any other here.",
        "",
        "| | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
        "| threshold | " + " | ".join(thresholds) + " |",
        *(
            f"| {edit} | " + " | ".join(f"{rate[name, edit]:.2f}" for name in names) + " |"
            for edit in EDITS
        ),
        "| **false matches** | " + " | ".join(f"{rate[name, '']:.5f}" for name in names) + " |",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_csv(rows: list[Row], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("algorithm", "measure", "edit", "rate", "count"))
        for row in rows:
            measure_name = "recall" if row.edit else "false_match_rate"
            writer.writerow((row.algorithm, measure_name, row.edit, f"{row.rate:.6f}", row.count))


def write_plot(rows: list[Row], path: Path) -> None:
    """A heat map: edits down, algorithms across, the false-match rate under each name."""
    import matplotlib as mpl  # noqa: PLC0415 - of the `dev` extra, and slow to import

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    names = list(dict.fromkeys(row.algorithm for row in rows))
    rate = {(row.algorithm, row.edit): row.rate for row in rows}
    recall = np.array([[rate[name, edit] for name in names] for edit in EDITS])
    figure, axes = plt.subplots(figsize=(11, 9), layout="constrained")
    axes.imshow(recall, cmap="RdYlGn", vmin=0, vmax=1, aspect="auto")
    for (y, x), value in np.ndenumerate(recall):
        colour = "black" if 0.2 < value < 0.93 else "white"
        axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
    labels = [f"{name}\nfalse {100 * rate[name, '']:.2f} %" for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(EDITS)), list(EDITS), fontsize=9)
    axes.set_title("Photographs found again after an edit, at the default thresholds")
    figure.savefig(path, dpi=140)
    plt.close(figure)


def main(folder: Path) -> None:
    pictures = [Image.open(SKIMAGE_DATA / name).convert("RGB") for name in PHOTOGRAPHS]
    originals = [hash_picture(picture) for picture in pictures]
    edited = {
        edit: [hash_picture(change(picture)) for picture in pictures]
        for edit, change in EDITS.items()
    }
    rows = measure(originals, edited)
    folder.mkdir(parents=True, exist_ok=True)
    write_markdown(rows, folder / "robustness.md")
    write_csv(rows, folder / "robustness.csv")
    write_plot(rows, folder / "robustness.png")
    print((folder / "robustness.md").read_text(encoding="utf-8"))
    print(f"written to {folder}/robustness.{{md,csv,png}}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/robustness"))
