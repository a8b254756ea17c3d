from typing import Any

import numpy as np
from featsvc_kernels import selection
from hypothesis import given
from hypothesis import strategies as st

# The tests of PDQ and TLSH run it compiled.
select: Any = getattr(selection.select, "py_func", selection.select)


@given(st.lists(st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1), min_size=1), st.data())
def test_the_kth_smallest(values: list[int], data: st.DataObject) -> None:
    ranks = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=4))
    array = np.array(values, np.int64)
    # One array for several ranks, as TLSH does: what it reorders stays the same set.
    assert [select(array, rank) for rank in ranks] == [sorted(values)[rank] for rank in ranks]
    assert sorted(array.tolist()) == sorted(values)
