"""`png` against its twins."""

import numpy as np
from featsvc_kernels import png
from featsvc_kernels import reference_png as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
SEEDS = st.integers(0, 2**32 - 1)


def random(seed: int, *shape: int, top: int = 256) -> Bytes:
    """Read-only bytes."""
    values = np.random.default_rng(seed).integers(0, top, shape, dtype=np.uint8)
    values.flags.writeable = False
    return values


def with_filters(seed: int, height: int, size: int, filters: list[int]) -> Bytes:
    raw = random(seed, height, 1 + size).copy()
    raw[:, 0] = np.resize(filters, height)
    raw.flags.writeable = False
    return raw


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    height=st.integers(1, 6),
    pixels=st.integers(1, 30),
    step=st.sampled_from([1, 2, 3, 4, 6, 8]),
    filters=st.lists(st.integers(0, 4), min_size=1, max_size=6),
)
def test_unfilter_equals_twin(
    seed: int, height: int, pixels: int, step: int, filters: list[int]
) -> None:
    size = pixels * step
    raw, above = with_filters(seed, height, size, filters), random(seed + 1, size)
    out = np.empty((height, size), np.uint8)
    assert png.unfilter(raw, step, above, out) == -1
    np.testing.assert_array_equal(out, reference.unfilter(raw, step, above))


def test_paeth_of_all_differences() -> None:
    """The choice depends on the differences of three bytes alone: all of a coarse grid."""
    values = [0, 1, 2, 3, 64, 126, 127, 128, 129, 200, 253, 254, 255]
    for corner in values:
        for over in values:
            raw = np.zeros((1, 1 + 2 * len(values)), np.uint8)
            raw[0] = [4, *np.ravel([(left, 0) for left in values])]
            above = np.array([corner, over] * len(values), np.uint8)
            out = np.empty((1, raw.shape[1] - 1), np.uint8)
            png.unfilter(raw, 1, above, out)
            np.testing.assert_array_equal(out, reference.unfilter(raw, 1, above))


def test_a_filter_that_no_png_has_is_told() -> None:
    raw = with_filters(1, 5, 9, [4, 0, 1, 5, 2])
    assert png.unfilter(raw, 3, np.zeros(9, np.uint8), np.empty((5, 9), np.uint8)) == 3


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    bits=st.sampled_from([1, 2, 4, 8]),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3, 4]),
)
def test_look_up_equals_twin(seed: int, bits: int, width: int, channels: int) -> None:
    rows, table = random(seed, 3, -(-width * bits // 8)), random(seed + 1, 256, channels)
    out = np.empty((3, width * channels), np.uint8)
    largest = png.look_up(rows, bits, table, out)
    twin = reference.look_up(rows, bits, table, width)
    np.testing.assert_array_equal(out.reshape(twin.shape), twin)
    samples = reference.look_up(rows, bits, np.arange(256, dtype=np.uint8)[:, None], width)
    assert largest == samples.max()


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    width=st.integers(1, 40),
    channels=st.integers(1, 4),
    sample_bytes=st.sampled_from([1, 2]),
    keyed=st.booleans(),
)
def test_to_rgba_equals_twin(
    seed: int, width: int, channels: int, sample_bytes: int, keyed: bool
) -> None:
    rows = random(seed, 3, width * channels * sample_bytes, top=3)
    key = png.NO_KEY
    if keyed and channels in (1, 3):
        pixel = rows[1, : channels * sample_bytes].reshape(channels, sample_bytes).astype(np.int64)
        key = np.resize(pixel @ (256 ** np.arange(sample_bytes)[::-1]), 3)
    out = np.empty((3, 4 * width), np.uint8)
    png.to_rgba(rows, channels, sample_bytes, key, out)
    twin = reference.to_rgba(rows, channels, sample_bytes, key)
    np.testing.assert_array_equal(out.reshape(twin.shape), twin)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, width=st.integers(1, 40), step=st.sampled_from([1, 2]), top=st.booleans())
def test_compose_equals_twin(seed: int, width: int, step: int, top: bool) -> None:
    frame = random(seed, 3, width, 4)
    if top:
        frame = np.where(frame < 128, 0, 255).astype(np.uint8)
    canvas = random(seed + 1, 3 * step, width * step, 4).copy()
    expected = canvas.copy()
    expected[::step, ::step] = reference.compose(frame, expected[::step, ::step])
    png.compose(frame, canvas[::step, ::step])
    np.testing.assert_array_equal(canvas, expected)


def test_more_than_65535_elements() -> None:
    raw = with_filters(3, 2, 70_002, [4, 3])
    out = np.empty((2, 70_002), np.uint8)
    png.unfilter(raw, 3, np.zeros(70_002, np.uint8), out)
    np.testing.assert_array_equal(out, reference.unfilter(raw, 3, np.zeros(70_002, np.uint8)))
