"""Reads that come together become one read.

The first of them leads: it lets others join as long as they come, reads for all, and hands
each its columns. One command per entity goes out either way; what is saved is the work around it,
most of all one kernel call in place of many. Requests of a gRPC server come one a turn of the loop,
so a busy server would read one by one if the leader waited for one turn only.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from featsvc.accounts.events import EntityRef
from featsvc.accounts.table import FeatureTable, Selection

_MAX_JOINING_ENTITIES = 32
"""Entities in one request; larger ones gain nothing by joining."""
_MAX_SHARED_ENTITIES = 256
"""Entities read together, so that nobody waits long for others."""
_LONGEST_WAIT_S = 0.002
_TURNS_IDLE, _TURNS_BUSY = 3, 24
"""Turns of the event loop without a newcomer after which a read goes out, by whether anybody joined
one of the last few. An idle turn takes about 3 microseconds; a busy one brings others."""
_BUSY_READS = 8

Key = tuple[Selection, int | None, tuple[str, ...]]
ReadAll = Callable[[Sequence[EntityRef], Selection, int | None], Awaitable[FeatureTable]]


class _LeaderCancelled(Exception):
    """The leading call was cancelled; a follower starts over."""


@dataclass(slots=True)
class _SharedRead:
    entities: list[EntityRef]
    followers: list["asyncio.Future[FeatureTable]"] = field(default_factory=list)


class ReadCoalescer:
    """`read` performs one read; requests are valid by then."""

    def __init__(self, read: ReadAll) -> None:
        self._read = read
        self._open: dict[Key, _SharedRead] = {}
        self._busy = 0  # reads for which others are still expected

    async def get(
        self, entities: Sequence[EntityRef], selection: Selection, as_of_ms: int | None
    ) -> FeatureTable:
        """Read alone or together with whatever else asks for the same in this turn."""
        if len(entities) > _MAX_JOINING_ENTITIES:
            return await self._read(entities, selection, as_of_ms)
        # Without names the columns depend on the kinds of entity asked for.
        kinds = () if selection.names or selection.set else tuple({r.entity: 0 for r in entities})
        key = (selection, as_of_ms, kinds)
        while True:
            shared = self._open.get(key)
            if shared is None or len(shared.entities) + len(entities) > _MAX_SHARED_ENTITIES:
                return await self._lead(key, entities)
            first = len(shared.entities)
            shared.entities += entities
            future: asyncio.Future[FeatureTable] = asyncio.get_running_loop().create_future()
            shared.followers.append(future)
            try:
                return (await future).columns(first, first + len(entities))
            except _LeaderCancelled:
                continue

    async def _lead(self, key: Key, entities: Sequence[EntityRef]) -> FeatureTable:
        shared = self._open[key] = _SharedRead(list(entities))
        selection, as_of_ms, _ = key
        try:
            try:
                await self._until_nobody_joins(shared)
            finally:
                if self._open.get(key) is shared:
                    del self._open[key]
            table = await self._read(shared.entities, selection, as_of_ms)
        except BaseException as exc:
            for future in shared.followers:
                if not future.done():
                    failed = isinstance(exc, Exception)
                    future.set_exception(type(exc)(str(exc)) if failed else _LeaderCancelled())
            raise
        for future in shared.followers:
            if not future.done():
                future.set_result(table)
        return table.columns(0, len(entities)) if shared.followers else table

    async def _until_nobody_joins(self, shared: _SharedRead) -> None:
        give_up = time.perf_counter() + _LONGEST_WAIT_S
        wanted = _TURNS_BUSY if self._busy else _TURNS_IDLE
        turns = joined = 0
        while turns < wanted and time.perf_counter() < give_up:
            await asyncio.sleep(0)
            turns = turns + 1 if joined == len(shared.followers) else 0
            joined = len(shared.followers)
        self._busy = _BUSY_READS if joined else max(0, self._busy - 1)
