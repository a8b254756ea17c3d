"""Benchmarks. docs/benchmarks.md says how to run them, and on which machines figures were measured.

- `bench_*.py`: cases for pytest, each measured by the fixture `compare` (compare.py);
- modules with a `main`: longer measurements, `python -m bench.NAME --help`.
"""

import sys
from importlib.util import find_spec

# One package of each group that `make install` adds to those of featsvc.
_missing = [
    p for p in ("numba", "featsvc_client", "skimage", "psutil", "pytest") if not find_spec(p)
]
if _missing:
    sys.exit(
        f"bench: {sys.executable} has no {', '.join(_missing)}. Run `make install`, then use "
        ".venv/bin/python instead."
    )
