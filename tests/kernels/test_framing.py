"""The framing kernel against its NumPy twin, and on known frames."""

import numpy as np
import pytest
from featsvc_kernels import framing, reference_framing
from featsvc_kernels.pictures import as_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.hashing.photographs import noise, photograph

Rectangle = tuple[int, ...]


def find(pixels: NDArray[np.uint8], step: int = 1) -> tuple[Rectangle, Rectangle]:
    rows, channels = as_rows(pixels)
    rows.flags.writeable = False
    rectangles = np.full((2, 4), -1, np.int64)
    framing.find_frames(rows, channels, step, rectangles)
    return tuple(rectangles[0].tolist()), tuple(rectangles[1].tolist())


def framed(
    pixels: NDArray[np.uint8], widths: tuple[int, int, int, int], levels: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    """Add bars of these widths and levels at the top, left, bottom and right."""
    top, left, bottom, right = widths
    height, width = pixels.shape[:2]
    out = np.zeros((height + top + bottom, width + left + right, *pixels.shape[2:]), np.uint8)
    out[top : top + height, :left] = levels[1]
    out[top : top + height, left + width :] = levels[3]
    out[:top], out[top + height :] = levels[0], levels[2]
    out[top : top + height, left : left + width] = pixels
    return out


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**32 - 1),
    widths=st.tuples(*[st.integers(0, 40)] * 4),
    levels=st.tuples(*[st.integers(0, 255)] * 4),
    colour=st.booleans(),
    grain=st.integers(0, 9),
    step=st.integers(1, 5),
)
def test_equals_twin(
    seed: int,
    widths: tuple[int, int, int, int],
    levels: tuple[int, int, int, int],
    colour: bool,
    grain: int,
    step: int,
) -> None:
    rng = np.random.default_rng(seed)
    inner = noise(seed, int(rng.integers(1, 90)), int(rng.integers(1, 90)))
    if rng.random() < 0.3:
        inner //= 16
    picture = framed(inner if colour else inner[..., 1], widths, levels)
    grains = rng.integers(-grain, grain + 1, picture.shape)
    picture = (picture.astype(int) + grains).clip(0, 255).astype(np.uint8)
    assert find(picture, step) == reference_framing.find_frames(picture, step)


@pytest.mark.parametrize("name", ["astronaut.png", "rocket.jpg", "retina.jpg", "page.png"])
@pytest.mark.parametrize("step", [1, 4])
def test_equals_twin_on_photographs(name: str, step: int) -> None:
    for picture in (photograph(name), framed(photograph(name), (60, 9, 31, 9), (0, 255, 255, 0))):
        assert find(picture, step) == reference_framing.find_frames(picture, step)


@pytest.mark.parametrize("step", [1, 3, 4])
@pytest.mark.parametrize("levels", [(0, 0, 0, 0), (255, 255, 255, 255), (9, 200, 90, 130)])
def test_bars_are_trimmed_to_the_pixel(levels: tuple[int, int, int, int], step: int) -> None:
    inner = photograph("coffee.png")
    height, width = inner.shape[:2]
    trimmed, _ = find(framed(inner, (70, 13, 20, 41), levels), step)
    assert trimmed == (70, 13, 70 + height, 13 + width)


def test_a_page_with_text_and_buttons_is_removed() -> None:
    inner = photograph("coffee.png")
    height, width = inner.shape[:2]
    page = framed(inner, (90, 12, 120, 12), (250, 250, 250, 250))
    page[:20] = 30
    for x in range(40, width - 40, 9):
        page[50:62, x : x + 4] = 20
        page[height + 150 : height + 170, x : x + 5] = 128
    trimmed, unframed = find(page, 3)
    assert trimmed != unframed
    assert unframed == (90, 12, 90 + height, 12 + width)


@pytest.mark.parametrize("name", ["coffee.png", "gravel.png", "motorcycle_left.png"])
def test_a_picture_without_a_frame_stays_whole(name: str) -> None:
    height, width = photograph(name).shape[:2]
    assert find(photograph(name)) == ((0, 0, height, width), (0, 0, height, width))


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1, 3), (70, 90, 3)])
def test_a_picture_that_is_all_frame_becomes_empty(shape: tuple[int, ...]) -> None:
    assert find(np.full(shape, 77, np.uint8), 2) == ((0, 0, 0, 0), (0, 0, 0, 0))


def test_more_than_65535_lines() -> None:
    tall = np.full((70_000, 3), 255, np.uint8)
    tall[500:69_000] = noise(1, 68_500, 3)[..., 1]
    assert find(tall)[0] == reference_framing.find_frames(tall, 1)[0]
