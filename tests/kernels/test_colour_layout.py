"""`colour_layout` against its twin."""

import numpy as np
import pytest
from featsvc_kernels import colour_layout, reference_embedding
from featsvc_kernels.pictures import as_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.hashing.photographs import noise


def run_colour_layout(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = np.full(colour_layout.DIMENSIONS, np.nan, np.float32)
    colour_layout.colour_layout(*as_rows(pixels), values)
    return values


@settings(max_examples=60)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    grey=st.booleans(),
    seed=st.integers(0, 99),
)
def test_colour_layout_equals_twin(height: int, width: int, grey: bool, seed: int) -> None:
    pixels = noise(seed, height, width)
    if grey:
        pixels = np.ascontiguousarray(pixels[:, :, 0])
    expected = reference_embedding.colour_layout(pixels)
    np.testing.assert_allclose(run_colour_layout(pixels), expected, atol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(1, 70_000), (70_000, 1), (300, 300)])
def test_colour_layout_of_more_than_65535_elements(height: int, width: int) -> None:
    pixels = np.full((height, width, 3), 255, np.uint8)
    expected = np.zeros(colour_layout.DIMENSIONS)
    expected[0] = 8 * 127.0
    np.testing.assert_allclose(run_colour_layout(pixels), expected, atol=1e-2)


def test_colour_layout_of_a_read_only_picture() -> None:
    pixels = noise(2, 64, 64)
    pixels.flags.writeable = False
    assert np.isfinite(run_colour_layout(pixels)).all()
