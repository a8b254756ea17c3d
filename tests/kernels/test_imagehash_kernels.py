"""`resample`, `colour`, `segments` and `hamming` against their twins and against Pillow."""

from typing import Any

import imagehash
import numpy as np
import pytest
from featsvc_kernels import colour, hamming, resample, segments, wavelet
from featsvc_kernels import reference_imagehash as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tests.hashing.photographs import noise

SIZES = st.integers(1, 300)


def pad(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """To multiples of 8, with rubbish that must not show."""
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


def test_project_equals_twin() -> None:
    grey = noise(6, 96, 96)[:, :, 0].copy()
    grey.flags.writeable = False
    matrix = np.random.default_rng(6).normal(size=(5, 96))
    out = np.empty((5, 5))
    wavelet.project(grey, matrix, out)
    np.testing.assert_allclose(out, reference.project(grey, matrix), rtol=1e-10, atol=1e-7)


def test_every_colour_falls_into_pillows_bin() -> None:
    """All 16.7 million, a red value at a time."""
    rest = np.stack(np.meshgrid(np.arange(256), np.arange(256)), axis=-1).reshape(-1, 2)
    counts = np.empty(colour.BINS, np.int64)
    for red in range(256):
        rgb = np.column_stack((np.full(len(rest), red), rest)).astype(np.uint8)
        colour.count_colours(rgb, counts)
        picture = Image.fromarray(rgb.reshape(256, 256, 3))
        hue, saturation, _ = np.moveaxis(np.asarray(picture.convert("HSV")), -1, 0)
        black = np.asarray(picture.convert("L")) < 32
        coloured = ~black & (saturation >= 85)
        edges = np.linspace(0, 255, 7)
        faint = np.histogram(hue[coloured & (saturation < 170)], bins=edges)[0]
        bright = np.histogram(hue[coloured & (saturation > 170)], bins=edges)[0]
        expected = [black.sum(), (~black & (saturation < 85)).sum(), *faint, *bright]
        expected.append((coloured & (saturation == 170)).sum())
        assert counts[:15].tolist() == [int(n) for n in expected]


@settings(max_examples=20)
@given(count=st.integers(0, 70_000), seed=st.integers(0, 99))
def test_count_colours_equals_twin(count: int, seed: int) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (count, 3), dtype=np.uint8)
    rgb.flags.writeable = False
    counts = np.empty(colour.BINS, np.int64)
    colour.count_colours(rgb, counts)
    np.testing.assert_array_equal(counts, reference.count_colours(rgb))


@settings(max_examples=30)
@given(height=st.integers(1, 60), width=st.integers(1, 60), seed=st.integers(0, 99))
def test_median_equals_twin_and_pillow(height: int, width: int, seed: int) -> None:
    grey = noise(seed, height, width)[:, :, 0].copy()
    out = np.empty_like(grey)
    segments.median_3x3(grey, out)
    np.testing.assert_array_equal(out, reference.median_3x3(grey))
    np.testing.assert_array_equal(
        out, np.asarray(Image.fromarray(grey).filter(ImageFilter.MedianFilter()))
    )


def test_segments_are_boxes_in_raster_order_bright_first() -> None:
    grey = np.zeros((20, 30), np.uint8)
    grey[2:6, 10:20] = 200
    grey[10:15, 3:9] = 129
    grey[18, 25] = 255
    found = np.empty((600, 5), np.int64)
    assert segments.find_segments(grey, 128, 20, found) == 3
    dark = [0, 0, 19, 29, 600 - 40 - 30 - 1]
    assert found[:3].tolist() == [[2, 10, 5, 19, 40], [10, 3, 14, 8, 30], dark]


@pytest.mark.parametrize("seed", range(5))
def test_segments_are_those_of_imagehash(seed: int) -> None:
    blobs = Image.fromarray(noise(seed, 90, 90)).convert("L").filter(ImageFilter.GaussianBlur(2))
    grey = np.asarray(blobs)
    threshold = int(np.median(grey))
    find_all: Any = imagehash._find_all_segments
    expected = [
        [min(ys), min(xs), max(ys), max(xs), len(segment)]
        for segment in find_all(grey.astype(np.float32), threshold, 20)
        for ys, xs in [([p[0] for p in segment], [p[1] for p in segment])]
    ]
    found = np.empty((405, 5), np.int64)
    count = segments.find_segments(grey, threshold, 20, found)
    assert found[:count].tolist() == expected
    assert count > 2


def test_dark_segments_follow_until_as_many_pixels_are_seen() -> None:
    grey = np.zeros((40, 40), np.uint8)
    grey[:, 20] = 255
    found = np.empty((1600, 5), np.int64)
    assert segments.find_segments(grey, 128, 100, found) == 2
    assert found[:2].tolist() == [[0, 0, 39, 19, 800], [0, 21, 39, 39, 760]]
    grey[:, 38] = 255
    assert segments.find_segments(grey, 128, 30, found) == 4
    small = np.zeros((6, 6), np.uint8)
    assert segments.find_segments(small, 128, 0, found) == 1


@pytest.mark.parametrize("words", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("rows", [0, 1, 7, 66_000])
def test_hamming_equals_twin(words: int, rows: int) -> None:
    rng = np.random.default_rng(words)
    hashes = rng.integers(0, 2**64, (rows, words), dtype=np.uint64)
    query = rng.integers(0, 2**64, words, dtype=np.uint64)
    hashes.flags.writeable = False
    distances = np.empty(rows, np.uint16)
    hamming.hamming_to_all(query, hashes, distances)
    np.testing.assert_array_equal(distances, reference.hamming_to_all(query, hashes))
    if rows:
        assert hamming.hamming(query, hashes[-1]) == distances[-1]


def test_hamming_reaches_every_bit() -> None:
    zeros, ones = np.zeros(16, np.uint64), np.full(16, 2**64 - 1, np.uint64)
    assert hamming.hamming(zeros, ones) == 1024
    assert hamming.hamming(ones, ones) == 0
