"""Kernels are compiled by several processes, once, and read where they cannot be written.

The package and its small modules are those of `tests.kernels.test_jit`.
"""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import psutil
import pytest
from featsvc_kernels import compiling

from tests.kernels.test_jit import MODULES, PROGRAM, RESULTS, copy_package, finish, run, start
from tests.patience import until
from tests.photographs import ROOT

NAMES = ["callee", "caller", "leaf"]
IMPORT = "import json\nfrom featsvc_kernels import compiling\n"
COMPILE = f"""
{IMPORT}
shares = []
compiling.compile_modules({NAMES}, shares.append, portable=PORTABLE)
report = {{"shares": shares, "missing": compiling.find_missing({NAMES}, portable=PORTABLE)}}
"""
REPORT = "print(json.dumps(report))\n"
NATIVE = COMPILE.replace("PORTABLE", "False")
PORTABLE = COMPILE.replace("PORTABLE", "True")
# This process and a child of it load what the children of this process have compiled.
THEN_LOAD = f"""
import subprocess, sys
program = {PROGRAM!r}
exec(program)
print(subprocess.run([sys.executable, "-c", program], stdout=-1, text=True).stdout, end="")
"""
NOWHERE = {"NUMBA_CACHE_DIR": "/proc/1", "XDG_CACHE_HOME": "/proc/1"}
# LLVM's names of CPUs that have the baseline's instructions.
OTHERS = ["haswell", "skylake-avx512", "znver2"]
on_x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="names CPUs of x86-64")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_package(tmp_path_factory.mktemp("compiling"))


def lines(path: Path, cache: Path, program: str, **environ: str) -> list[Any]:
    output, _ = (process := start(path, cache, program, **environ)).communicate()
    assert process.returncode == 0
    return [json.loads(line) for line in output.splitlines()]


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take away the permission to write, as in an image; root needs `run_bound`, too."""
    paths = [folder, *folder.rglob("*")]
    for p in paths:
        p.chmod(0o555 if p.is_dir() else 0o444)
    try:
        yield
    finally:
        for p in paths:
            p.chmod(0o755 if p.is_dir() else 0o644)


def bind_root() -> None:
    """Let permission bits bind root: drop CAP_DAC_OVERRIDE for the next program."""
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(24, 1):  # PR_CAPBSET_DROP
        raise OSError("cannot drop a capability")


def run_bound(path: Path, cache: Path, program: str, **environ: str) -> list[Any]:
    """Like `lines`, for a user who may write only where bits allow it, and without HOME."""
    inherited = {k: v for k, v in os.environ.items() if k != "HOME"}
    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        env=inherited | {"PYTHONPATH": str(path), "NUMBA_CACHE_DIR": str(cache), **environ},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=bind_root,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_module_with_kernels_has_its_seconds() -> None:
    sources = (ROOT / "kernels/featsvc_kernels").glob("*.py")
    eager = re.compile(r"^@kernel\((?!\))", re.MULTILINE)
    assert {p.stem for p in sources if eager.search(p.read_text())} == compiling.SECONDS.keys()


@pytest.mark.parametrize("count", range(1, len(compiling.SECONDS) + 1))
def test_the_estimate_is_between_all_on_one_core_and_the_longest(count: int) -> None:
    modules = list(compiling.SECONDS)[:count]
    seconds = [compiling.SECONDS[m] for m in modules]
    assert max(seconds) < compiling.estimate_s(modules) <= sum(seconds) + 3


@pytest.mark.slow
def test_children_fill_the_cache_that_the_program_loads(path: Path, tmp_path: Path) -> None:
    first, own, child = lines(path, tmp_path, NATIVE + REPORT + THEN_LOAD)
    assert first == {"shares": sorted(first["shares"]), "missing": []}
    assert first["shares"][-1] == 1.0
    for report in (own, child):
        assert (report["results"], report["compiled"]) == (RESULTS, [])


@pytest.mark.slow
def test_a_temporary_cache_is_shared_where_none_is_writable(path: Path, tmp_path: Path) -> None:
    environ = {**NOWHERE, "TMPDIR": str(tmp_path)}
    del environ["NUMBA_CACHE_DIR"]
    first, own, child = lines(path, Path("/proc/1"), NATIVE + REPORT + THEN_LOAD, **environ)
    assert first["missing"] == []
    for report in (own, child):
        assert (report["results"], report["compiled"]) == (RESULTS, [])
        assert {Path(f).parents[1] for f in report["folders"]} == {tmp_path}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_program_compiles_what_its_children_could_not(path: Path, tmp_path: Path) -> None:
    fail = "import sys\nsys.executable = '/bin/false'\n"
    first, own = lines(path, tmp_path, fail + NATIVE + REPORT + PROGRAM)
    assert (first["shares"], first["missing"]) == ([], NAMES)
    assert (own["results"], own["loaded"]) == (RESULTS, [])


@pytest.mark.slow
def test_first_starts_at_the_same_time(path: Path, tmp_path: Path) -> None:
    processes = [start(path, tmp_path, NATIVE + REPORT) for _ in range(3)]
    assert [finish(process)["missing"] for process in processes] == [[]] * 3
    report = run(path, tmp_path)
    assert (report["results"], report["compiled"]) == (RESULTS, [])


@pytest.mark.slow
def test_a_kill_takes_the_children_and_leaves_a_usable_cache(path: Path, tmp_path: Path) -> None:
    process = start(path, tmp_path, NATIVE + REPORT)
    parent = psutil.Process(process.pid)
    until(lambda: list(tmp_path.rglob("*.code")) or process.poll() is not None)
    children = parent.children() if process.poll() is None else []
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until(lambda: not any(c.is_running() and c.status() != "zombie" for c in children))
    assert run(path, tmp_path)["results"] == RESULTS
    assert lines(path, tmp_path, NATIVE + REPORT)[0]["missing"] == []


@pytest.mark.slow
def test_a_cache_that_is_only_readable_is_read(path: Path, tmp_path: Path) -> None:
    """An edited module is compiled into the folder that is writable."""
    cache, home = tmp_path / "cache", tmp_path / "home"
    assert lines(path, cache, NATIVE + REPORT)[0]["missing"] == []
    leaf = path / "featsvc_kernels/leaf.py"
    with read_only(cache):
        [report] = run_bound(path, cache, PROGRAM, XDG_CACHE_HOME="/proc/1")
        assert (report["results"], report["compiled"]) == (RESULTS, [])
        assert report["folders"] == [""] * 4
        try:
            leaf.write_text(MODULES["leaf"].replace("2 * x", "3 * x"))
            [report] = run_bound(path, cache, PROGRAM, XDG_CACHE_HOME=str(home))
        finally:
            leaf.write_text(MODULES["leaf"])
    assert (report["results"], report["compiled"]) == ([*RESULTS[:3], 15], ["leaf"])
    assert {Path(name).parent for name in report["folders"]} == {home / "featsvc"}


@on_x86
@pytest.mark.slow
def test_an_image_starts_warm_on_other_cpus(path: Path, tmp_path: Path) -> None:
    """Root compiles for the baseline; another user reads it, on a read-only disk, without HOME."""
    cache = tmp_path / "cache"
    assert lines(path, cache, PORTABLE + REPORT)[0]["missing"] == []
    with read_only(cache):
        for name in OTHERS:
            [report] = run_bound(
                path, cache, PROGRAM, NUMBA_CPU_NAME=name, XDG_CACHE_HOME="/proc/1"
            )
            assert (report["results"], report["compiled"]) == (RESULTS, [])


@on_x86
@pytest.mark.slow
def test_code_for_another_cpu_is_not_loaded(path: Path, tmp_path: Path) -> None:
    assert lines(path, tmp_path, NATIVE + REPORT)[0]["missing"] == []
    for name in OTHERS:
        report = run(path, tmp_path, NUMBA_CPU_NAME=name)
        assert (report["results"], report["loaded"]) == (RESULTS, [])


@on_x86
@pytest.mark.slow
def test_an_older_cpu_does_not_run_the_baseline(path: Path, tmp_path: Path) -> None:
    """It compiles for itself, and can say what it lacks."""
    assert lines(path, tmp_path, PORTABLE + REPORT)[0]["missing"] == []
    old = {"NUMBA_CPU_NAME": "x86-64-v2", "NUMBA_CPU_FEATURES": "+sse4.2,-avx,-avx2"}
    ask = f"{IMPORT}print(json.dumps(compiling.unusable_baseline({NAMES})))\n"
    [lacking, report] = lines(path, tmp_path, ask + PROGRAM, **old)
    assert {"avx", "avx2", "bmi2", "fma"} <= {*lacking}
    assert (report["results"], report["loaded"]) == (RESULTS, [])
    assert lines(path, tmp_path, ask) == [[]]


def test_without_numba_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert compiling.find_missing() == []
