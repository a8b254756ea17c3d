import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from featsvc.media.exif import apply_orientation, parse_orientation, undo_orientation

PIXELS = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize("orientation", range(9))
def test_orientation_is_applied_as_pillow_does(orientation: int) -> None:
    picture = Image.fromarray(PIXELS)
    picture.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(apply_orientation(PIXELS, orientation), expected)


@pytest.mark.parametrize("orientation", range(9))
def test_undo_is_the_inverse(orientation: int) -> None:
    turned = apply_orientation(PIXELS, orientation)
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(undo_orientation(turned, orientation), PIXELS)


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read_in_both_byte_orders(orientation: int, prefix: bytes) -> None:
    entry = (0x0112, 3, 1, orientation)
    for order, mark in (("little", b"II*\0"), ("big", b"MM\0*")):
        block = mark + (8).to_bytes(4, order) + (1).to_bytes(2, order)  # type: ignore[arg-type]
        for value, size in zip(entry, (2, 2, 4, 2), strict=True):
            block += value.to_bytes(size, order)  # type: ignore[arg-type]
        assert parse_orientation(prefix + block + bytes(6)) == orientation


@given(st.binary(max_size=64), st.sampled_from([b"", b"II*\0", b"MM\0*\0\0\0\x08"]))
def test_damaged_blocks_raise_nothing(tail: bytes, head: bytes) -> None:
    assert 0 <= parse_orientation(head + tail) <= 8
