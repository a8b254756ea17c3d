"""The PDQ kernels against their NumPy twin and `pdqhash`, recorded and live."""

import importlib.util
import json
from functools import cache

import numpy as np
import pytest
from featsvc_kernels import pdq, reference_pdq
from featsvc_kernels.pictures import as_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.hashing.photographs import PHOTOGRAPHS, hamming, noise, photograph, sha256_of
from tests.vectors.record_pdq import VECTORS, ask_pdqhash

needs_pdqhash = pytest.mark.skipif(
    importlib.util.find_spec("pdqhash") is None, reason="needs the extra `peers`"
)


def whole(pixels: NDArray[np.uint8]) -> pdq.Part:
    return 0, 0, *pixels.shape[:2]


def run(pixels: NDArray[np.uint8]) -> tuple[bytes, int, NDArray[np.float32]]:
    bits = np.empty(32, np.uint8)
    quality, _ = pdq.pdq_hash(*as_rows(pixels), whole(pixels), True, bits)
    return bits.tobytes(), quality, coefficients_of(pixels)


def coefficients_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    coefficients = np.empty((16, 16), np.float32)
    pdq.pdq_dct(downsample(pixels), coefficients)
    return coefficients


def downsample(pixels: NDArray[np.uint8], part: pdq.Part | None = None) -> NDArray[np.float32]:
    block = np.empty((64, 64), np.float32)
    pdq.pdq_downsample(*as_rows(pixels), part or whole(pixels), block)
    return block


def near_median(coefficients: NDArray[np.float32]) -> int:
    """Return the number of bits that rounding may decide: those within 1e-3 of the median."""
    flat = coefficients.ravel()
    return int((np.abs(flat - np.sort(flat)[127]) <= 1e-3).sum()) - 1


@cache
def recorded() -> list[dict[str, str | int]]:
    vectors: list[dict[str, str | int]] = json.loads(VECTORS.read_text(encoding="utf-8"))
    return vectors


@pytest.mark.parametrize("index", range(len(recorded())), ids=lambda i: recorded()[i]["source"])
def test_equals_recorded_pdqhash(index: int) -> None:
    vector = recorded()[index]
    kind, *arguments = str(vector["source"]).split(" ")
    pixels = photograph(arguments[0]) if kind == "photograph" else noise(*map(int, arguments))
    if sha256_of(pixels) != vector["pixels_sha256"]:
        pytest.skip("another decoder version: these are not the recorded pixels")
    value, quality, coefficients = run(pixels)
    assert hamming(value, bytes.fromhex(str(vector["pdq"]))) <= near_median(coefficients)
    assert quality == vector["quality"]


@needs_pdqhash
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_equals_live_pdqhash(name: str) -> None:
    text, quality, _ = ask_pdqhash(photograph(name))
    value, our_quality, coefficients = run(photograph(name))
    assert hamming(value, bytes.fromhex(text)) <= near_median(coefficients)
    assert our_quality == quality


def test_rounding_decides_at_most_one_bit_of_a_photograph() -> None:
    """Otherwise the tolerance above could hide errors."""
    assert all(int(vector["near_median"]) <= 1 for vector in recorded())


@settings(max_examples=60)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    grey=st.booleans(),
    seed=st.integers(0, 99),
)
def test_downsample_equals_twin(height: int, width: int, grey: bool, seed: int) -> None:
    pixels = noise(seed, height, width)
    if grey:
        pixels = np.ascontiguousarray(pixels[:, :, 0])
    np.testing.assert_allclose(downsample(pixels), reference_pdq.downsample(pixels), atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(1, 4096), (4096, 1), (3, 4096), (2048, 40)])
def test_downsample_of_extreme_shapes_equals_twin(height: int, width: int) -> None:
    pixels = noise(1, height, width)
    np.testing.assert_allclose(downsample(pixels), reference_pdq.downsample(pixels), atol=2e-4)


@pytest.mark.parametrize("n", [1, 2, 5, 64, 65, 128, 129, 256, 257, 1004, 4096, 66_000])
def test_a_flat_picture_stays_flat(n: int) -> None:
    """The weights of every band add up to 1, with more than 65,535 elements too."""
    np.testing.assert_allclose(downsample(np.full((1, n), 200, np.uint8)), 200, rtol=1e-5)


def test_dct_quality_and_bits_equal_twin() -> None:
    block = np.random.default_rng(7).uniform(0, 255, (64, 64)).astype(np.float32)
    coefficients = np.empty((16, 16), np.float32)
    pdq.pdq_dct(block, coefficients)
    np.testing.assert_allclose(coefficients, reference_pdq.dct(block.astype(float)), atol=1e-3)
    smooth = np.outer(np.linspace(0, 255, 64), np.ones(64)).astype(np.float32)
    for picture in (block, smooth, block / np.float32(40)):
        assert pdq.pdq_quality(picture) == reference_pdq.quality(picture.astype(float))
    bits = np.empty(32, np.uint8)
    pdq.pdq_bits(coefficients, bits)
    assert bits.tobytes() == reference_pdq.bits(coefficients.astype(float))
    assert int.from_bytes(bits).bit_count() == 128


def test_ties_are_not_above_the_median() -> None:
    bits = np.empty(32, np.uint8)
    pdq.pdq_bits(np.zeros((16, 16), np.float32), bits)
    assert bits.tobytes() == bytes(32)


def test_a_part_equals_its_crop() -> None:
    pixels = noise(3, 200, 300)
    crop = pixels[10:160, 20:231]
    np.testing.assert_array_equal(downsample(pixels, (10, 20, 150, 211)), downsample(crop))


def test_pixels_may_be_read_only() -> None:
    pixels = noise(3, 100, 100)
    expected = run(pixels)[0]
    pixels.flags.writeable = False
    assert run(pixels)[0] == expected


@pytest.mark.parametrize("name", ["astronaut.png", "brick.png", "camera.png", "retina.jpg"])
@pytest.mark.parametrize("every", [True, False])
def test_turned_hashes_are_those_of_the_turned_pixels(name: str, every: bool) -> None:
    pixels = photograph(name)
    rotated = [np.rot90(pixels, quarters) for quarters in range(4)]
    transposed = [rotated[0].swapaxes(0, 1), rotated[2].swapaxes(0, 1)]
    turned = [*rotated, pixels[::-1], pixels[:, ::-1], *transposed]
    bits = np.zeros((8, 32), np.uint8)
    marks = np.zeros((8, 2), bool)
    quality = pdq.pdq_turned_hashes(*as_rows(pixels), whole(pixels), every, bits, marks)
    assert quality == run(pixels)[1]
    for index in range(8) if every else (0, 1, 5, 6):
        value, _, coefficients = run(turned[index])
        assert hamming(value, bits[index].tobytes()) <= near_median(coefficients), index
        assert not marks[index].any()


def test_turned_hashes_of_a_part() -> None:
    """The rows and columns of the part are mirrored, not those of the picture."""
    pixels = photograph("coffee.png")
    crop = pixels[31:290, 57:411]
    bits, expected = np.zeros((8, 32), np.uint8), np.zeros((8, 32), np.uint8)
    marks, expected_marks = np.ones((8, 2), bool), np.ones((8, 2), bool)
    pdq.pdq_turned_hashes(*as_rows(pixels), (31, 57, *crop.shape[:2]), True, bits, marks)
    pdq.pdq_turned_hashes(*as_rows(crop), whole(crop), True, expected, expected_marks)
    np.testing.assert_array_equal(bits, expected)
    np.testing.assert_array_equal(marks, expected_marks)
