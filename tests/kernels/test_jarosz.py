"""Down-sampling in the reference's order of operations: equal to its twin and `pdqhash`."""

import json

import numpy as np
import pytest
from featsvc_kernels import jarosz, pdq, reference_pdq
from featsvc_kernels.pictures import as_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.hashing.photographs import noise, photograph
from tests.hashing.unstable import picture
from tests.vectors.record_pdq import UNSTABLE_VECTORS, stacked


def downsample(
    pixels: NDArray[np.uint8],
    part: jarosz.Part | None = None,
    turn: jarosz.Turn = jarosz.STRAIGHT,
) -> NDArray[np.float32]:
    block = np.full((64, 64), np.nan, np.float32)
    extent = part or (0, 0, *pixels.shape[:2])
    jarosz.jarosz_downsample(*as_rows(pixels), extent, turn, block)
    return block


@settings(max_examples=40)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    grey=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equals_twin(height: int, width: int, grey: bool, seed: int) -> None:
    pixels = picture("noise", seed, height, width, grey=grey)
    np.testing.assert_array_equal(downsample(pixels), reference_pdq.downsample_in_order(pixels))


@pytest.mark.parametrize(("height", "width"), [(1, 4096), (4096, 1), (3, 4096), (2048, 40)])
def test_extreme_shapes_equal_twin(height: int, width: int) -> None:
    pixels = noise(1, height, width)
    np.testing.assert_array_equal(downsample(pixels), reference_pdq.downsample_in_order(pixels))


@pytest.mark.parametrize("grey", [False, True])
def test_a_part_equals_its_crop(grey: bool) -> None:
    pixels = picture("noise", 3, 200, 300, grey=grey)
    crop = pixels[10:161, 20:231]
    np.testing.assert_array_equal(downsample(pixels, (10, 20, 151, 211)), downsample(crop))


@pytest.mark.parametrize("turn", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("grey", [False, True])
def test_a_turned_part_equals_its_turned_crop(turn: jarosz.Turn, grey: bool) -> None:
    pixels = picture("noise", 3, 200, 300, grey=grey)
    crop = pixels[10:161, 20:231]
    turned = crop[:: -1 if turn[0] else 1, :: -1 if turn[1] else 1]
    part = (10, 20, 151, 211)
    np.testing.assert_array_equal(downsample(pixels, part, turn), downsample(turned))


def test_pixels_may_be_read_only() -> None:
    pixels = noise(3, 100, 100)
    expected = downsample(pixels)
    pixels.flags.writeable = False
    np.testing.assert_array_equal(downsample(pixels), expected)


@pytest.mark.parametrize(
    "vector", json.loads(UNSTABLE_VECTORS.read_text()), ids=lambda v: v["source"]
)
def test_equals_recorded_pdqhash(vector: dict[str, str | int]) -> None:
    """All bits of every picture in this order, however few of them rounding decides."""
    kind, seed, height, width = str(vector["source"]).split(" ")
    pixels = picture(kind, int(seed), int(height), int(width), grey=int(seed) % 2 == 1)
    block, coefficients = downsample(pixels), np.empty((16, 16), np.float32)
    pdq.pdq_dct(block, coefficients)
    bits = np.empty(32, np.uint8)
    pdq.pdq_bits(coefficients, bits)
    assert (bits.tobytes().hex(), pdq.pdq_quality(block)) == (vector["pdq"], vector["quality"])


@pytest.mark.parametrize("name", ["astronaut.png", "camera.png", "retina.jpg"])
def test_coefficients_equal_live_pdqhash(name: str) -> None:
    pdqhash = pytest.importorskip("pdqhash", reason="needs the extra `peers`")
    coefficients = np.empty((16, 16), np.float32)
    pdq.pdq_dct(downsample(photograph(name)), coefficients)
    theirs, _ = pdqhash.compute_float(stacked(photograph(name)))
    np.testing.assert_array_equal(coefficients.ravel(), theirs[::-1])
