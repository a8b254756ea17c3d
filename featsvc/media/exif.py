"""EXIF orientation: parse, apply, undo."""

import struct

import numpy as np
from numpy.typing import NDArray

_ORIENTATION_TAG = 0x0112
_SHORT = 3
_INVERSE = {6: 8, 8: 6}
_LAST = 8
_FIRST_TURNED = 5
_BLOCK = 512
"""Pixels of a side that are copied at once: what is read down and written across stays in cache."""


def parse_orientation(exif: bytes) -> int:
    """Return orientation 1 to 8 of an EXIF block (with or without its `Exif\\0\\0` prefix), else 0.

    A damaged block gives 0: it is no reason to refuse the picture.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 0
    try:
        (offset,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, offset)
        for i in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, offset + 2 + 12 * i)
            if tag == _ORIENTATION_TAG:
                return value if kind == _SHORT and is_orientation(value) else 0
    except struct.error:
        return 0
    return 0


def is_orientation(value: int) -> bool:
    """Return whether EXIF defines the value: 1 to 8."""
    return 1 <= value <= _LAST


def swaps_sides(orientation: int) -> bool:
    """Return whether the stored width is the displayed height."""
    return orientation >= _FIRST_TURNED


def apply_orientation(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn stored pixels (H, W) or (H, W, 3) to how they are displayed; C-contiguous."""
    stored = np.ascontiguousarray(pixels)
    # One element a pixel: NumPy copies three bytes at once, not one by one.
    whole = stored if stored.shape == stored.shape[:2] else stored.view("V3")[:, :, 0]
    turned = whole
    if swaps_sides(orientation):
        turned = turned.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if turned is whole:
        return stored
    copy = np.empty(turned.shape, turned.dtype)
    for top in range(0, turned.shape[0], _BLOCK):
        for left in range(0, turned.shape[1], _BLOCK):
            block = slice(top, top + _BLOCK), slice(left, left + _BLOCK)
            copy[block] = turned[block]
    return copy.view(np.uint8).reshape(*turned.shape, *pixels.shape[2:])


def undo_orientation(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn displayed pixels back to how they are stored."""
    return apply_orientation(pixels, _INVERSE.get(orientation, orientation))


def stored_view(displayed: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return a view of displayed pixels (H, W, ...) that is indexed as they are stored.

    What is written to the view appears turned in `displayed`.
    """
    view = displayed
    if orientation in (3, 4, 7, 8):
        view = view[::-1]
    if orientation in (2, 3, 6, 7):
        view = view[:, ::-1]
    return view.swapaxes(0, 1) if swaps_sides(orientation) else view
