"""Numba kernels: pure functions over NumPy arrays, compiled, without the GIL.

Every kernel is declared with `kernel` (`featsvc_kernels.jit`) and has a simple NumPy twin in a
`reference_*` module. Callers validate the arguments.
"""

from featsvc_kernels import sources as sources
