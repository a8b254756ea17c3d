"""The kernels of samples against their NumPy twins, and Pillow."""

import numpy as np
import pytest
from featsvc_kernels import reference_samples, samples
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

SEEDS, SIDES = st.integers(0, 999), st.integers(1, 40)
BACKGROUNDS = st.sampled_from([-1, 0, 255])


def levels(seed: int, *shape: int) -> NDArray[np.uint8]:
    """Random levels with many at both ends, read-only."""
    rng = np.random.default_rng(seed)
    values = np.clip(rng.integers(-60, 316, shape), 0, 255).astype(np.uint8)
    values.flags.writeable = False
    return values


@settings(max_examples=60)
@given(SEEDS, SIDES, SIDES, st.integers(1, 15), st.booleans())
def test_bits_equal_twin(seed: int, height: int, count: int, bits: int, scaled: bool) -> None:
    rows = levels(seed, height, -(-count * bits // 8))
    out = np.empty((height, count), np.uint8)
    samples.unpack_bits(rows, bits, scaled, out)
    twin = reference_samples.unpack_bits(rows, bits, count, scaled=scaled)
    np.testing.assert_array_equal(out, twin)


@settings(max_examples=60)
@given(SEEDS, SIDES, SIDES, st.sampled_from([1, 3]), st.booleans(), BACKGROUNDS)
def test_composite_equals_twin(
    seed: int, height: int, width: int, colours: int, premultiplied: bool, background: int
) -> None:
    picture = levels(seed, height, width, colours + 1)
    out = np.empty((height, 2 * width, 3), np.uint8)[:, ::2]
    samples.composite(picture, colours, premultiplied, background, out)
    twin = reference_samples.composite(picture, colours, background, premultiplied=premultiplied)
    np.testing.assert_array_equal(out, twin)


def every_pair() -> NDArray[np.uint8]:
    """Each level with each alpha."""
    level, alpha = np.mgrid[0:256, 0:256].astype(np.uint8)
    return np.ascontiguousarray(np.dstack((level, level, level, alpha)))


@pytest.mark.parametrize("background", [0, 255])
def test_composite_equals_pillow(background: int) -> None:
    pairs = every_pair()
    picture = Image.fromarray(pairs)
    flat = Image.new("RGB", picture.size, (background,) * 3)
    flat.paste(picture, mask=picture.getchannel("A"))
    out = np.empty((256, 256, 3), np.uint8)
    samples.composite(pairs, 3, False, background, out)
    np.testing.assert_array_equal(out, np.asarray(flat))


def test_premultiplied_equals_pillow() -> None:
    pairs = every_pair()
    data = pairs.tobytes()
    picture = Image.frombytes("RGBA", (256, 256), data, "raw", "RGBa").convert("RGBA")
    out = np.empty((256, 256, 3), np.uint8)
    samples.composite(pairs, 3, True, -1, out)
    np.testing.assert_array_equal(out, np.asarray(picture)[..., :3])


@settings(max_examples=40)
@given(SEEDS, SIDES, SIDES)
def test_cmyk_equals_twin_and_pillow(seed: int, height: int, width: int) -> None:
    inks = levels(seed, height, width, 4)
    out = np.empty((height, width, 3), np.uint8)
    samples.cmyk_to_rgb(inks, out)
    np.testing.assert_array_equal(out, reference_samples.cmyk_to_rgb(inks))
    picture = Image.frombytes("CMYK", (width, height), inks.tobytes()).convert("RGB")
    np.testing.assert_array_equal(out, np.asarray(picture))


@pytest.mark.parametrize("background", [255, 0, 77, samples.KEEP])
def test_flatten_of_every_colour_and_alpha(background: int) -> None:
    colour, alpha = np.meshgrid(np.arange(256), np.arange(256))
    rgba = np.stack((colour, 255 - colour, colour // 2, alpha), axis=-1).astype(np.uint8)
    rgba.flags.writeable = False
    out = np.empty((256, 768), np.uint8)
    samples.flatten(rgba.reshape(256, 1024), background, out)
    twin = reference_samples.flatten(rgba, background)
    np.testing.assert_array_equal(out.reshape(twin.shape), twin)
