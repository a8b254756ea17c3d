"""From `featsvc serve` to SERVING: with cached kernels, and at the first start.

make bench ARGS="-k start"
"""

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.integration.running import running


@pytest.mark.parametrize("kernels", ["warm", "cold"])
def bench_start(benchmark: BenchmarkFixture, tmp_path: Path, kernels: str) -> None:
    """Process start, imports, kernels, banks, embedded Valkey, health SERVING; then its stop."""
    benchmark.group = "start to SERVING, and stop"
    rounds = 5 if kernels == "warm" else 1
    folders = iter(range(rounds + 1))

    def start() -> None:
        number = next(folders)
        caches = tmp_path / ("kernels" if kernels == "warm" else f"kernels-{number}")
        with running(tmp_path / f"data-{number}", environ={"NUMBA_CACHE_DIR": str(caches)}):
            pass

    if kernels == "warm":
        start()
    benchmark.pedantic(start, rounds=rounds)
