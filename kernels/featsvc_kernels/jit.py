"""Declares kernels: compiled for fixed signatures, without the GIL, cached by module.

A kernel is compiled when its module is imported, or loaded from `featsvc_kernels.machine_code`.
`featsvc_kernels.compiling` fills that cache by several processes before a program imports kernels.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba
from numba.core import config as numba_config

from featsvc_kernels.machine_code import FunctionCache

P = ParamSpec("P")
R = TypeVar("R")

# Numba types neither all options nor its configuration.
config: Any = numba_config
_njit: Any = numba.njit


def kernel(*signatures: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile eagerly for the given signatures: without the GIL, cached, NumPy's error model.

    Without a signature a function is a helper: compiled when a kernel that calls it is, as part of
    it, and not cached by itself. No fastmath: results equal those of the twin.

    Write loops where NumPy's `a[:] = b`, `sort` or `min` would do as well: Numba compiles those
    from Python, in each process, for a second or two each.
    """
    # Nobody calls kernels from C.
    jit = _njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True)

    def compile_function(function: Callable[P, R]) -> Callable[P, R]:
        if config.DISABLE_JIT:
            return function
        dispatcher = jit(function)
        if signatures:
            dispatcher._cache = FunctionCache(function)
        for signature in signatures:
            dispatcher.compile(signature)
        if signatures:
            dispatcher.disable_compile()
        return cast(Callable[P, R], dispatcher)

    return compile_function
