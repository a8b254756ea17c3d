"""Machine code is cached by module, and stale code never runs.

A copy of the package gets five small modules; each run is a separate process.
"""

import compileall
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.photographs import ROOT

pytestmark = pytest.mark.slow

MODULES = {
    "callee": """
from featsvc_kernels.jit import kernel
OFFSET = 1
@kernel("int64(int64)")
def shift(x):
    return x + OFFSET
""",
    "codes": "FACTOR, STEP = 10, 100\n",
    "caller": """
from featsvc_kernels import callee as steps
from featsvc_kernels.jit import kernel
from .codes import FACTOR, STEP
@kernel()
def helper(x):
    return steps.shift(x) * FACTOR
@kernel("int64(int64)")
def scale(x):
    return helper(x)
def make(step):
    @kernel("int64(int64)")
    def add(x):
        return x + step
    return add
add = make(STEP)
""",
    "leaf": """
from featsvc_kernels.jit import kernel
@kernel("int64(int64)")
def double(x):
    return 2 * x
""",
    "reference_caller": "def scale(x):\n    return 10 * (x + 1)\n",
}
PROGRAM = """
import json
from featsvc_kernels import callee, caller, leaf, reference_caller
from featsvc_kernels.machine_code import writable_folder
functions = [callee.shift, caller.scale, caller.add, leaf.double]
print(json.dumps({
    "results": [f(5) for f in functions],
    "compiled": sorted({f.__module__[16:] for f in functions if f.stats.cache_misses}),
    "loaded": sorted({f.__module__[16:] for f in functions if f.stats.cache_hits}),
    "folders": [str(writable_folder(f.__module__) or "") for f in functions],
}))
"""
RESULTS = [6, 60, 105, 10]


def start(path: Path, cache: Path, program: str = PROGRAM, **environ: str) -> subprocess.Popen[str]:
    # Without bytecode files (-B): stale bytecode must not look like stale machine code.
    environ = {"PYTHONPATH": str(path), "NUMBA_CACHE_DIR": str(cache), **environ}
    return subprocess.Popen(
        [sys.executable, "-B", "-c", program],
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> Any:
    output, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(output)


def run(path: Path, cache: Path, program: str = PROGRAM, **environ: str) -> Any:
    return finish(start(path, cache, program, **environ))


def copy_package(folder: Path) -> Path:
    """Copy the package and add the modules; return a folder for the module path."""
    package = folder / "featsvc_kernels"
    package.mkdir(parents=True)
    for name in ("__init__", "compiling", "jit", "machine_code", "sources"):
        shutil.copy(ROOT / "kernels/featsvc_kernels" / f"{name}.py", package)
    for name, text in MODULES.items():
        (package / f"{name}.py").write_text(text)
    return folder


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the package's folder and the cache, after a first run."""
    folder = tmp_path_factory.mktemp("jit")
    path, cache = copy_package(folder / "path"), folder / "cache"
    report = run(path, cache)
    assert (report["results"], report["loaded"]) == (RESULTS, [])
    assert all(Path(name).parent == cache for name in report["folders"])
    return path, cache


@pytest.fixture
def restored(warm: tuple[Path, Path]) -> Iterator[tuple[Path, Path]]:
    """Return `warm`; restore the modules afterwards."""
    yield warm
    for name, text in MODULES.items():
        (warm[0] / "featsvc_kernels" / f"{name}.py").write_text(text)


@pytest.mark.parametrize(
    ("module", "before", "after", "results", "compiled"),
    [
        ("callee", "OFFSET = 1", "OFFSET = 2", [7, 70, 105, 10], ["callee", "caller"]),
        ("callee", "x + OFFSET", "x - OFFSET", [4, 40, 105, 10], ["callee", "caller"]),
        ("codes", "10, 100", "20, 200", [6, 120, 205, 10], ["caller"]),
        ("leaf", "2 * x", "3 * x", [6, 60, 105, 15], ["leaf"]),
        ("reference_caller", "10", "20", RESULTS, []),
    ],
)
def test_an_edit_recompiles_the_module_and_its_importers(
    restored: tuple[Path, Path],
    module: str,
    before: str,
    after: str,
    results: list[int],
    compiled: list[str],
) -> None:
    path, cache = restored
    source = path / "featsvc_kernels" / f"{module}.py"
    source.write_text(MODULES[module].replace(before, after))
    report = run(path, cache)
    assert (report["results"], report["compiled"]) == (results, compiled)
    assert report["loaded"] == sorted({"callee", "caller", "leaf"} - set(compiled))


def test_an_edit_during_the_start_does_not_cache_stale_code(restored: tuple[Path, Path]) -> None:
    """The process that read the old source caches nothing; the next one has the new result."""
    path, cache = restored
    source = path / "featsvc_kernels/codes.py"
    edited = MODULES["codes"].replace("10,", "30,")
    edit = f"import featsvc_kernels.codes\nopen({str(source)!r}, 'w').write({edited!r})\n"
    report = run(path, cache, edit + PROGRAM)
    assert (report["results"], report["folders"][1]) == (RESULTS, "")
    assert run(path, cache)["results"] == [6, 180, 105, 10]


def test_a_folder_that_is_not_writable_is_skipped(warm: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    home = {"XDG_CACHE_HOME": str(tmp_path / "home")}
    report = run(warm[0], file, **home)
    assert (report["results"], report["loaded"]) == (RESULTS, [])
    assert {Path(name).parent for name in report["folders"]} == {tmp_path / "home/featsvc"}
    assert run(warm[0], file, **home)["compiled"] == []
    nowhere = {"XDG_CACHE_HOME": str(file), "TMPDIR": str(tmp_path)}
    report = run(warm[0], file, **nowhere)
    assert (report["results"], report["folders"]) == (RESULTS, [""] * 4)
    assert [path.name for path in tmp_path.iterdir()] == ["file", "home"]
    assert not list(warm[0].rglob("*.nb?"))


@pytest.mark.parametrize("damage", [b"", b"\0", None])
def test_a_damaged_file_is_compiled_again(
    warm: tuple[Path, Path], tmp_path: Path, damage: bytes | None
) -> None:
    """Empty, zeros as after a loss of power, or one byte that is wrong."""
    shutil.copytree(warm[1], cache := tmp_path / "cache")
    for file in cache.rglob("*.code"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content if damage is None else damage * len(content))
    report = run(warm[0], cache)
    assert (report["results"], report["loaded"]) == (RESULTS, [])
    assert run(warm[0], cache)["compiled"] == []


@pytest.mark.parametrize("kind", ["zip", "pyc"])
def test_a_package_without_readable_sources_is_not_cached(kind: str, tmp_path: Path) -> None:
    path = copy_package(tmp_path / "path")
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "package.zip", "w") as archive:
            for source in path.rglob("*.py"):
                archive.write(source, source.relative_to(path))
        path = tmp_path / "package.zip"
    else:
        compileall.compile_dir(path, legacy=True, quiet=1)
        for source in path.rglob("*.py"):
            source.unlink()
    report = run(path, tmp_path / "cache", XDG_CACHE_HOME=str(tmp_path / "home"))
    assert (report["results"], report["folders"]) == (RESULTS, [""] * 4)
    assert not (tmp_path / "cache").exists()


def test_processes_may_compile_at_the_same_time(warm: tuple[Path, Path], tmp_path: Path) -> None:
    processes = [start(warm[0], tmp_path) for _ in range(3)]
    assert [finish(process)["results"] for process in processes] == [RESULTS] * 3
    report = run(warm[0], tmp_path)
    assert (report["results"], report["compiled"]) == (RESULTS, [])


def test_the_jit_may_be_off(warm: tuple[Path, Path], tmp_path: Path) -> None:
    program = "import json\nfrom featsvc_kernels.caller import scale\nprint(json.dumps(scale(5)))"
    assert run(warm[0], tmp_path, program, NUMBA_DISABLE_JIT="1") == 60


def test_a_new_folder_deletes_unused_ones_of_its_module(restored: tuple[Path, Path]) -> None:
    path, cache = restored
    months_ago = time.time() - 31 * 24 * 3600
    for name in ("leaf-old", "leaf-recent", "leafy-old"):
        (cache / f"featsvc_kernels.{name}/inside").mkdir(parents=True)
        if "old" in name:
            os.utime(cache / f"featsvc_kernels.{name}", (months_ago, months_ago))
    used = Path(run(path, cache)["folders"][3])
    os.utime(used, (months_ago, months_ago))
    assert run(path, cache)["compiled"] == []
    assert used.stat().st_mtime > months_ago + 1
    assert (cache / "featsvc_kernels.leaf-old").exists()
    (path / "featsvc_kernels/leaf.py").write_text(MODULES["leaf"] + "# edited\n")
    assert run(path, cache)["compiled"] == ["leaf"]
    left = {folder.name.partition("featsvc_kernels.")[2] for folder in cache.iterdir()}
    assert {"leaf-recent", "leafy-old"} < left
    assert "leaf-old" not in left
    assert used.exists()
