"""`resample` against its twins and Pillow."""

import numpy as np
import pytest
from featsvc_kernels import reference_imagehash as reference
from featsvc_kernels import resample
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tests.hashing.photographs import noise

SIZES = st.integers(1, 300)


def pad(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pad to multiples of 8, with values that must not show in results."""
    height, width = (-(-n // 8) * 8 for n in grey.shape)
    plane = np.full((height, width), 173, np.uint8)
    plane[: grey.shape[0], : grey.shape[1]] = grey
    return plane


@settings(max_examples=40)
@given(height=SIZES, width=SIZES, seed=st.integers(0, 99))
def test_to_grey_equals_twin_and_pillow(height: int, width: int, seed: int) -> None:
    rgb = noise(seed, height, width)
    plane = np.empty(pad(rgb[:, :, 0]).shape, np.uint8)
    resample.to_grey(rgb.reshape(height, -1), width, plane)
    np.testing.assert_array_equal(plane[:height, :width], reference.to_grey(rgb))
    np.testing.assert_array_equal(
        plane[:height, :width], np.asarray(Image.fromarray(rgb).convert("L"))
    )


@settings(max_examples=40)
@given(tiles_down=st.integers(1, 20), tiles_across=st.integers(1, 20), seed=st.integers(0, 99))
def test_transpose(tiles_down: int, tiles_across: int, seed: int) -> None:
    plane = noise(seed, 8 * tiles_down, 8 * tiles_across)[:, :, 0].copy()
    turned = np.empty(plane.shape[::-1], np.uint8)
    resample.transpose(plane.view(np.uint64), turned.view(np.uint64))
    np.testing.assert_array_equal(turned, plane.T)


@settings(max_examples=40)
@given(height=SIZES, width=st.integers(1, 40), to=SIZES, seed=st.integers(0, 99))
def test_resample_rows_equals_twin_and_pillow(height: int, width: int, to: int, seed: int) -> None:
    grey = noise(seed, height, width)[:, :, 0].copy()
    plane = pad(grey)
    out = np.empty((to, plane.shape[1]), np.uint8)
    resample.resample_rows(plane, *resample.lanczos_weights(height, to), out)
    np.testing.assert_array_equal(out[:, :width], reference.resample_rows(grey, to))
    expected = Image.fromarray(grey).resize((width, to), Image.Resampling.LANCZOS)
    if to != height:
        np.testing.assert_array_equal(out[:, :width], np.asarray(expected))


def test_long_axes() -> None:
    """More than 65,535 rows, and weights of each window that add up to one."""
    grey = noise(4, 70_001, 8)[:, :, 0].copy()
    windows, weights = resample.lanczos_weights(70_001, 9)
    assert np.abs(weights.sum(axis=1, dtype=np.int64) - 2**22).max() < 70_001
    out = np.empty((9, 8), np.uint8)
    resample.resample_rows(grey, windows, weights, out)
    expected = Image.fromarray(grey).resize((8, 9), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(out, np.asarray(expected))


@pytest.mark.parametrize("size", [1, 2, 8, 32])
def test_block_sums_equal_twin(size: int) -> None:
    grey = noise(5, 32 * 7, 32 * 7)[:, :, 0].copy()
    sums = np.empty((size, size), np.int64)
    resample.block_sums(grey, sums)
    np.testing.assert_array_equal(sums, reference.block_sums(grey, size))
