"""Numba kernels: pure functions over NumPy arrays, compiled, GIL-free.

Every kernel is declared with `kernel` (`featsvc_kernels.jit`), has an obvious NumPy twin in
module `reference_*` beside it, and leaves validation to its caller.
"""

from featsvc_kernels import sources as sources
