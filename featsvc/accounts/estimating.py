"""Distinct counts beyond the exact cap: the sketches of the buckets in a window, and the list.

A count whose list has lost members of its window takes a second round trip. It fetches the sketches
of the buckets in the window, and of an entity that an old service has written to since, the
HyperLogLogs that such a service keeps as keys of their own.
"""

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
from featsvc_kernels import fold_codes as codes
from featsvc_kernels import sketch
from numpy.typing import NDArray

from featsvc.accounts.events import MAX_SKEW_MS
from featsvc.accounts.layout import OLD_META_BYTES
from featsvc.accounts.pipelining import Command, Reply
from featsvc.accounts.read_plan import DistinctRing, ReadPlan
from featsvc.accounts.table import FeatureTable

_SKETCH_WORK = 8
"""Work of a sketch, of 1.5 kB or less: fields of an HMGET that take as long."""
_LEGACY_WORK = 32
"""Work of a HyperLogLog, of 12 kB or less."""
_MEMBER = np.dtype([("member", "<u8"), ("seen", "<f8")])
_LIST_HEADER_BYTES = 8
_BUCKET_BYTES = 4


class DistinctEstimate:
    """The saturated counts of one entity that share a ring; each takes the same sketches."""

    def __init__(
        self,
        key: bytes,
        ring: DistinctRing,
        reply: Sequence[bytes | None],
        table: FeatureTable,
        column: int,
        *,
        is_live: bool,
    ) -> None:
        """`reply` is that of the HMGET; the counts are cells of a column of `table`."""
        self.key = key
        self._ring = ring
        self._table = table
        self._column = column
        self._as_of_ms = table.as_of_ms
        self._members = np.frombuffer((reply[ring.list_part] or b"")[_LIST_HEADER_BYTES:], _MEMBER)
        self._rows = [
            (row, window_ms) for row, window_ms in ring.rows if _is_saturated(table, row, column)
        ]
        # The rows are in the order of their windows.
        low, high = ring.buckets(self._rows[-1][1], self._as_of_ms)
        if is_live and ring.width_ms:  # clocks may disagree
            high = (self._as_of_ms + MAX_SKEW_MS) // ring.width_ms
        known = np.frombuffer(reply[ring.index_part] or b"", "<u4")
        self.buckets = known[(known >= low) & (known <= high)].tolist()
        is_legacy = len(reply[codes.META_PART] or b"") == OLD_META_BYTES
        self.legacy_buckets = range(low, high + 1) if is_legacy else range(0)
        self.work = _SKETCH_WORK * len(self.buckets) + _LEGACY_WORK * len(self.legacy_buckets)
        self.commands: list[Command] = []
        if self.buckets:
            fields = (b"%b#%d" % (ring.stem, bucket) for bucket in self.buckets)
            self.commands.append(("HMGET", key, *fields))
        stem = b"%b:%b" % (key, ring.stem)
        # One GET each, not an MGET, which fails while a slot moves.
        self.commands += [("GET", b"%b%d" % (stem, bucket)) for bucket in self.legacy_buckets]

    def finish(self, replies: Sequence[Reply]) -> None:
        """Store the counts from the replies to `commands`; may find that the entity is DAMAGED."""
        if self._table.statuses[0, self._column] == codes.DAMAGED:
            return  # another estimate has found it
        if self.buckets and not isinstance(replies[0], list):
            self._table.set_damaged(self._column)  # something else has replaced the hash since
            return
        sources = self._sources(replies)
        registers = np.zeros(sketch.REGISTERS, np.uint8)
        at = 0
        for row, window_ms in self._rows:
            low, _ = self._ring.buckets(window_ms, self._as_of_ms)
            while at < len(sources) and sources[at][0] >= low:
                _, stored, is_legacy = sources[at]
                add = sketch.add_redis_hyperloglog if is_legacy else sketch.add_sketch
                if not add(np.frombuffer(stored, np.uint8), registers):
                    self._table.set_damaged(self._column)
                    return
                at += 1
            after_ms = self._as_of_ms - window_ms if self._ring.width_ms else -1
            members = self._members["member"][self._members["seen"] > after_ms]
            sketch.add_members(np.ascontiguousarray(members), registers)
            self._store(row, registers)

    def _sources(self, replies: Sequence[Reply]) -> list[tuple[int, bytes, bool]]:
        """Return bucket, bytes, and whether they are a HyperLogLog; the newest bucket first."""
        sources: list[tuple[int, bytes, bool]] = []
        if self.buckets:
            fields = cast(list[bytes | None], replies[0])
            sources += [(b, s, False) for b, s in zip(self.buckets, fields, strict=True) if s]
        legacy = replies[len(replies) - len(self.legacy_buckets) :]
        sources += [
            (bucket, stored, True)
            for bucket, stored in zip(self.legacy_buckets, legacy, strict=True)
            if isinstance(stored, bytes)
        ]
        return sorted(sources, key=lambda source: -source[0])

    def _store(self, row: int, registers: NDArray[np.uint8]) -> None:
        """Store an estimate; the members of the list are a lower bound."""
        values, statuses = self._table.values, self._table.statuses
        estimate = round(sketch.estimate(registers))
        values[row, self._column] = max(values[row, self._column], estimate)
        if statuses[row, self._column] == codes.SATURATED_WARMING:
            statuses[row, self._column] = codes.WARMING


def _is_saturated(table: FeatureTable, row: int, column: int) -> bool:
    return table.statuses[row, column] in (codes.SATURATED, codes.SATURATED_WARMING)


def find_saturated(
    plan: ReadPlan,
    keys: Sequence[bytes],
    replies: Sequence[Reply],
    table: FeatureTable,
    *,
    is_live: bool,
) -> list[DistinctEstimate]:
    """Return what is to be estimated in a table of `plan` that was folded from `replies`.

    An entity whose index of sketches is damaged becomes DAMAGED.
    """
    found = []
    for ring in plan.distinct:
        statuses = table.statuses[[row for row, _ in ring.rows]]
        saturated = (statuses == codes.SATURATED) | (statuses == codes.SATURATED_WARMING)
        for column in np.flatnonzero(saturated.any(axis=0)).tolist():
            reply = cast(list[bytes | None], replies[column])
            if len(reply[ring.index_part] or b"") % _BUCKET_BYTES:
                table.set_damaged(column)
            else:
                found.append(
                    DistinctEstimate(keys[column], ring, reply, table, column, is_live=is_live)
                )
    return found


def by_work(estimates: Sequence[DistinctEstimate], limit: int) -> Iterator[list[DistinctEstimate]]:
    """Yield estimates in groups whose work is within `limit`, or that are one estimate."""
    group: list[DistinctEstimate] = []
    work = 0
    for estimate in estimates:
        if group and work + estimate.work > limit:
            yield group
            group, work = [], 0
        group.append(estimate)
        work += estimate.work
    if group:
        yield group
