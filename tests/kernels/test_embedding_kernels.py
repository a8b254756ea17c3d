"""Embedding kernels against their NumPy twins and against scikit-image's HOG."""

import numpy as np
import pytest
from featsvc_kernels import colour_layout, embedding, gist, hog, pdq, reference_embedding
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.feature import hog as skimage_hog

from tests.hashing.photographs import PHOTOGRAPHS, noise, photograph

Block = NDArray[np.float32]


def block_of(pixels: NDArray[np.uint8]) -> Block:
    height, width = pixels.shape[:2]
    block = np.empty((64, 64), np.float32)
    channels = 1 if pixels.ndim == 2 else 3
    pdq.pdq_downsample(pixels.reshape(height, -1), channels, (0, 0, height, width), block)
    return block


def run_gist(block: Block) -> NDArray[np.float32]:
    values = np.full(gist.DIMENSIONS, np.nan, np.float32)
    gist.gist(block, gist.gabor_bank(), gist.prefilter(), values)
    return values


def run_hog(block: Block) -> NDArray[np.float32]:
    values = np.full(hog.DIMENSIONS, np.nan, np.float32)
    hog.hog(block, values)
    return values


def run_colour_layout(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = np.full(colour_layout.DIMENSIONS, np.nan, np.float32)
    rows = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1)
    colour_layout.colour_layout(rows, 1 if pixels.ndim == 2 else 3, values)
    return values


@pytest.mark.parametrize("name", PHOTOGRAPHS[:8])
def test_gist_equals_twin(name: str) -> None:
    block = block_of(photograph(name))
    expected = reference_embedding.gist(block.astype(float))
    np.testing.assert_allclose(run_gist(block), expected, atol=2e-6 * max(expected.max(), 1))


def test_gist_tells_directions_apart() -> None:
    """Vertical stripes answer to the filters that look across, at each scale they fit."""
    x = np.arange(64)
    stripes = np.tile(np.where(x // 2 % 2, 255, 0), (64, 1)).astype(np.float32)
    across, down = run_gist(stripes), run_gist(np.ascontiguousarray(stripes.T))
    energy = [values.reshape(4, 8, 16)[0].sum(axis=1) for values in (across, down)]
    assert int(energy[0].argmax()) == 0
    assert int(energy[1].argmax()) == 4


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_hog_equals_twin_and_skimage(name: str) -> None:
    block = block_of(photograph(name))
    values = run_hog(block)
    np.testing.assert_allclose(values, reference_embedding.hog(block.astype(float)), atol=1e-4)
    oracle = skimage_hog(block, 9, (8, 8), (2, 2), "L2-Hys")
    # A gradient on the edge of two directions may fall to either side in float32.
    assert (np.abs(values - oracle) > 1e-5).mean() < 0.02


@settings(max_examples=60, deadline=None)
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


def test_pdqf_equals_twin() -> None:
    coefficients = np.random.default_rng(3).normal(0, 50, (16, 16)).astype(np.float32)
    values = np.empty(256, np.float32)
    embedding.pdqf(coefficients, values)
    np.testing.assert_allclose(values, reference_embedding.pdqf(coefficients.astype(float)), 1e-6)


@pytest.mark.parametrize("size", [1, 58, 70_001])
def test_normalise(size: int) -> None:
    values = np.random.default_rng(size).normal(size=size).astype(np.float32)
    expected = values / np.linalg.norm(values.astype(float))
    assert embedding.normalise(values)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "values", [[], [0.0, 0.0], [1e-8], [np.nan, 1.0], [np.inf, 1.0], [3e38, 3e38, np.nan]]
)
def test_what_has_no_direction_is_not_normalised(values: list[float]) -> None:
    array = np.array(values, np.float32)
    assert not embedding.normalise(array)
    np.testing.assert_array_equal(array, np.array(values, np.float32))


def test_the_largest_floats_are_normalised() -> None:
    array = np.array([3e38, 3e38], np.float32)
    assert embedding.normalise(array)
    np.testing.assert_allclose(array, np.sqrt(0.5), rtol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("planar", [False, True])
def test_to_tensor_equals_twin(reverse: bool, planar: bool) -> None:
    pixels = noise(1, 150, 151)
    factors = np.array([1 / 255, 2, 0.5], np.float32)
    offsets = np.array([-1, 0, 3], np.float32)
    tensor = np.empty(pixels.size, np.float32)
    embedding.to_tensor(pixels, factors, offsets, reverse, planar, tensor)
    expected = reference_embedding.to_tensor(
        pixels, factors.astype(float), offsets.astype(float), reverse=reverse, planar=planar
    )
    np.testing.assert_allclose(tensor.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)


def test_read_only_inputs_are_fine() -> None:
    pixels = noise(2, 64, 64)
    pixels.flags.writeable = False
    block = block_of(pixels)
    block.flags.writeable = False
    bank, low_pass = gist.gabor_bank(), gist.prefilter()
    bank.flags.writeable = low_pass.flags.writeable = False
    gist.gist(block, bank, low_pass, np.empty(gist.DIMENSIONS, np.float32))
    assert np.isfinite(run_hog(block)).all()
    assert np.isfinite(run_colour_layout(pixels)).all()
    ones = np.ones(3, np.float32)
    embedding.to_tensor(pixels, ones, ones, False, True, np.empty(pixels.size, np.float32))
