"""Measure cosine thresholds of the built-in models.

The pictures are scikit-image's photographs, whole and in quarters, with the edits of `bench.edits`.
One half of them chooses the threshold: a fifth of the smallest distance between an edited picture
and another photograph, since a bank holds far more pictures than there are here. The other half
tests it: recall over all edits, and false matches over all pairs.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.command import Command, progress, say
from bench.edits import EDITS
from bench.robustness_pictures import PHOTOGRAPHS
from bench.size import SMOKE, pick
from featsvc.embedding.classical import CLASSICAL, QUALITY_FLOOR, embed_classical
from featsvc.signals.algorithms import get_algorithm
from tests.hashing.photographs import SKIMAGE_DATA

Vectors = Mapping[str, NDArray[np.float32] | None]


class Picture(NamedTuple):
    """A vector of a part of a photograph; `edit` is empty for the original."""

    photograph: str
    part: int
    edit: str
    vectors: Vectors


class ThresholdTest(NamedTuple):
    """Recall by edit, false matches among pairs, and the smallest distance of such a pair."""

    model: str
    threshold: float
    recall: Mapping[str, float]
    false_matches: int
    pairs: int
    smallest: float


def pictures(names: Sequence[str]) -> Iterator[Picture]:
    """Vectors of pictures that reach the quality floor, as in the service."""
    for name in names:
        whole = Image.open(SKIMAGE_DATA / name).convert("RGB")
        if SMOKE:
            whole = whole.resize((160, 120))
        width, height = whole.width // 2, whole.height // 2
        corners = [] if SMOKE else [(x, y) for x in (0, width) for y in (0, height)]
        parts = [whole, *(whole.crop((x, y, x + width, y + height)) for x, y in corners)]
        for number, part in enumerate(parts):
            edited = {"": part, **{edit: change(part) for edit, change in EDITS.items()}}
            for edit, picture in edited.items():
                vectors, quality = embed_classical(np.asarray(picture), CLASSICAL)
                if quality >= QUALITY_FLOOR:
                    yield Picture(name, number, edit, vectors)


def distances(
    model: str, samples: Sequence[Picture]
) -> tuple[dict[str, list[float]], NDArray[np.float64]]:
    """Distances of edited pictures to their originals by edit, and to other photographs."""
    vectors = [(p, v) for p in samples if (v := p.vectors[model]) is not None]
    held = [p for p, _ in vectors if not p.edit]
    rows = np.stack([v for p, v in vectors if not p.edit])
    owners = np.array([p.photograph for p in held])
    own: dict[str, list[float]] = {edit: [] for edit in EDITS}
    strangers = []
    for picture, vector in vectors:
        row = 1 - rows @ vector
        strangers.append(row[owners != picture.photograph])
        for other, distance in zip(held, row, strict=True):
            if picture.edit and other[:2] == picture[:2]:
                own[picture.edit].append(float(distance))
    return own, np.concatenate(strangers).astype(np.float64)


def test_threshold(model: str, threshold: float, samples: Sequence[Picture]) -> ThresholdTest:
    own, strangers = distances(model, samples)
    recall = {e: float(np.mean(np.array(d) <= threshold)) for e, d in own.items() if d}
    false = int((strangers <= threshold).sum())
    return ThresholdTest(model, threshold, recall, false, len(strangers), float(strangers.min()))


def choose_threshold(model: str, samples: Sequence[Picture]) -> float:
    """A fifth of the smallest distance to another photograph, rounded down to 0.0025."""
    _, strangers = distances(model, samples)
    return round(float(np.floor(strangers.min() / 5 / 0.0025) * 0.0025), 4)


def halves() -> tuple[list[Picture], list[Picture]]:
    """The pictures of every other photograph, and of the rest."""
    names = pick(PHOTOGRAPHS, smoke=PHOTOGRAPHS[:4])
    found: tuple[list[Picture], list[Picture]] = [], []
    with progress("photographs", len(names)) as step:
        for number, name in enumerate(names):
            found[number % 2].extend(pictures([name]))
            step()
    return found


def main(argv: Sequence[str] | None = None) -> None:
    Command("vector_thresholds", __doc__ or "", takes="about 2 minutes").begin(argv)
    tuning, held_out = halves()
    rows = []
    for name, model in CLASSICAL.items():
        threshold = choose_threshold(name, tuning)
        default = get_algorithm(model.id).default_threshold
        say(f"{model.id}: chosen {threshold:g}, default {default:g}")
        rows.append(test_threshold(name, default, held_out))
    print("| model | threshold | recall, all edits | false matches | nearest stranger |")
    print("|---|---|---|---|---|")
    for row in rows:
        mean = float(np.mean(list(row.recall.values())))
        print(
            f"| `{CLASSICAL[row.model].id}` | {row.threshold:g} | {mean:.2f} "
            f"| {row.false_matches} of {row.pairs:,} | {row.smallest:.4f} |"
        )
    print("\n| edit | " + " | ".join(f"`{CLASSICAL[r.model].id}`" for r in rows) + " |")
    print("|---" * (len(rows) + 1) + "|")
    for edit in EDITS:
        shares = " | ".join(f"{r.recall.get(edit, float('nan')):.2f}" for r in rows)
        print(f"| {edit} | {shares} |")


if __name__ == "__main__":
    main()
