"""The projection kernel against its twin, and its bound against the inner products it bounds."""

from typing import Any

import numpy as np
import pytest
from featsvc_kernels import projection, reference_projection
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Made = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], float]


def made(seed: int, blocks: int, groups: int, share: float) -> Made:
    """Values whose sums are exact in float32, so that the order of summing is no difference, and
    a bound that about `share` of the rows pass."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(-127, 128, (blocks, groups, projection.BLOCK, projection.GROUP), np.int8)
    tails = rng.integers(0, 256, (blocks, groups, projection.GROUP), np.uint8)
    weights = rng.integers(-64, 65, (blocks, projection.BLOCK)).astype(np.float32) / 64
    left = (np.sort(rng.integers(0, 64, blocks))[::-1] / 64).astype(np.float32)
    bounds = np.einsum("sgjl,sj->gl", codes.astype(float), weights) + left[-1] * tails[-1]
    return codes, tails, weights, left, float(np.float32(np.quantile(bounds, 1 - share)))


@pytest.mark.parametrize("function", [projection.filter_rows, projection.filter_rows.py_func])  # type: ignore[attr-defined]
@pytest.mark.parametrize("share", [0, 0.02, 1])
def test_rows_equal_twin_compiled_and_not(function: object, share: float) -> None:
    values = made(1, 3, 2, share)
    rows = np.empty(256, np.int64)
    found = function(*values[:4], np.float32(values[4]), rows)  # type: ignore[operator]
    np.testing.assert_array_equal(rows[:found], reference_projection.filter_rows(*values))


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([0, 1, 3, 40]),
    st.sampled_from([0, 0.001, 0.1, 0.9]),
)  # fmt: skip
def test_rows_equal_twin(seed: int, blocks: int, groups: int, share: float) -> None:
    if not groups:
        empty = np.empty((blocks, 0, projection.BLOCK, projection.GROUP), np.int8)
        values: Made = (
            empty, np.empty((blocks, 0, 64), np.uint8), np.ones((blocks, 32), np.float32),
            np.ones(blocks, np.float32), 0.0,
        )  # fmt: skip
    else:
        values = made(seed, blocks, groups, share)
    for array in values[:2]:
        array.flags.writeable = False
    rows = np.empty(max(1, groups * 64), np.int64)
    found = projection.filter_rows(*values, rows)
    np.testing.assert_array_equal(rows[:found], reference_projection.filter_rows(*values))


def test_more_than_65535_rows_and_no_room() -> None:
    values = made(2, 1, 1100, 0.5)
    rows = np.empty(70_400, np.int64)
    found = projection.filter_rows(*values, rows)
    np.testing.assert_array_equal(rows[:found], reference_projection.filter_rows(*values))
    assert rows[found - 1] > 65_535
    assert projection.filter_rows(*values, rows[: found - 1]) == projection.TOO_MANY
