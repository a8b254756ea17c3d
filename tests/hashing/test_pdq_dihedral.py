"""The eight turned and mirrored hashes against `pdqhash` and hashes of turned pixels."""

import csv
import io
import itertools

import numpy as np
import pytest
from PIL import Image

from featsvc.hashing.pdq import (
    DIHEDRAL_VARIANTS,
    hash_pdq,
    hash_pdq_dihedral,
    measure_quality,
)
from tests.hashing.photographs import PHOTOGRAPHS, hamming, photograph
from tests.photographs import SHARED, needs_shared
from tests.vectors.record_pdq import stacked

NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png")


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_first_is_the_plain_hash(name: str) -> None:
    pixels = photograph(name)
    assert hash_pdq_dihedral(pixels)[0] == hash_pdq(pixels)


@pytest.mark.parametrize("name", NAMES)
def test_equals_pdqhash(name: str) -> None:
    pdqhash = pytest.importorskip("pdqhash", reason="needs the extra `peers`")
    vectors, quality = pdqhash.compute_dihedral(stacked(photograph(name)))
    ours = hash_pdq_dihedral(photograph(name))
    for variant, vector, hashed in zip(DIHEDRAL_VARIANTS, vectors, ours, strict=True):
        assert hashed.value == np.packbits(vector.astype(np.uint8)).tobytes(), variant
        assert hashed.quality == quality == measure_quality(photograph(name))


@pytest.mark.parametrize("name", NAMES)
def test_variants_are_near_the_hashes_of_the_turned_pixels(name: str) -> None:
    pixels = photograph(name)
    turned = {
        "rotate_90": np.rot90(pixels, 1),
        "rotate_180": np.rot90(pixels, 2),
        "rotate_270": np.rot90(pixels, 3),
        "flip_x": pixels[::-1],
        "flip_y": pixels[:, ::-1],
        "transpose": pixels.swapaxes(0, 1),
        "transverse": np.rot90(pixels, 2).swapaxes(0, 1),
    }
    variants = dict(zip(DIHEDRAL_VARIANTS, hash_pdq_dihedral(pixels), strict=True))
    for variant, other in turned.items():
        target = hash_pdq(other).value
        distances = {v: hamming(hashed.value, target) for v, hashed in variants.items()}
        # Not equal: PDQ samples right of the centre of each cell, before and after the turn.
        assert min(distances, key=lambda v: distances[v]) == variant
        assert distances[variant] <= 31


@needs_shared
def test_metas_turned_photographs() -> None:
    """A variant of each of the eight files is close to the original."""
    with (SHARED / "pdq" / "expected.csv").open(newline="") as file:
        expected = {row["file"]: bytes.fromhex(row["pdq"]) for row in csv.DictReader(file)}
    names = [name for name in expected if name.startswith("dih/")]
    hashes = {}
    for name in names:
        pixels = np.asarray(Image.open(io.BytesIO((SHARED / "pdq" / name).read_bytes())))
        hashes[name] = [h.value for h in hash_pdq_dihedral(pixels)]
    for a, b in itertools.combinations(names, 2):
        assert min(hamming(hashes[a][0], other) for other in hashes[b]) <= 20, (a, b)


def test_tiny_pictures() -> None:
    pixels = np.zeros((4, 40), np.uint8)
    assert {h.value for h in hash_pdq_dihedral(pixels)} == {bytes(32)}
    assert measure_quality(pixels) == 0
