"""Classical vectors of pictures: length, agreement with PDQ, copies nearer than others."""

import io

import numpy as np
import pytest
from featsvc_kernels import reference_pdq
from numpy.typing import NDArray
from PIL import Image

from featsvc.embedding.classical import CLASSICAL, embed_classical
from featsvc.signals.algorithms import get_algorithm
from tests.hashing.photographs import PHOTOGRAPHS, noise, photograph
from tests.vectors.record_pdq import stacked

DISTINCT = (
    *("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "hubble_deep_field.jpg"),
    *("motorcycle_left.png", "camera.png", "coins.png", "page.png", "ihc.png"),
)
HELD_OUT = (
    *("brick.png", "cell.png", "clock_motion.png", "coins.png", "grass.png", "text.png"),
    *("hubble_deep_field.jpg", "microaneurysms.png", "motorcycle_left.png", "retina.jpg"),
)
"""Pictures that `bench.vector_thresholds` tests its thresholds on."""


def embed(pixels: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
    vector = embed_classical(pixels, [name])[0][name]
    assert vector is not None
    return vector


def recompressed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    file = io.BytesIO()
    image = Image.fromarray(pixels).convert("RGB").reduce(2)
    image.save(file, "JPEG", quality=40)
    with Image.open(file) as copy:
        return np.array(copy)


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("picture", PHOTOGRAPHS[:6])
def test_vectors_have_length_1_and_the_listed_dimensions(name: str, picture: str) -> None:
    vector = embed(photograph(picture), name)
    assert vector.shape == (CLASSICAL[name].dimensions,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("oracle", ["twin", "pdqhash"])
def test_pdqf_is_the_signed_root_of_the_coefficients_of_pdq(oracle: str) -> None:
    pixels = photograph("astronaut.png")
    if oracle == "pdqhash":
        pdqhash = pytest.importorskip("pdqhash", reason="needs the extra `peers`")
        coefficients, _ = pdqhash.compute_float(stacked(pixels))
    else:
        coefficients = reference_pdq.dct(reference_pdq.downsample(pixels)).ravel()[::-1]
    expected = np.sign(coefficients) * np.sqrt(np.abs(coefficients))
    np.testing.assert_allclose(
        embed(pixels, "pdqf"), expected / np.linalg.norm(expected), atol=1e-4
    )


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_copy_is_nearer_than_any_other_picture(name: str) -> None:
    originals = np.stack([embed(photograph(p), name) for p in DISTINCT])
    copies = np.stack([embed(recompressed(photograph(p)), name) for p in DISTINCT])
    cosines = copies @ originals.T
    assert (cosines.argmax(axis=1) == np.arange(len(DISTINCT))).all()
    assert np.diag(cosines).min() > 0.75


@pytest.mark.parametrize("shade", [0, 255])
def test_a_flat_picture_has_only_a_colour_layout(shade: int) -> None:
    vectors, quality = embed_classical(np.full((90, 70, 3), shade, np.uint8), CLASSICAL)
    assert quality == 0
    assert {name for name, vector in vectors.items() if vector is None} == {"pdqf", "gist", "hog"}


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (3, 2), (5, 5)])
def test_tiny_pictures_raise_nothing(shape: tuple[int, int]) -> None:
    vectors, _ = embed_classical(noise(1, *shape), CLASSICAL)
    assert set(vectors) == set(CLASSICAL)


def test_any_memory_layout() -> None:
    pixels = noise(4, 120, 90)
    turned = np.asfortranarray(pixels)
    for name in CLASSICAL:
        np.testing.assert_array_equal(embed(turned, name), embed(pixels, name))


def test_grey_equals_the_same_grey_in_rgb() -> None:
    grey = np.ascontiguousarray(noise(4, 120, 90)[:, :, 0])
    for name in CLASSICAL:
        rgb = np.repeat(grey[:, :, None], 3, axis=2)
        np.testing.assert_allclose(embed(grey, name), embed(rgb, name), atol=1e-4)


@pytest.mark.parametrize(("model", "recall"), [("pdqf@1", 0.8), ("gist@1", 0.8), ("hog@1", 0)])
def test_default_thresholds_separate_copies_from_others(model: str, recall: float) -> None:
    kind = get_algorithm(model)
    pictures = [photograph(name) for name in HELD_OUT]
    held = np.stack([embed(p, kind.base) for p in pictures])
    copies = np.stack([embed(recompressed(p), kind.base) for p in pictures])
    distances = 1 - held @ copies.T
    own = np.eye(len(pictures), dtype=bool)
    assert (distances[own] <= kind.default_threshold).mean() >= recall
    assert (distances[~own] > kind.default_threshold).all()
