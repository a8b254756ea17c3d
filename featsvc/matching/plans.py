"""How a table of hashes is cut into chunks, and how far each chunk is searched.

`ChunkPlan` is fixed when an index is built: C chunks of nearly equal width, the wider first. The
radius is known per query only: `radii` spreads it over the chunks by the general pigeonhole
principle (`featsvc_kernels.search`): sum(r_i + 1) = R + 1, the wider chunks further.

The number of chunks is the one with the least estimated time at the radius that the index is
built for. Few wide chunks make few candidates but many probes and large tables; many narrow ones
the opposite. The constants were fitted on uniform random hashes (10 k to 1 M rows); they steer the
choice, never the result.
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
"""Of 256 bits; others in proportion."""
SCAN_BELOW_ROWS = 4096
"""An index over fewer rows is never worth its tables."""
GIVE_UP_SHARE = 8
"""A query with more candidates than 1/8 of the rows is scanned."""

_MIN_WIDTH, _MAX_WIDTH = 6, 24
_MAX_PROBES = 1 << 16
_INDEX_BYTES = 12 << 20
_INDEX_BYTES_PER_ROW = 76
"""Besides the hash; the larger of the two limits holds."""


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """`bits` cut into chunks of these widths, in this order, without a gap."""

    bits: int
    widths: tuple[int, ...]

    @classmethod
    def even(cls, bits: int, chunks: int) -> "ChunkPlan":
        width, wider = divmod(bits, chunks)
        return cls(bits, (width + 1,) * wider + (width,) * (chunks - wider))

    @property
    def table_rows(self) -> int:
        """Entries of all `starts` tables together."""
        return sum((1 << width) + 1 for width in self.widths)

    def index_bytes(self, rows: int) -> int:
        """Memory of tables and postings."""
        return 4 * (self.table_rows + len(self.widths) * rows)

    def radii(self, radius: int) -> tuple[int, ...]:
        """r_i with sum(r_i + 1) = radius + 1; -1 leaves a chunk out."""
        each, further = divmod(radius + 1, len(self.widths))
        return (each,) * further + (each - 1,) * (len(self.widths) - further)

    def probes(self, radius: int) -> int:
        """Posting lists that a query reads."""
        pairs = zip(self.widths, self.radii(radius), strict=True)
        return sum(ball(width, r) for width, r in pairs)

    def query_ns(self, rows: int, radius: int) -> float:
        """Estimated time of a query among uniform random hashes."""
        total = 0.0
        for width, r in zip(self.widths, self.radii(radius), strict=True):
            total += ball(width, r) * (PROBE_NS + CANDIDATE_NS * rows / 2**width)
        return total


def ball(width: int, radius: int) -> int:
    """Keys of `width` bits within `radius` of one of them."""
    return sum(comb(width, k) for k in range(min(radius, width) + 1))


def scan_ns(rows: int, bits: int) -> float:
    return rows * SCAN_ROW_NS * max(bits, 128) / 256


def choose_plan(bits: int, rows: int, radius: int) -> ChunkPlan | None:
    """The fastest plan for `rows` hashes searched to `radius`; None where a scan is faster."""
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
    """Whether probing beats a scan at this radius."""
    if plan.probes(radius) > _MAX_PROBES:
        return False
    return plan.query_ns(rows, radius) < scan_ns(rows, plan.bits)


@lru_cache(maxsize=256)
def masks(width: int, radius: int) -> NDArray[np.uint32]:
    """Every number of `width` bits with at most `radius` of them set, ascending."""
    found = [
        sum(1 << bit for bit in bits)
        for k in range(min(radius, width) + 1)
        for bits in combinations(range(width), k)
    ]
    made = np.array(sorted(found), np.uint32)
    made.flags.writeable = False
    return made
