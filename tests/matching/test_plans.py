"""Plans obey the pigeonhole principle and are chosen within their limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featsvc.matching.plans import (
    SCAN_BELOW_ROWS,
    ChunkPlan,
    ball,
    choose_plan,
    masks,
    worth_probing,
)


@given(st.sampled_from([64, 128, 144, 256, 1024]), st.integers(1, 64), st.integers(0, 200))
def test_chunks_cover_the_hash_and_radii_fill_the_radius(
    bits: int, chunks: int, radius: int
) -> None:
    plan = ChunkPlan.even(bits, chunks)
    assert sum(plan.widths) == bits
    assert max(plan.widths) - min(plan.widths) <= 1
    assert list(plan.widths) == sorted(plan.widths, reverse=True)
    assert sum(r + 1 for r in plan.radii(radius)) == radius + 1
    assert min(plan.radii(radius)) >= -1


@pytest.mark.parametrize(("width", "radius"), [(1, 0), (5, 2), (16, 1), (3, 9), (4, -1)])
def test_masks_are_all_small_differences(width: int, radius: int) -> None:
    numbers = masks(width, radius)
    expected = [n for n in range(2**width) if n.bit_count() <= radius]
    assert numbers.tolist() == expected
    assert len(numbers) == ball(width, radius)
    assert not np.asarray(numbers).flags.writeable


@pytest.mark.parametrize("bits", [64, 128, 256, 1024])
@pytest.mark.parametrize("rows", [10_000, 100_000, 1_000_000, 10_000_000])
def test_a_plan_is_chosen_where_it_pays(bits: int, rows: int) -> None:
    radius = bits // 8 - 1
    plan = choose_plan(bits, rows, radius)
    if plan is None:
        assert bits != 256
        return
    assert worth_probing(plan, rows, radius)
    # The memory limit: 110 bytes for an entry of 256 bits, without metadata.
    if bits == 256 and rows >= 1_000_000:
        assert plan.index_bytes(rows) / rows + 32 <= 110


def test_small_tables_and_wide_radii_are_scanned() -> None:
    assert choose_plan(256, SCAN_BELOW_ROWS - 1, 31) is None
    assert choose_plan(256, 1_000_000, 200) is None
    plan = choose_plan(256, 1_000_000, 31)
    assert plan is not None
    assert worth_probing(plan, 1_000_000, 0)
    assert not worth_probing(plan, 1_000_000, 120)
    assert not worth_probing(plan, 1_000_000, 256)
