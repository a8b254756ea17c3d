"""How every kernel is compiled, and where the machine code is kept.

Numba's disk cache watches the file of a function, not the files of the functions it calls: after
an edit in another module a cached caller keeps running the old code. So the cache folder carries
a hash of all kernel sources, and an edit anywhere starts a fresh one. `NUMBA_CACHE_DIR` chooses
the folder above it; else `$XDG_CACHE_HOME/featsvc`, else `~/.cache/featsvc`, else (read-only
home) the temporary folder.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
from numba.core import config

P = ParamSpec("P")
R = TypeVar("R")


def _sources_hash() -> str:
    digest = hashlib.sha256(f"numba {numba.__version__}".encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_dir() -> Path:
    leaf = f"numba-{_sources_hash()}"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    roots = [os.environ.get("NUMBA_CACHE_DIR", ""), os.path.join(home, "featsvc")]
    for root in filter(None, roots):
        path = Path(root, leaf)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(path, os.W_OK):
            return path
    # Not a fixed name in a shared folder: cached machine code must be ours alone.
    return Path(tempfile.mkdtemp(prefix="featsvc-numba-"))


CACHE_DIR = _cache_dir()
"""Where this version's machine code is kept."""

config.CACHE_DIR = str(CACHE_DIR)  # type: ignore[attr-defined]


def kernel(*signatures: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile eagerly for the given signatures: no GIL, cached on disk, NumPy's error model.

    Without a signature the function is compiled on first use; only helpers that other kernels
    call may do so. No fastmath: results equal the twin's.
    """
    options: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}
    jit = numba.njit(list(signatures), **options) if signatures else numba.njit(**options)
    return cast(Callable[[Callable[P, R]], Callable[P, R]], jit)
