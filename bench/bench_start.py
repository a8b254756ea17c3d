"""From `featsvc serve` to SERVING, and its stop: with kernels compiled and not.

make bench ARGS="-k start"

- compiled: by an earlier start.
- as in the image: compiled for the baseline CPU, on another model, into folders that the service
  may only read.
- no kernels: the first start of an installation.
"""

import subprocess
import sys
from collections.abc import Callable
from itertools import count
from os import environ
from pathlib import Path

import pytest

from bench.compare import Compare
from bench.size import SMOKE, pick
from tests.integration.running import running
from tests.kernels.test_compiling import OTHERS, bind_root, read_only

Start = Callable[[dict[str, str]], None]

compiles = pytest.mark.skipif(SMOKE, reason="a smoke run compiles nothing")


def caches(folder: Path) -> dict[str, str]:
    return {name: str(folder) for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Process start, imports, kernels, banks, embedded Valkey, health SERVING; then its stop."""
    numbers = count()

    def start(variables: dict[str, str]) -> None:
        folder = tmp_path / f"data-{next(numbers)}"
        with running(folder, environ=variables, preexec_fn=bind_root):
            pass

    return start


def bench_start_compiled(compare: Compare, start: Start, tmp_path: Path) -> None:
    variables = pick(caches(tmp_path / "kernels"), smoke={})
    compare("start to SERVING, and stop, compiled kernels", lambda: start(variables), rounds=5)


@compiles
def bench_start_image(compare: Compare, start: Start, tmp_path: Path) -> None:
    here, image = caches(tmp_path / "here"), caches(tmp_path / "image")
    compile_all = [sys.executable, "-m", "featsvc", "doctor", "--kernels", "--portable"]
    subprocess.run(compile_all, env={**environ, **image}, check=True)
    image["NUMBA_CPU_NAME"] = OTHERS[0]
    with read_only(tmp_path / "image"):
        compare(
            "start to SERVING, and stop, as in the image",
            lambda: start(image),
            {"kernels compiled here": lambda: start(here)},
            rounds=5,
        )


@compiles
def bench_start_cold(compare: Compare, start: Start, tmp_path: Path) -> None:
    variables = caches(tmp_path / "kernels")
    compare("start to SERVING, and stop, no kernels", lambda: start(variables), rounds=1)
