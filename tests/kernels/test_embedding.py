"""`embedding` against its twins."""

import numpy as np
import pytest
from featsvc_kernels import embedding, reference_embedding

from tests.hashing.photographs import noise


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
def test_values_without_a_direction_are_not_normalised(values: list[float]) -> None:
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


def test_to_tensor_of_a_read_only_picture() -> None:
    pixels, ones = noise(2, 64, 64), np.ones(3, np.float32)
    pixels.flags.writeable = False
    embedding.to_tensor(pixels, ones, ones, False, True, np.empty(pixels.size, np.float32))
