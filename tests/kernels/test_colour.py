"""`colour` against its twin and Pillow."""

import numpy as np
from featsvc_kernels import colour
from featsvc_kernels import reference_imagehash as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image


def test_every_colour_is_counted_in_pillows_bin() -> None:
    """All 16.7 million colours, one red value at a time."""
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
