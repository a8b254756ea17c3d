"""Record what `pdqhash` answers, so that tests need no compiler: python -m tests.vectors.record_pdq

Needs the `peers` extra, built without fused multiply-add. Writes pdqhash.json and
pdqhash_unstable.json beside this file.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.hashing.photographs import PHOTOGRAPHS, noise, photograph, sha256_of
from tests.hashing.unstable import KINDS, picture

VECTORS = Path(__file__).with_name("pdqhash.json")
UNSTABLE_VECTORS = Path(__file__).with_name("pdqhash_unstable.json")

NOISE_SIZES = (
    (5, 5), (5, 4096), (6, 7), (63, 65), (64, 64), (127, 129), (128, 128), (129, 127), (255, 257),
    (301, 1021), (384, 512), (720, 1280), (1004, 1600), (2049, 33), (4096, 20),
)  # fmt: skip


UNSTABLE_SIZES = ((5, 5), (6, 9), (63, 65), (64, 64), (200, 300), (301, 259), (129, 640))


def stacked(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3), as `pdqhash` wants it."""
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels)


def ask_pdqhash(pixels: NDArray[np.uint8]) -> tuple[str, int, int]:
    """Hex, quality, and how many coefficients lie within 1e-3 of the median."""
    import pdqhash  # noqa: PLC0415 - of the `peers` extra

    rgb = stacked(pixels)
    vector, quality = pdqhash.compute(rgb)
    floats, _ = pdqhash.compute_float(rgb)
    near = int((np.abs(floats - np.sort(floats)[127]) <= 1e-3).sum()) - 1
    return np.packbits(vector.astype(np.uint8)).tobytes().hex(), int(quality), near


def _record(source: str, pixels: NDArray[np.uint8]) -> dict[str, str | int | list[int]]:
    text, quality, near = ask_pdqhash(pixels)
    return {
        "source": source,
        "pixels_sha256": sha256_of(pixels),
        "pdq": text,
        "quality": quality,
        "near_median": near,
    }


def ask_dihedral(pixels: NDArray[np.uint8]) -> list[str]:
    """Hex of the eight turned and mirrored hashes."""
    import pdqhash  # noqa: PLC0415 - of the `peers` extra

    vectors, _ = pdqhash.compute_dihedral(stacked(pixels))
    return [np.packbits(vector.astype(np.uint8)).tobytes().hex() for vector in vectors]


def _unstable() -> list[dict[str, str | int | list[str]]]:
    vectors: list[dict[str, str | int | list[str]]] = []
    for kind in KINDS:
        for seed, (height, width) in enumerate(UNSTABLE_SIZES):
            pixels = picture(kind, seed, height, width, grey=seed % 2 == 1)
            text, quality, _ = ask_pdqhash(pixels)
            vectors.append(
                {
                    "source": f"{kind} {seed} {height} {width}",
                    "pdq": text,
                    "quality": quality,
                    "dihedral": ask_dihedral(pixels),
                }
            )
    return vectors


def main() -> None:
    vectors = [_record(f"photograph {name}", photograph(name)) for name in PHOTOGRAPHS]
    for seed, (height, width) in enumerate(NOISE_SIZES):
        vectors.append(_record(f"noise {seed} {height} {width}", noise(seed, height, width)))
    VECTORS.write_text(json.dumps(vectors, indent=1) + "\n", encoding="utf-8")
    UNSTABLE_VECTORS.write_text(json.dumps(_unstable(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
