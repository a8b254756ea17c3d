"""The projection kernel against its twin."""

from typing import Any

import numpy as np
import pytest
from featsvc_kernels import projection, reference_projection
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Arguments = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], float]


def arguments(seed: int, blocks: int, groups: int, share: float) -> Arguments:
    """Return values whose sums are exact in float32, so that the order of summation is irrelevant,
    and a bound that about `share` of the rows pass."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(-127, 128, (blocks, groups, projection.BLOCK, projection.GROUP), np.int8)
    tails = rng.integers(0, 256, (blocks, groups, projection.GROUP), np.uint8)
    weights = rng.integers(-64, 65, (blocks, projection.BLOCK)).astype(np.float32) / 64
    tail_weights = (np.sort(rng.integers(0, 64, blocks))[::-1] / 64).astype(np.float32)
    bounds = np.einsum("sgjl,sj->gl", codes.astype(float), weights) + tail_weights[-1] * tails[-1]
    min_bound = np.float32(np.quantile(bounds, 1 - share)) if groups else 0
    return codes, tails, weights, tail_weights, float(min_bound)


@pytest.mark.parametrize("function", [projection.filter_rows, projection.filter_rows.py_func])  # type: ignore[attr-defined]
@pytest.mark.parametrize("share", [0, 0.02, 1])
def test_rows_equal_twin_compiled_and_not(function: object, share: float) -> None:
    values = arguments(1, 3, 2, share)
    rows = np.empty(256, np.int64)
    count = function(*values[:4], np.float32(values[4]), rows)  # type: ignore[operator]
    np.testing.assert_array_equal(rows[:count], reference_projection.filter_rows(*values))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    blocks=st.integers(1, 4),
    groups=st.sampled_from([0, 1, 3, 40]),
    share=st.sampled_from([0, 0.001, 0.1, 0.9]),
)
def test_rows_equal_twin(seed: int, blocks: int, groups: int, share: float) -> None:
    values = arguments(seed, blocks, groups, share)
    for array in values[:2]:
        array.flags.writeable = False
    rows = np.empty(max(1, groups * 64), np.int64)
    count = projection.filter_rows(*values, rows)
    np.testing.assert_array_equal(rows[:count], reference_projection.filter_rows(*values))


def test_more_than_65535_rows_and_no_room() -> None:
    values = arguments(2, 1, 1100, 0.5)
    rows = np.empty(70_400, np.int64)
    count = projection.filter_rows(*values, rows)
    np.testing.assert_array_equal(rows[:count], reference_projection.filter_rows(*values))
    assert rows[count - 1] > 65_535
    assert projection.filter_rows(*values, rows[: count - 1]) == projection.TOO_MANY
