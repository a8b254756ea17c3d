"""From `featsvc serve` to SERVING, and its stop: with kernels compiled and not.

make bench ARGS="-k start"

- warm: kernels that an earlier start has compiled.
- image: as in the image: compiled for the baseline CPU, on another model, into folders that the
  service may only read.
- cold: the first start of an installation.
"""

import subprocess
import sys
from collections.abc import Mapping
from os import environ
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from tests.integration.running import running
from tests.kernels.test_compiling import OTHERS, bind_root, read_only


def _caches(folder: Path) -> dict[str, str]:
    return {name: str(folder) for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}


def _start(data_dir: Path, variables: Mapping[str, str]) -> None:
    with running(data_dir, environ=variables, preexec_fn=bind_root):
        pass


def bench_start_warm(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Process start, imports, kernels, banks, embedded Valkey, health SERVING; then its stop."""
    benchmark.group = "start to SERVING, and stop"
    folders = (tmp_path / f"data-{n}" for n in range(10))
    _start(next(folders), _caches(tmp_path / "kernels"))
    benchmark.pedantic(lambda: _start(next(folders), _caches(tmp_path / "kernels")), rounds=5)


def bench_start_image(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """The same with kernels for the baseline, which cannot be written, on another CPU."""
    benchmark.group = "start to SERVING, and stop"
    folders = (tmp_path / f"data-{n}" for n in range(10))
    variables = _caches(tmp_path / "kernels")
    compile_all = [sys.executable, "-m", "featsvc", "doctor", "--kernels", "--portable"]
    subprocess.run(compile_all, env={**environ, **variables}, check=True)
    variables["NUMBA_CPU_NAME"] = OTHERS[0]
    with read_only(tmp_path / "kernels"):
        benchmark.pedantic(lambda: _start(next(folders), variables), rounds=5)


def bench_start_cold(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """The same, after compiling every kernel."""
    benchmark.group = "start to SERVING, and stop"
    benchmark.pedantic(lambda: _start(tmp_path / "data", _caches(tmp_path / "kernels")), rounds=1)
