"""Machine code on disk: where it is, whose CPU it is for, and Numba's access to it.

Numba's own cache checks the file of a function, not the files of the functions it calls: after an
edit in another module a cached caller would still run the old code. Nor does it read what it cannot
write. So each module has its own folder, `MODULE-KEY`, of these files:

    FUNCTION-HASH.code   SHA-256 of the rest, then Numba's pickled result for one signature
    complete             says that every kernel of the module is there

The key is a hash of the module's source, the sources of the modules it imports
(`featsvc_kernels.sources`), the versions of Python, NumPy and Numba, and the CPU. An edit
recompiles the edited module and its importers. Files appear whole, by renaming, and processes that
compile the same one write the same. A new folder deletes those of the same module that no process
has opened for 30 days.

The folders are in `$NUMBA_CACHE_DIR` and `$XDG_CACHE_HOME/featsvc` (by default `~/.cache/featsvc`):
code is read from both, and written to the first that is writable. Nothing is cached if sources
cannot be read (a zip file, only `.pyc` files) or if they have changed since the process started.

Code is compiled for the CPU of this machine. What `featsvc_kernels.compiling` has compiled for the
*baseline* (x86-64-v3, on other architectures the generic CPU) is read where there is no better, by
every CPU that has the baseline's instructions. An image has such code.
"""

import os
import pickle
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from sys import version as python_version
from typing import Any, NamedTuple
from uuid import uuid4

import llvmlite
import numba
import numpy as np
from numba.core import caching, compiler, serialize
from numba.core.registry import cpu_target

from featsvc_kernels.sources import fingerprint

TEMPORARY_FOLDER = "_FEATSVC_KERNELS"
"""The variable by which a process shares a temporary cache with its children."""
_COMPLETE = "complete"
_DIGEST_BYTES = 32
_unsaved: set[str] = set()  # modules with a kernel that this process could not write
_UNUSED_S = 30 * 24 * 3600

# Numba's internals are untyped.
_numba_cache: Any = caching._Cache
_compile_result: Any = compiler.CompileResult
_serialize: Any = serialize


class Cpu(NamedTuple):
    """A target of LLVM. `features` are `+name` or `-name`, with commas between."""

    triple: str
    name: str
    features: str


# Haswell (2013), Excavator (2015) and later, by the names of LLVM.
_X86_64_V3 = (
    "avx avx2 bmi bmi2 cx16 f16c fma lzcnt movbe popcnt sahf sse3 sse4.1 sse4.2 ssse3 xsave"
)


@cache
def native_cpu() -> Cpu:
    """Return the CPU that Numba compiles for: this machine's, unless `NUMBA_CPU_NAME` is set."""
    return Cpu(*cpu_target.target_context.codegen().magic_tuple())


def baseline_cpu() -> Cpu:
    """Return the oldest CPU that portable code of this architecture runs on."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return Cpu(native_cpu().triple, "x86-64-v3" if is_x86 else "generic", "")


def target(portable: bool) -> Cpu:
    """Return the CPU to compile for."""
    return baseline_cpu() if portable else native_cpu()


def missing_features() -> list[str]:
    """Return the instructions of the baseline that this CPU lacks, by their names in LLVM."""
    has = set(native_cpu().features.split(","))
    needed = _X86_64_V3.split() if baseline_cpu().name == "x86-64-v3" else []
    return [] if native_cpu() == baseline_cpu() else [f for f in needed if f"+{f}" not in has]


def _roots() -> Iterator[Path]:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    temporary, shared = (os.environ.get(name) for name in (TEMPORARY_FOLDER, "NUMBA_CACHE_DIR"))
    yield from map(Path, filter(None, (temporary, shared, os.path.join(home, "featsvc"))))


@cache
def _name(module: str, cpu: Cpu) -> str | None:
    sources = fingerprint(module)
    if sources is None:
        return None
    versions = python_version, np.__version__, llvmlite.__version__, numba.__version__
    key = sha256(repr((sources, versions, tuple(cpu))).encode()).hexdigest()[:16]
    return f"{module}-{key}"


def _remove_unused(root: Path, module: str) -> None:
    for folder in root.glob(f"{module}-*"):
        with suppress(OSError):
            if folder.stat().st_mtime < time.time() - _UNUSED_S:
                shutil.rmtree(folder)


@cache
def writable_folder(module: str, cpu: Cpu | None = None) -> Path | None:
    """Return the folder for new machine code of a module, which it creates; None if there is none.

    `module` is the full name of a module of this package, `cpu` the native one by default.
    """
    name = _name(module, cpu or native_cpu())
    if name is None:
        return None
    for root in _roots():
        folder = root / name
        try:
            is_new = not folder.exists()
            # Others may read it: what root has compiled, any user of an image starts from.
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            os.utime(folder)
        except OSError:
            continue
        if is_new:
            _remove_unused(root, module)
        if os.access(folder, os.W_OK):
            return folder
    return None


def _folders(module: str, cpu: Cpu) -> Iterator[Path]:
    name = _name(module, cpu)
    return (root / name for root in _roots() if name is not None)


def _readable_folders(module: str) -> list[Path]:
    """Return where the code of a module may be, the best first."""
    cpus = [native_cpu()] if missing_features() else [native_cpu(), baseline_cpu()]
    return [
        folder for cpu in cpus for folder in _folders(module, cpu) if os.access(folder, os.R_OK)
    ]


def complete_folder(module: str) -> Path | None:
    """Return a folder that this process may read and that has every kernel of the module."""
    return next((f for f in _readable_folders(module) if (f / _COMPLETE).exists()), None)


def portable_folder(module: str) -> Path | None:
    """Return a folder that has every kernel of the module, compiled for the baseline."""
    found = _folders(module, baseline_cpu())
    return next((f for f in found if (f / _COMPLETE).exists()), None)


def mark_complete(module: str) -> None:
    """Record that every kernel of a module, which this process has imported, is cached."""
    folder = writable_folder(module)
    if folder is not None and module not in _unsaved and complete_folder(module) is None:
        with suppress(OSError):
            (folder / _COMPLETE).touch()


def forget_folders() -> None:
    """Look for folders again, after the environment has changed."""
    writable_folder.cache_clear()


class FunctionCache(_numba_cache):  # type: ignore[misc]
    """The cache of one function's dispatcher: a file per signature in the folders of its module."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._module = function.__module__
        cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
        self._identity = function.__code__.co_code, _serialize.dumps(cells)
        self._label = function.__qualname__.replace("<", "").replace(">", "")

    @property
    def cache_path(self) -> str:
        """The folder for new code; empty if there is none."""
        return str(writable_folder(self._module) or "")

    def _file_name(self, signature: object) -> str:
        identity = repr((str(signature), *self._identity)).encode()
        return f"{self._label}-{sha256(identity).hexdigest()[:16]}.code"

    def load_overload(self, signature: object, target_context: Any) -> Any:
        """Return the result of an earlier compilation, or None."""
        target_context.refresh()
        for folder in _readable_folders(self._module):
            with suppress(OSError):
                data = (folder / self._file_name(signature)).read_bytes()
                digest, payload = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
                # A disk that lost power may hold a file of zeros.
                if sha256(payload).digest() == digest:
                    return _compile_result._rebuild(target_context, *pickle.loads(payload))  # noqa: S301
        return None

    def save_overload(self, signature: object, result: Any) -> None:
        """Write a result, if there is a folder with room for it."""
        folder = writable_folder(self._module)
        if folder is None or result.library.has_dynamic_globals:
            _unsaved.add(self._module)
            return
        payload = _serialize.dumps(result._reduce())
        path = folder / self._file_name(signature)
        unfinished = path.with_suffix(f".{uuid4().hex}")
        try:
            unfinished.write_bytes(sha256(payload).digest() + payload)
            unfinished.replace(path)
        except OSError:
            _unsaved.add(self._module)
            with suppress(OSError):
                unfinished.unlink()

    def enable(self) -> None:
        """Do nothing: a dispatcher without a cache has another object."""

    def disable(self) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing: a file is for one version of the sources."""
