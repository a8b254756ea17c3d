"""Plans of multi-index hashing: the chunks that hashes are cut into, and the radius of each chunk.

A `ChunkPlan` is fixed when an index is built: C chunks of nearly equal width, the wider first. The
radius is known only at query time. `radii` distributes it over the chunks by the general pigeonhole
principle (`featsvc_kernels.search`): sum(r_i + 1) = R + 1, with larger radii for wider chunks.

`choose_plan` takes the number of chunks with the least estimated time at the radius that the index
is built for. Few wide chunks give few candidates but many probes and large tables; many narrow
chunks give the opposite. The constants were fitted on uniform random hashes (10 k to 1 M rows).
They affect the choice, never the result.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

PROBE_NS = 12.0
CANDIDATE_NS = 8.5
SCAN_ROW_NS = 0.7
"""For 256 bits; other lengths in proportion."""
SCAN_BELOW_ROWS = 4096
"""Fewer rows are always scanned: an index does not pay for its tables."""
GIVE_UP_SHARE = 8
"""A query with more candidates than 1/8 of the rows is answered by a scan."""

_MIN_WIDTH, _MAX_WIDTH = 6, 24
_MAX_PROBES = 1 << 16
_INDEX_BYTES = 12 << 20
_INDEX_BYTES_PER_ROW = 76
"""Without the hash itself. The larger of the two limits applies."""


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """Hashes of `bits` bits, cut into adjacent chunks of these widths."""

    bits: int
    widths: tuple[int, ...]

    @classmethod
    def even(cls, bits: int, chunks: int) -> "ChunkPlan":
        """Cut `bits` into `chunks` whose widths differ by at most one, the wider first."""
        width, wider = divmod(bits, chunks)
        return cls(bits, (width + 1,) * wider + (width,) * (chunks - wider))

    @property
    def table_rows(self) -> int:
        """The number of elements of all `starts` tables together."""
        return sum((1 << width) + 1 for width in self.widths)

    def index_bytes(self, rows: int) -> int:
        """Return the memory of tables and postings."""
        return 4 * (self.table_rows + len(self.widths) * rows)

    def radii(self, radius: int) -> tuple[int, ...]:
        """Return r_i with sum(r_i + 1) = radius + 1; -1 skips a chunk."""
        each, rest = divmod(radius + 1, len(self.widths))
        return (each,) * rest + (each - 1,) * (len(self.widths) - rest)

    def probes(self, radius: int) -> int:
        """Return the number of posting lists that a query reads."""
        pairs = zip(self.widths, self.radii(radius), strict=True)
        return sum(ball(width, r) for width, r in pairs)

    def query_ns(self, rows: int, radius: int) -> float:
        """Estimate the time of a query among uniform random hashes."""
        total = 0.0
        for width, r in zip(self.widths, self.radii(radius), strict=True):
            total += ball(width, r) * (PROBE_NS + CANDIDATE_NS * rows / 2**width)
        return total


def ball(width: int, radius: int) -> int:
    """Return the number of keys of `width` bits within `radius` of a key."""
    return sum(comb(width, k) for k in range(min(radius, width) + 1))


def scan_ns(rows: int, bits: int) -> float:
    """Estimate the time of a scan."""
    return rows * SCAN_ROW_NS * max(bits, 128) / 256


def choose_plan(bits: int, rows: int, radius: int) -> ChunkPlan | None:
    """Return the fastest plan for `rows` hashes at `radius`; None where a scan is faster."""
    if rows < SCAN_BELOW_ROWS:
        return None
    best, best_ns = None, scan_ns(rows, bits)
    for chunks in range(max(1, -(-bits // _MAX_WIDTH)), bits // _MIN_WIDTH + 1):
        plan = ChunkPlan.even(bits, chunks)
        if plan.index_bytes(rows) > max(_INDEX_BYTES, _INDEX_BYTES_PER_ROW * rows):
            continue
        if plan.probes(radius) <= _MAX_PROBES and plan.query_ns(rows, radius) < best_ns:
            best, best_ns = plan, plan.query_ns(rows, radius)
    return best


def worth_probing(plan: ChunkPlan, rows: int, radius: int) -> bool:
    """Return whether probing is faster than a scan at this radius."""
    if plan.probes(radius) > _MAX_PROBES:
        return False
    return plan.query_ns(rows, radius) < scan_ns(rows, plan.bits)


@lru_cache(maxsize=256)
def masks(width: int, radius: int) -> NDArray[np.uint32]:
    """Return all numbers of `width` bits with at most `radius` bits set, ascending, read-only."""
    numbers = [
        sum(1 << bit for bit in bits)
        for k in range(min(radius, width) + 1)
        for bits in combinations(range(width), k)
    ]
    ascending = np.array(sorted(numbers), np.uint32)
    ascending.flags.writeable = False
    return ascending
