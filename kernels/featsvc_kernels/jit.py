"""Compiles kernels, and caches their machine code by module.

Numba's cache checks the file of a function, not the files of the functions it calls: after an edit
in another module a cached caller would still run the old code. So each module has its own folder,
`MODULE-KEY`. The key is a hash of the module's source, the sources of the modules it imports
(`featsvc_kernels.sources`), the versions of Python, NumPy and Numba, and the CPU. An edit
recompiles the edited module and its importers. A new folder deletes those of the same module that
no process has opened for 30 days.

The folders are in the first writable one of `$NUMBA_CACHE_DIR`, `$XDG_CACHE_HOME/featsvc` (by
default `~/.cache/featsvc`). Each process compiles for itself, and caches nothing, if none is
writable, if sources cannot be read (a zip file, only `.pyc` files) or if they have changed since
the process started.
"""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import llvmlite
import numba
import numpy as np
from numba.core import config as numba_config
from numba.core.registry import cpu_target

from featsvc_kernels.sources import fingerprint

P = ParamSpec("P")
R = TypeVar("R")

config: Any = numba_config  # untyped
_UNUSED_S = 30 * 24 * 3600
_config_lock = threading.Lock()


def _key(module: str) -> str | None:
    sources = fingerprint(module)
    if sources is None:
        return None
    cpu = cpu_target.target_context.codegen().magic_tuple()
    versions = sys.version, np.__version__, llvmlite.__version__, numba.__version__
    return sha256(repr((sources, versions, cpu)).encode()).hexdigest()[:16]


def _remove_unused(root: Path, module: str) -> None:
    for folder in root.glob(f"{module}-*"):
        with suppress(OSError):
            if folder.stat().st_mtime < time.time() - _UNUSED_S:
                shutil.rmtree(folder)


@cache
def cache_folder(module: str) -> Path | None:
    """Return the folder of a module's machine code, which it creates; None if there is no cache.

    `module` is the full name of a module of this package.
    """
    key = _key(module)
    if key is None:
        return None
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    roots = [os.environ.get("NUMBA_CACHE_DIR", ""), os.path.join(home, "featsvc")]
    for root in map(Path, filter(None, roots)):
        folder = root / f"{module}-{key}"
        try:
            is_new = not folder.exists()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.utime(folder)
        except OSError:
            continue
        if is_new:
            _remove_unused(root, module)
        if os.access(folder, os.W_OK):
            return folder
    return None


def _enable_cache(dispatcher: Any, folder: Path) -> bool:
    """Let Numba cache a function in `folder`; return whether it does.

    If it cannot write there it chooses another folder, where no key excludes old code.
    """
    with _config_lock:
        before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
        try:
            dispatcher.enable_caching()
        finally:
            config.CACHE_DIR = before
    return folder in Path(dispatcher.stats.cache_path).parents


def kernel(*signatures: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile eagerly for the given signatures: without the GIL, cached, NumPy's error model.

    Without a signature a function is compiled on first use. Only helpers that no other module
    calls may do that: Numba's cache needs processes to compile signatures in the same order. No
    fastmath: results equal those of the twin.
    """
    jit = numba.njit(nogil=True, error_model="numpy")

    def compile_function(function: Callable[P, R]) -> Callable[P, R]:
        if config.DISABLE_JIT:
            return function
        dispatcher = jit(function)
        folder = cache_folder(function.__module__)
        if folder is not None and not _enable_cache(dispatcher, folder):
            dispatcher = jit(function)
        for signature in signatures:
            dispatcher.compile(signature)
        if signatures:
            dispatcher.disable_compile()
        return cast(Callable[P, R], dispatcher)

    return compile_function
