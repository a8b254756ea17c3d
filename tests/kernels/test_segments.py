"""`segments` against its twins, Pillow and imagehash."""

from typing import Any

import imagehash
import numpy as np
import pytest
from featsvc_kernels import reference_imagehash as reference
from featsvc_kernels import segments
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from tests.hashing.photographs import noise


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
    boxes = np.empty((600, 5), np.int64)
    assert segments.find_segments(grey, 128, 20, boxes) == 3
    dark = [0, 0, 19, 29, 600 - 40 - 30 - 1]
    assert boxes[:3].tolist() == [[2, 10, 5, 19, 40], [10, 3, 14, 8, 30], dark]


@pytest.mark.parametrize("seed", range(5))
def test_segments_equal_imagehash(seed: int) -> None:
    blobs = Image.fromarray(noise(seed, 90, 90)).convert("L").filter(ImageFilter.GaussianBlur(2))
    grey = np.asarray(blobs)
    threshold = int(np.median(grey))
    find_all: Any = imagehash._find_all_segments
    expected = [
        [min(ys), min(xs), max(ys), max(xs), len(segment)]
        for segment in find_all(grey.astype(np.float32), threshold, 20)
        for ys, xs in [([p[0] for p in segment], [p[1] for p in segment])]
    ]
    boxes = np.empty((405, 5), np.int64)
    count = segments.find_segments(grey, threshold, 20, boxes)
    assert boxes[:count].tolist() == expected
    assert count > 2


def test_dark_segments_are_found_until_enough_pixels_are_visited() -> None:
    grey = np.zeros((40, 40), np.uint8)
    grey[:, 20] = 255
    boxes = np.empty((1600, 5), np.int64)
    assert segments.find_segments(grey, 128, 100, boxes) == 2
    assert boxes[:2].tolist() == [[0, 0, 39, 19, 800], [0, 21, 39, 39, 760]]
    grey[:, 38] = 255
    assert segments.find_segments(grey, 128, 30, boxes) == 4
    small = np.zeros((6, 6), np.uint8)
    assert segments.find_segments(small, 128, 0, boxes) == 1
