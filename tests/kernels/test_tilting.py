"""The kernels for tilted pictures against their NumPy twins and Pillow."""

import numpy as np
import pytest
from featsvc_kernels import reference_tilting, tilting
from featsvc_kernels.pictures import as_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tests.hashing.photographs import noise, photograph

GREY = photograph("camera.png")
SIDES, SEEDS = st.integers(1, 60), st.integers(0, 99)


def shrink(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    rows, channels = as_rows(pixels)
    rows.flags.writeable = False
    plane = np.empty((pixels.shape[0] // factor, pixels.shape[1] // factor), np.uint8)
    tilting.shrink(rows, channels, factor, plane)
    return plane


def tilt(plane: NDArray[np.uint8], degrees: float, zoom: float, fill: int) -> NDArray[np.uint8]:
    out = np.empty_like(plane)
    tilting.tilt(plane, np.radians(degrees), zoom, fill, out)
    return out


@settings(max_examples=40)
@given(SIDES, SIDES, st.integers(1, 5), SEEDS, st.booleans())
def test_shrink_equals_twin(height: int, width: int, factor: int, seed: int, colour: bool) -> None:
    pixels = noise(seed, height, width)
    pixels = pixels if colour else pixels[..., 0]
    twin = reference_tilting.shrink(pixels, factor)
    np.testing.assert_allclose(shrink(pixels, factor), twin, atol=0.51)


@settings(max_examples=40)
@given(SIDES, SIDES, st.floats(-50, 50), st.floats(1, 2), st.sampled_from([0, 77, 255]), SEEDS)
def test_tilt_equals_twin(
    height: int, width: int, degrees: float, zoom: float, fill: int, seed: int
) -> None:
    plane = np.ascontiguousarray(noise(seed, height, width)[..., 1])
    twin = reference_tilting.tilt(plane, float(np.radians(degrees)), zoom, fill)
    np.testing.assert_allclose(tilt(plane, degrees, zoom, fill), twin, atol=0.51)


def test_no_turn_is_no_change() -> None:
    np.testing.assert_array_equal(tilt(GREY, 0, 1, 9), GREY)


@pytest.mark.parametrize("degrees", [-4.5, 3, 20])
def test_tilt_equals_pillow(degrees: float) -> None:
    turned = Image.fromarray(GREY).rotate(degrees, Image.Resampling.BILINEAR, fillcolor=255)
    difference = abs(tilt(GREY, degrees, 1, 255).astype(int) - np.asarray(turned))
    assert np.median(difference) <= 1
    assert difference.mean() < 2
