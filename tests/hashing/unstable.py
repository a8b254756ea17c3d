"""Pictures whose PDQ rounding decides: mirror images of themselves, and those of few shades."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from tests.hashing.photographs import noise

Pixels = NDArray[np.uint8]


def _stripes(seed: int, height: int, width: int) -> Pixels:
    colours = np.random.default_rng(seed).integers(0, 256, (3, 3), dtype=np.uint8)
    return np.tile(colours[np.arange(width) * 3 // width], (height, 1, 1))


def _mirrored(seed: int, height: int, width: int) -> Pixels:
    half = noise(seed, height, (width + 1) // 2)
    return np.concatenate([half, half[:, ::-1][:, width % 2 :]], axis=1)


def _upside_down(seed: int, height: int, width: int) -> Pixels:
    return _mirrored(seed, width, height).swapaxes(0, 1)


def _both(seed: int, height: int, width: int) -> Pixels:
    half = _mirrored(seed, (height + 1) // 2, width)
    return np.concatenate([half, half[::-1][height % 2 :]], axis=0)


def _checkers(seed: int, height: int, width: int) -> Pixels:
    rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
    colours = np.random.default_rng(seed).integers(0, 256, (2, 3), dtype=np.uint8)
    return np.asarray(colours[(rows[:, None] + columns) % 2])


def _disc(seed: int, height: int, width: int) -> Pixels:
    colours = np.random.default_rng(seed).integers(0, 256, (2, 3), dtype=np.uint8)
    down, across = np.linspace(-1.5, 1.5, height)[:, None], np.linspace(-1.5, 1.5, width)
    return np.asarray(colours[(down**2 + across**2 < 1).astype(int)])


KINDS: Mapping[str, Callable[[int, int, int], Pixels]] = {
    "flat": lambda seed, height, width: np.tile(_stripes(seed, 1, 3)[:, :1], (height, width, 1)),
    "tricolour": _stripes,
    "tricolour_rows": lambda seed, *size: _stripes(seed, *size[::-1]).swapaxes(0, 1),
    "mirrored": _mirrored,
    "upside_down": _upside_down,
    "both": _both,
    "checkers": _checkers,
    "disc": _disc,
    "noise": noise,
}


def picture(kind: str, seed: int, height: int, width: int, *, grey: bool = False) -> Pixels:
    """RGB (height, width, 3) or grey (height, width); the same on every machine."""
    pixels = np.ascontiguousarray(KINDS[kind](seed, height, width))
    assert pixels.shape == (height, width, 3)
    return np.ascontiguousarray(pixels[:, :, 0]) if grey else pixels
