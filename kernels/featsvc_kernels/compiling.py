"""Compiles kernel modules once, in parallel, before a program imports them.

Numba compiles under the GIL, so each core needs a process. Children
(`python -m featsvc_kernels.compiling`) read names of modules from stdin, the longest first, and
import them, which fills the cache of `featsvc_kernels.machine_code`. The program then loads the
kernels, and so do its own children. Where no folder is writable the cache is a temporary one, which
lasts as long as this process. Whatever a child could not compile, the import compiles.
"""

import atexit
import ctypes
import gc
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from featsvc_kernels import machine_code
from featsvc_kernels.jit import config
from featsvc_kernels.sources import find_dependencies, fingerprint

SECONDS: Mapping[str, float] = {
    "colour": 1.0,
    "colour_layout": 1.0,
    "embedding": 1.1,
    "fold": 8.0,
    "framing": 4.6,
    "gist": 4.8,
    "hog": 1.7,
    "jarosz": 4.2,
    "minhash": 1.1,
    "near_copies": 6.3,
    "pdq": 10.0,
    "png": 5.5,
    "projection": 1.0,
    "resample": 3.4,
    "samples": 1.6,
    "search": 4.9,
    "segments": 2.2,
    "sketch": 3.5,
    "tilting": 1.0,
    "tlsh": 2.9,
    "vp8l": 7.2,
    "wavelet": 0.4,
}
"""Every module with kernels, and the seconds in which a core compiles it: an AMD EPYC 7003, one of
two virtual cores, November 2026."""
_START_S = 2.5
"""What a child takes to import Numba and load its tables."""
_MAX_PROCESSES = 4
"""A child takes 270 MB, and the longest modules are a sixth of all."""
_PACKAGE = "featsvc_kernels"  # not from __name__: this module also runs as __main__


def _full(module: str) -> str:
    return f"{_PACKAGE}.{module}"


def find_missing(modules: Collection[str] = SECONDS, *, portable: bool = False) -> list[str]:
    """Return those of `modules` that are not compiled; if `portable`, not for the baseline."""
    if config.DISABLE_JIT:
        return []
    find = machine_code.portable_folder if portable else machine_code.complete_folder
    return [module for module in modules if find(_full(module)) is None]


def can_cache(modules: Collection[str], *, portable: bool = False) -> bool:
    """Whether there is a folder that keeps the code of all `modules` for later starts."""
    return all(
        machine_code.writable_folder(_full(m), machine_code.target(portable)) for m in modules
    )


def unusable_baseline(modules: Collection[str]) -> list[str]:
    """Return the instructions that this CPU lacks for the portable code of one of `modules`."""
    has_code = any(machine_code.portable_folder(_full(m)) for m in modules)
    return machine_code.missing_features() if has_code else []


def find_cache() -> tuple[Path, str] | None:
    """Return the folder from which kernels are loaded, and their CPU; None if it will not last."""
    module = _full("pdq")
    folder = machine_code.complete_folder(module)
    if folder is None or str(folder.parent) == os.environ.get(machine_code.TEMPORARY_FOLDER):
        return None
    is_portable = folder == machine_code.portable_folder(module)
    return folder.parent, machine_code.target(is_portable).name


def estimate_s(modules: Collection[str]) -> float:
    """Return about how long `compile_modules` takes for one module or more: `SECONDS`, shared.

    Measured on idle cores; a slower or busy machine, or a container with a share of a core, takes
    longer.
    """
    seconds = [_unit_s(m, modules) for m in _units(modules)]
    return _START_S + max(*seconds, sum(seconds) / _processes(len(seconds)))


def _processes(units: int) -> int:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(cores, units, _MAX_PROCESSES))


def _imported(module: str) -> set[str]:
    """Return the modules with kernels that the import of `module` compiles."""
    names = find_dependencies(_full(module)) or set()
    return {m for m in SECONDS if _full(m) in names} | {module}


def _unit_s(module: str, missing: Collection[str]) -> float:
    return sum(SECONDS.get(m, 1.0) for m in _imported(module) if m in missing)


def _units(missing: Collection[str]) -> list[str]:
    """Return modules whose imports compile all of `missing`, the longest first."""
    inner = {other for module in missing for other in _imported(module) - {module}}
    return sorted({*missing} - inner, key=lambda m: -_unit_s(m, missing))


def compile_modules(
    modules: Collection[str],
    on_progress: Callable[[float], None] = lambda _: None,
    *,
    portable: bool = False,
) -> None:
    """Compile `modules` in child processes; call `on_progress` with the share done, up to 1.

    If `portable`, for the baseline instead of this machine's CPU. Raises nothing if a child dies:
    importing a module compiles what is missing.
    """
    if any(fingerprint(_full(module)) is None for module in modules):
        return
    environ = dict(os.environ)
    if portable:
        cpu = machine_code.baseline_cpu()
        environ |= {"NUMBA_CPU_NAME": cpu.name, "NUMBA_CPU_FEATURES": cpu.features}
    elif not can_cache(modules):
        folder = _temporary_folder()
        if folder is None:
            return
        environ[machine_code.TEMPORARY_FOLDER] = folder
    units = _units(modules)
    total_s = sum(_unit_s(unit, modules) for unit in units)
    done_s = 0.0
    for unit in _run_children(units, environ):
        done_s += _unit_s(unit, modules)
        on_progress(min(done_s / total_s, 1.0))


def _temporary_folder() -> str | None:
    """Create a cache for this process and its children; None if there is no room for one."""
    try:
        folder = tempfile.mkdtemp(prefix="featsvc-kernels-")
    except OSError:
        return None
    os.environ[machine_code.TEMPORARY_FOLDER] = folder
    machine_code.forget_folders()
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def _run_children(units: list[str], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield each of `units` when a child has compiled it; end when all children have ended."""
    running = 0
    waiting: SimpleQueue[str] = SimpleQueue()
    for unit in units:
        waiting.put(unit)
    results: SimpleQueue[str | None] = SimpleQueue()
    with ExitStack() as stack:
        for _ in range(_processes(len(units))):
            with suppress(OSError):
                child = stack.enter_context(_start_child(environ))
                thread = threading.Thread(target=_feed, args=(child, waiting, results))
                thread.start()
                stack.callback(thread.join)
                stack.callback(child.kill)
                running += 1
        while running:
            unit_done = results.get()
            if unit_done is None:
                running -= 1
            else:
                yield unit_done


def _start_child(environ: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - this interpreter, this module
        [sys.executable, "-m", __spec__.name, str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=dict(environ),
        bufsize=0,  # so that closing the pipe of a dead child has nothing to flush
    )


def _feed(
    child: "subprocess.Popen[bytes]",
    waiting: "SimpleQueue[str]",
    results: "SimpleQueue[str | None]",
) -> None:
    """Give a child one module after the other; put the finished ones into `results`, then None."""
    assert child.stdin is not None  # noqa: S101 (tells mypy)
    assert child.stdout is not None  # noqa: S101 (tells mypy)
    with suppress(OSError, ValueError):
        while unit := _next(waiting):
            child.stdin.write(f"{unit}\n".encode())
            line = child.stdout.readline()
            if not line:
                break
            results.put(line.decode().strip())
    results.put(None)


def _next(waiting: "SimpleQueue[str]") -> str | None:
    with suppress(Empty):
        return waiting.get_nowait()
    return None


def _die_with(parent: int) -> None:
    """End at once when the parent does; what is half compiled is not cached."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit()


def main() -> None:
    """Import the modules named on stdin; print each name when its code is cached."""
    _die_with(int(sys.argv[1]))
    # The terminal's Ctrl-C is for the parent, which then kills this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Fewer collections: 4 % of the time for 5 % more memory.
    gc.freeze()
    gc.set_threshold(50_000)
    for line in sys.stdin:
        module = line.strip()
        importlib.import_module(_full(module))
        for imported in _imported(module):
            machine_code.mark_complete(_full(imported))
        print(module, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
