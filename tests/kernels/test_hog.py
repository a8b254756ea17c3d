"""`hog` against its twin and scikit-image's HOG."""

import numpy as np
import pytest
from featsvc_kernels import hog, reference_embedding
from numpy.typing import NDArray
from skimage.feature import hog as skimage_hog

from tests.hashing.photographs import PHOTOGRAPHS, noise, photograph
from tests.kernels.blocks import block_of

Block = NDArray[np.float32]


def run_hog(block: Block) -> NDArray[np.float32]:
    values = np.full(hog.DIMENSIONS, np.nan, np.float32)
    hog.hog(block, values)
    return values


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_hog_equals_twin_and_skimage(name: str) -> None:
    block = block_of(photograph(name))
    values = run_hog(block)
    np.testing.assert_allclose(values, reference_embedding.hog(block.astype(float)), atol=1e-4)
    oracle = skimage_hog(block, 9, (8, 8), (2, 2), "L2-Hys")
    # In float32 a gradient between two directions may count for either.
    assert (np.abs(values - oracle) > 1e-5).mean() < 0.02


def test_hog_of_a_read_only_block() -> None:
    block = block_of(noise(2, 64, 64))
    block.flags.writeable = False
    assert np.isfinite(run_hog(block)).all()
