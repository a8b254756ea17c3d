"""A separable linear map of a square grey picture, for wavelet bands."""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel


@kernel("(Array(uint8, 2, 'C', True), Array(float64, 2, 'C', True), float64[:, ::1])")
def project(grey: NDArray[np.uint8], matrix: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write `matrix @ grey @ matrix.T` to `out` (B, B): `grey` (N, N), `matrix` (B, N). O(B N^2).

    BLAS would start its own threads beside the request's.
    """
    bands, n = matrix.shape
    line = np.empty(n, np.float64)
    for i in range(bands):
        line[:] = 0.0
        for y in range(n):
            weight, row = matrix[i, y], grey[y]
            for x in range(n):
                line[x] += weight * np.float64(row[x])
        for j in range(bands):
            total = 0.0
            for x in range(n):
                total += line[x] * matrix[j, x]
            out[i, j] = total
