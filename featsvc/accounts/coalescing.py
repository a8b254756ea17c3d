"""Coalescing of concurrent reads into one.

A read that finds no other in flight starts at once. Else the first read leads: it waits while
others keep joining, reads for all of them, and returns to each its columns. Redis gets one command
per entity either way; coalescing saves the work around the commands, above all by one kernel call
instead of many. A gRPC server starts about one request per turn of the event loop, so a leader that
waited for a single turn would read alone even under load.
"""

import asyncio
import copy
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from featsvc.accounts.events import EntityRef
from featsvc.accounts.table import FeatureTable, Selection

_MAX_JOINING_ENTITIES = 32
"""Entities of a request that may join; larger requests gain nothing."""
_MAX_SHARED_ENTITIES = 256
"""Entities in one shared read, so that no request waits long for the others."""
_LONGEST_WAIT_S = 0.002
_TURNS_IDLE, _TURNS_BUSY = 3, 24
"""Turns of the event loop without a new follower after which a leader reads. It waits longer if
one of the last few reads had followers. An idle turn takes about 3 microseconds."""
_BUSY_READS = 8

Key = tuple[Selection, int | None, tuple[str, ...]]
ReadAll = Callable[[Sequence[EntityRef], Selection, int | None], Awaitable[FeatureTable]]


class _LeaderCancelled(Exception):
    """The leading call was cancelled; its followers start over."""


@dataclass(slots=True)
class _SharedRead:
    entities: list[EntityRef]
    followers: list["asyncio.Future[FeatureTable]"] = field(default_factory=list)


class ReadCoalescer:
    """Coalesces calls of `read`, which performs one read of a valid request."""

    def __init__(self, read: ReadAll) -> None:
        self._read = read
        self._open: dict[Key, _SharedRead] = {}
        self._busy = 0  # the number of next reads that still expect followers
        self._in_flight = 0

    async def get(
        self, entities: Sequence[EntityRef], selection: Selection, as_of_ms: int | None
    ) -> FeatureTable:
        """Read alone, or together with concurrent reads of the same selection and time."""
        if len(entities) > _MAX_JOINING_ENTITIES:
            return await self._count_read(entities, selection, as_of_ms)
        if not (self._in_flight or self._busy or self._open):
            return await self._count_read(entities, selection, as_of_ms)
        # Without names, the features depend on the kinds of entity in the request.
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
                await self._wait_for_followers(shared)
            finally:
                if self._open.get(key) is shared:
                    del self._open[key]
            table = await self._count_read(shared.entities, selection, as_of_ms)
        except BaseException as exc:
            for future in shared.followers:
                if not future.done():
                    # A copy each: a traceback grows with every task that raises its exception.
                    failed = isinstance(exc, Exception)
                    future.set_exception(copy.copy(exc) if failed else _LeaderCancelled())
            raise
        for future in shared.followers:
            if not future.done():
                future.set_result(table)
        return table.columns(0, len(entities)) if shared.followers else table

    async def _count_read(
        self, entities: Sequence[EntityRef], selection: Selection, as_of_ms: int | None
    ) -> FeatureTable:
        self._in_flight += 1
        try:
            return await self._read(entities, selection, as_of_ms)
        finally:
            self._in_flight -= 1

    async def _wait_for_followers(self, shared: _SharedRead) -> None:
        deadline = time.perf_counter() + _LONGEST_WAIT_S
        quiet_turns = _TURNS_BUSY if self._busy else _TURNS_IDLE
        turns = followers = 0
        while turns < quiet_turns and time.perf_counter() < deadline:
            await asyncio.sleep(0)
            turns = turns + 1 if followers == len(shared.followers) else 0
            followers = len(shared.followers)
        self._busy = _BUSY_READS if followers else max(0, self._busy - 1)
