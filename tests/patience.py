"""How long tests wait for what must happen: far longer than a busy machine needs.

A test that runs out of patience has found a fault, not a load. No test asserts that something is
quick; what must not wait is given limits so long that waiting would be seen.
"""

import time
from collections.abc import Callable

# Below pytest's own timeout (pyproject.toml), so that the test says what it waited for.
PATIENCE_S = 300
PATIENCE_MS = 1000 * PATIENCE_S


def until(condition: Callable[[], object], failure: str = "it did not happen") -> None:
    """Poll `condition` until it is true. Raises AssertionError with `failure` after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{failure} within {PATIENCE_S} s"
        time.sleep(0.02)
