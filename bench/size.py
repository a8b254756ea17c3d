"""How much a bench measures: BENCH_SIZE is `full` (default), `large` or `smoke`.

`smoke` runs everything once, as small as it can be, to see that it works: its figures mean nothing.
"""

import os
import sys
from typing import TypeVar

SIZES = ("smoke", "full", "large")
SIZE = os.environ.get("BENCH_SIZE") or "full"
SMOKE = SIZE == "smoke"

if SIZE not in SIZES:
    sys.exit(f"BENCH_SIZE is {SIZE!r}; it may be {', '.join(SIZES)}")

T = TypeVar("T")


def pick(full: T, *, smoke: T, large: T | None = None) -> T:
    """The value for the size of this run; `large` is `full` where it is not given."""
    if SMOKE:
        return smoke
    return large if SIZE == "large" and large is not None else full
