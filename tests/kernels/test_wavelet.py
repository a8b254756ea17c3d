"""`wavelet` against its twin."""

import numpy as np
from featsvc_kernels import reference_imagehash as reference
from featsvc_kernels import wavelet

from tests.hashing.photographs import noise


def test_project_equals_twin() -> None:
    grey = noise(6, 96, 96)[:, :, 0].copy()
    grey.flags.writeable = False
    matrix = np.random.default_rng(6).normal(size=(5, 96))
    out = np.empty((5, 5))
    wavelet.project(grey, matrix, out)
    np.testing.assert_allclose(out, reference.project(grey, matrix), rtol=1e-10, atol=1e-7)
