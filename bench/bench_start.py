"""From `featsvc serve` to SERVING: with cached kernels, and at the first start.

make bench ARGS="-k start"
"""

from itertools import count
from pathlib import Path

import pytest

from bench.compare import Compare
from bench.size import SMOKE
from tests.integration.running import running

COLD = pytest.mark.skipif(SMOKE, reason="a smoke run compiles nothing")


@pytest.mark.parametrize("kernels", ["cached", pytest.param("new", marks=COLD)])
def bench_start(compare: Compare, tmp_path: Path, kernels: str) -> None:
    """Process start, imports, kernels, banks, embedded Valkey, health SERVING; then its stop."""
    number = count()

    def start() -> None:
        folder = tmp_path / str(next(number))
        caches = {} if kernels == "cached" else {"NUMBA_CACHE_DIR": str(folder / "kernels")}
        with running(folder, environ=caches):
            pass

    compare(
        f"start to SERVING, and stop, {kernels} kernels",
        start,
        rounds=5 if kernels == "cached" else 1,
    )
