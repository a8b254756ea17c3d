"""Built-in vectors: PDQF, GIST, HOG, colour layout.

The first three use PDQ's 64x64 luma, so all of them take one pass over the picture; colour layout
takes another. None is trained: they distinguish copies from other pictures, not kinds of pictures.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import MappingProxyType

import numpy as np
from featsvc_kernels import colour_layout as colour_kernels
from featsvc_kernels import embedding as kernels
from featsvc_kernels import gist as gist_kernels
from featsvc_kernels import hog as hog_kernels
from featsvc_kernels import pdq as pdq_kernels
from featsvc_kernels.pictures import as_rows
from numpy.typing import NDArray

from featsvc.embedding.models import Model

Vector = NDArray[np.float32]

_FLAT = 1e-2
"""Coefficients below it are rounding errors of a flat picture; their roots would look like a
picture."""
QUALITY_FLOOR = 50
"""PDQ's quality, 0 to 100, below which a picture has too little structure to compare vectors."""

_MODELS = (
    Model("pdqf", 1, 256, "PDQ before its bits are cut: the signed square root, float32"),
    Model("gist", 1, gist_kernels.DIMENSIONS, "Oliva and Torralba's GIST of 64x64 luma"),
    Model("hog", 1, hog_kernels.DIMENSIONS, "Dalal and Triggs' HOG of 64x64 luma"),
    Model("colour_layout", 1, colour_kernels.DIMENSIONS, "MPEG-7 colour layout, not quantised"),
)
CLASSICAL: Mapping[str, Model] = MappingProxyType({model.name: model for model in _MODELS})


def downsample(pixels: NDArray[np.uint8]) -> Vector:
    """Return PDQ's luma (64, 64), 0 to 255, of RGB (H, W, 3) or grey (H, W), at least 1x1."""
    rows, channels = as_rows(pixels)
    height, width = pixels.shape[:2]
    block = np.empty((pdq_kernels.SAMPLES, pdq_kernels.SAMPLES), np.float32)
    pdq_kernels.pdq_downsample(rows, channels, (0, 0, height, width), block)
    return block


def measure_quality(block: Vector) -> int:
    """Return PDQ's quality of a (64, 64) block, 0 to 100."""
    return int(pdq_kernels.pdq_quality(block))


def compute_pdqf(block: Vector) -> Vector | None:
    """Return PDQF (256,) of a (64, 64) block; None for a flat one."""
    coefficients = np.empty((pdq_kernels.COEFFICIENTS, pdq_kernels.COEFFICIENTS), np.float32)
    pdq_kernels.pdq_dct(block, coefficients)
    if np.abs(coefficients).max() < _FLAT:
        return None
    values = np.empty(coefficients.size, np.float32)
    kernels.pdqf(coefficients, values)
    return _normalised(values)


def compute_gist(block: Vector) -> Vector | None:
    """Return GIST (512,) of a (64, 64) block; None for a flat one."""
    values = np.empty(gist_kernels.DIMENSIONS, np.float32)
    gist_kernels.gist(block, *_gist_filters(), values)
    return _normalised(values)


def compute_hog(block: Vector) -> Vector | None:
    """Return HOG (1764,) of a (64, 64) block; None for a flat one."""
    values = np.empty(hog_kernels.DIMENSIONS, np.float32)
    hog_kernels.hog(block, values)
    return _normalised(values)


def compute_colour_layout(pixels: NDArray[np.uint8]) -> Vector | None:
    """Return the colour layout (58,) of RGB (H, W, 3) or grey (H, W); None for all mid-grey."""
    rows, channels = as_rows(pixels)
    values = np.empty(colour_kernels.DIMENSIONS, np.float32)
    colour_kernels.colour_layout(rows, channels, values)
    return _normalised(values)


GREY_SUFFICES = frozenset({"pdqf", "gist", "hog"})
"""Models that use PDQ's luma only, for which the luma plane of a JPEG is as good."""

_BLOCK_VECTORS: Mapping[str, Callable[[Vector], Vector | None]] = {
    "pdqf": compute_pdqf,
    "gist": compute_gist,
    "hog": compute_hog,
}


def embed_classical(
    pixels: NDArray[np.uint8], names: Iterable[str]
) -> tuple[dict[str, Vector | None], int]:
    """Return the vectors of `names` (keys of `CLASSICAL`), length 1 or None, and PDQ's quality."""
    block = downsample(pixels)
    vectors = {
        name: _BLOCK_VECTORS[name](block)
        if name in _BLOCK_VECTORS
        else compute_colour_layout(pixels)
        for name in names
    }
    return vectors, measure_quality(block)


def warm() -> None:
    """Run every kernel and compute GIST's filters before the first request."""
    embed_classical(np.arange(192, dtype=np.uint8).reshape(8, 8, 3), CLASSICAL)


@cache
def _gist_filters() -> tuple[Vector, Vector]:
    return gist_kernels.gabor_bank(), gist_kernels.prefilter()


def _normalised(values: Vector) -> Vector | None:
    return values if kernels.normalise(values) else None
