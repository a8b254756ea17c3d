"""`gist` against its twin."""

import numpy as np
import pytest
from featsvc_kernels import gist, reference_embedding
from numpy.typing import NDArray

from tests.hashing.photographs import PHOTOGRAPHS, noise, photograph
from tests.kernels.blocks import block_of

Block = NDArray[np.float32]


def run_gist(block: Block) -> NDArray[np.float32]:
    values = np.full(gist.DIMENSIONS, np.nan, np.float32)
    gist.gist(block, gist.gabor_bank(), gist.prefilter(), values)
    return values


@pytest.mark.parametrize("name", PHOTOGRAPHS[:8])
def test_gist_equals_twin(name: str) -> None:
    block = block_of(photograph(name))
    expected = reference_embedding.gist(block.astype(float))
    np.testing.assert_allclose(run_gist(block), expected, atol=2e-6 * max(expected.max(), 1))


def test_gist_distinguishes_directions() -> None:
    """Stripes have the most energy in the filters of the direction across them."""
    x = np.arange(64)
    stripes = np.tile(np.where(x // 2 % 2, 255, 0), (64, 1)).astype(np.float32)
    across, down = run_gist(stripes), run_gist(np.ascontiguousarray(stripes.T))
    energy = [values.reshape(4, 8, 16)[0].sum(axis=1) for values in (across, down)]
    assert int(energy[0].argmax()) == 0
    assert int(energy[1].argmax()) == 4


def test_gist_of_a_read_only_block() -> None:
    block, bank, low_pass = block_of(noise(2, 64, 64)), gist.gabor_bank(), gist.prefilter()
    block.flags.writeable = bank.flags.writeable = low_pass.flags.writeable = False
    gist.gist(block, bank, low_pass, np.empty(gist.DIMENSIONS, np.float32))
