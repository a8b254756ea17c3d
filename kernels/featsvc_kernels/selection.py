"""The k-th smallest of an array, for kernels that need a median or quartiles."""

from typing import Any

from numpy.typing import NDArray

from featsvc_kernels.jit import kernel


@kernel()
def select(values: NDArray[Any], rank: int) -> Any:
    """Return the element of `rank`, from 0, of `values` (N,) in ascending order.

    Hoare's quickselect: O(N) on average. It reorders `values`.
    """
    low, high = 0, values.size - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            high = j
        elif rank >= i:
            low = i
        else:
            break
    return values[rank]
