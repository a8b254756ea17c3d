"""One read from end to end: cut into pieces, sent, folded as the replies arrive.

A read of 1,000 entities takes Redis and the event loop many milliseconds. So a read is cut into
pieces of bounded work, and at most two of them are in flight, of all such reads together: one that
Redis works on, while the other is folded. Between two pieces, both have time for small reads. Large
reads take turns.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from featsvc_kernels.fold import derive

from featsvc.accounts.estimating import DistinctEstimate, by_work, find_saturated
from featsvc.accounts.events import EntityRef
from featsvc.accounts.pipelining import Command, Reply
from featsvc.accounts.read import ReadPlans, fold_replies
from featsvc.accounts.read_plan import ReadPlan
from featsvc.accounts.replies import is_wrong_type, raise_errors
from featsvc.accounts.table import FeatureStatus, FeatureTable, Selection

PIECE_WORK = 1024
"""Most work of a piece. The unit is a field of an HMGET."""
_ENTITY_WORK = 8
"""Work of a command beside its fields."""

_PIECES_IN_FLIGHT = 2

Execute = Callable[[Sequence[bytes], Sequence[Command]], Awaitable[list[Reply]]]
"""Sends commands[i] to the server of keys[i], and returns one reply each."""


def piece_gate() -> asyncio.Semaphore:
    """Return what limits the pieces in flight, of all reads that have more than one."""
    return asyncio.Semaphore(_PIECES_IN_FLIGHT)


# Frozen dataclasses would take a microsecond more each, of the 200 of a small read.
@dataclass(slots=True)
class _Group:
    """The entities of one kind in a read: their positions in it, and all rows of the plan."""

    plan: ReadPlan
    positions: Sequence[int]
    table: FeatureTable


@dataclass(slots=True)
class Piece:
    """Entities first .. last - 1 of a group, and one command for each."""

    group: _Group
    first: int
    last: int
    keys: list[bytes]
    commands: list[Command]


class FeatureRead:
    """One read of entities that passed check_entities().

    If `is_live`, everything stored counts as not later than `as_of_ms`, which then is the clock's.
    """

    def __init__(
        self,
        plans: ReadPlans,
        entities: Sequence[EntityRef],
        selection: Selection,
        as_of_ms: int,
        *,
        is_live: bool,
        gate: asyncio.Semaphore,
    ) -> None:
        """Plan the read. Raises InvalidInput for an unknown feature.

        `gate`, from piece_gate(), is shared by all reads of a store.
        """
        self._gate = gate
        self._entities = entities
        self._as_of_ms = as_of_ms
        self._is_live = is_live
        by_kind: dict[str, list[int]] = {}
        for i, ref in enumerate(entities):
            by_kind.setdefault(ref.entity, []).append(i)
        self._names = plans.names(selection, tuple(by_kind))
        self._groups = [
            self._group(plans.plan(self._names, kind), positions)
            for kind, positions in by_kind.items()
        ]
        self._pieces = self._cut()
        self.first = next(self._pieces)

    def _group(self, plan: ReadPlan, positions: Sequence[int]) -> _Group:
        rows = len(plan.folding) + len(plan.derived.defaults)
        shape = rows + (plan.rows is not None), len(positions)
        values, statuses = np.empty(shape), np.empty(shape, np.uint8)
        if plan.rows is not None:  # the row of features of other kinds of entity
            values[-1], statuses[-1] = np.nan, FeatureStatus.NOT_FOUND
        freshness_ms = np.empty(len(positions), np.int64)
        table = FeatureTable(self._names, values, statuses, freshness_ms, self._as_of_ms)
        return _Group(plan, positions, table)

    def _cut(self) -> Iterator[Piece]:
        for group in self._groups:
            plan, positions = group.plan, group.positions
            size = max(1, PIECE_WORK // (len(plan.fields) + _ENTITY_WORK))
            for first in range(0, len(positions), size):
                last = min(first + size, len(positions))
                pairs = [plan.command(self._entities[i].id) for i in positions[first:last]]
                keys, commands = [key for key, _ in pairs], [command for _, command in pairs]
                yield Piece(group, first, last, keys, commands)

    async def run(
        self, execute: Execute, first_replies: Sequence[Reply] | None = None
    ) -> FeatureTable:
        """Read all pieces; the caller may have sent `first` and received `first_replies`.

        An entity whose key is of a wrong type is DAMAGED. Raises what `execute` does, and
        Unavailable where the server refuses a command.
        """
        second = next(self._pieces, None)
        if second is None:
            await self._read(self.first, execute, first_replies)
        else:
            await self._read_all(self.first, second, execute, first_replies)
        return self._table()

    async def _read_all(
        self,
        first: Piece,
        second: Piece,
        execute: Execute,
        first_replies: Sequence[Reply] | None,
    ) -> None:
        """Read all pieces, two at a time."""

        async def work(piece: Piece, replies: Sequence[Reply] | None = None) -> None:
            async with self._gate:
                await self._read(piece, execute, replies)
            for other in self._pieces:
                async with self._gate:
                    await self._read(other, execute)

        tasks = [asyncio.create_task(work(first, first_replies))]
        try:
            # Not in the turn of the event loop in which the other one is sent: both would go into
            # one pipeline, and be answered at the same time.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            tasks.append(asyncio.create_task(work(second)))
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _read(
        self, piece: Piece, execute: Execute, replies: Sequence[Reply] | None = None
    ) -> None:
        if replies is None:
            replies = await execute(piece.keys, piece.commands)
        plan = piece.group.plan
        if refused := [reply for reply in replies if type(reply) is not list]:
            raise_errors(reply for reply in refused if not is_wrong_type(reply))
            replies = [r if type(r) is list else plan.damaged_reply for r in replies]
        table = piece.group.table.columns(piece.first, piece.last)
        folded = table.first_rows(len(plan.folding))
        fold_replies(plan, replies, folded, is_live=self._is_live)
        if plan.distinct:
            estimates = find_saturated(plan, piece.keys, replies, folded, is_live=self._is_live)
            for some in by_work(estimates, PIECE_WORK):
                await _estimate(some, execute)

    def _table(self) -> FeatureTable:
        """Compute the derived features; return rows and columns in the order of the request."""
        for group in self._groups:
            plan, table = group.plan, group.table
            if len(plan.derived.defaults):
                derive(*plan.derived, len(plan.folding), table.values, table.statuses)
        whole = self._groups[0]
        if len(self._groups) == 1 and whole.plan.rows is None:
            return whole.table
        shape = len(self._names), len(self._entities)
        values, statuses = np.empty(shape), np.empty(shape, np.uint8)
        freshness_ms = np.empty(len(self._entities), np.int64)
        for group in self._groups:
            rows = slice(None) if group.plan.rows is None else group.plan.rows
            columns = slice(None) if len(self._groups) == 1 else group.positions
            values[:, columns] = group.table.values[rows]
            statuses[:, columns] = group.table.statuses[rows]
            freshness_ms[columns] = group.table.freshness_ms
        return FeatureTable(self._names, values, statuses, freshness_ms, self._as_of_ms)


async def _estimate(estimates: Sequence[DistinctEstimate], execute: Execute) -> None:
    """Fetch sketches in one round trip, and store the counts."""
    commands = [command for estimate in estimates for command in estimate.commands]
    keys = [estimate.key for estimate in estimates for _ in estimate.commands]
    replies = await execute(keys, commands) if commands else []
    raise_errors(reply for reply in replies if not is_wrong_type(reply))
    start = 0
    for estimate in estimates:
        estimate.finish(replies[start : start + len(estimate.commands)])
        start += len(estimate.commands)
