"""Events from a Redis Stream, for platforms that feed them without waiting.

    XADD featsvc:events * event '{"event_id": "e1", "type": "upload", ...}'

Each entry holds one event, as a line of `featsvc features ingest` would. Members of one consumer
group share the stream. An entry is acknowledged after it was applied, so nothing is lost when a
consumer dies; it is delivered again, and event ids see to it that it counts once. What cannot be
read or is refused, and what was delivered `max_tries` times without an end, moves to
`<stream>:dead` with the reason.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError, ResponseError

from featsvc.accounts.events import Event, EventResult, EventStatus, parse_event_line
from featsvc.accounts.store import FeatureStore
from featsvc.accounts.topology import close_client, open_client
from featsvc.errors import FeatsvcError, InvalidInput, Unavailable

_log = logging.getLogger(__name__)
_BLOCK_MS = 1000
_BATCH = 500
_PAUSE_S = 0.5
_MAX_DEAD = 100_000
"""Dead letters kept; the oldest make room."""

Entry = tuple[bytes, bytes]
"""Id, and the event as text; empty where it has none."""


@dataclass(slots=True)
class ConsumerCounts:
    """What became of the entries so far."""

    applied: int = 0
    dead: int = 0


class StreamConsumer:
    """One member of a consumer group. `retry_after_ms` without an acknowledgement, an entry is
    taken over from whoever had it."""

    def __init__(
        self,
        url: str,
        store: FeatureStore,
        *,
        stream: str = "featsvc:events",
        group: str = "featsvc",
        max_tries: int = 5,
        retry_after_ms: int = 10_000,
    ) -> None:
        """`url` is where the stream is, which need not be where the features are."""
        self.counts = ConsumerCounts()
        self._store = store
        self._stream = stream
        self._dead = f"{stream}:dead"
        self._group = group
        self._name = f"{socket.gethostname()}-{os.getpid()}-{id(self):x}"
        self._max_tries = max_tries
        self._retry_after_ms = retry_after_ms
        # A client of its own: a blocking read holds up its connection.
        self._client = open_client(url, timeout_s=_BLOCK_MS / 1000 * 3)

    async def run(self) -> None:
        """Consume until cancelled. Outages are waited out; the rest is delivered again."""
        try:
            while True:
                try:
                    await self._turn()
                except (FeatsvcError, RedisError, OSError) as exc:
                    _log.warning("stream %s: %s", self._stream, exc)
                    await asyncio.sleep(_PAUSE_S)
        finally:
            await close_client(self._client)

    async def _turn(self) -> None:
        entries = await self._take_over() or await self._read()
        if entries:
            await self._apply(entries)

    async def _read(self) -> list[Entry]:
        try:
            read: Any = await self._client.xreadgroup(
                self._group, self._name, {self._stream: ">"}, count=_BATCH, block=_BLOCK_MS
            )
        except ResponseError as exc:
            if not str(exc).startswith("NOGROUP"):
                raise
            await self._client.xgroup_create(self._stream, self._group, id="0", mkstream=True)
            return []
        return [_entry(entry) for _, entries in read for entry in entries]

    async def _take_over(self) -> list[Entry]:
        """Entries that somebody read and never acknowledged; those tried too often are buried."""
        try:
            pending: Any = await self._client.xpending_range(
                self._stream, self._group, "-", "+", _BATCH, idle=self._retry_after_ms
            )
        except ResponseError as exc:
            if not str(exc).startswith("NOGROUP"):
                raise
            return []  # the read that follows makes it
        if not pending:
            return []
        tries = {entry["message_id"]: entry["times_delivered"] for entry in pending}
        claimed: Any = await self._client.xclaim(
            self._stream, self._group, self._name, self._retry_after_ms, list(tries)
        )
        fresh = []
        for id_, text in map(_entry, claimed):
            if tries[id_] >= self._max_tries:
                await self._bury(id_, text, f"not applied after {self._max_tries} deliveries")
            else:
                fresh.append((id_, text))
        return fresh

    async def _apply(self, entries: Sequence[Entry]) -> None:
        events: list[Event] = []
        ids: list[Entry] = []
        for id_, text in entries:
            try:
                event = parse_event_line(text)
            except InvalidInput as exc:
                await self._bury(id_, text, str(exc))
            else:
                events.append(event)
                ids.append((id_, text))
        done = []
        for (id_, text), result in zip(ids, await self._ingest(events), strict=True):
            if result.status is EventStatus.REJECTED:
                await self._bury(id_, text, result.reason)
            elif result.status is not EventStatus.INCOMPLETE:
                done.append(id_)
        if done:
            await self._client.xack(self._stream, self._group, *done)
            self.counts.applied += len(done)

    async def _ingest(self, events: Sequence[Event]) -> list[EventResult]:
        """Apply, again and again while the feature store is away: this is not the events' fault."""
        while True:
            try:
                return await self._store.ingest(events)
            except Unavailable as exc:
                _log.warning("stream %s: waiting for the store: %s", self._stream, exc)
                await asyncio.sleep(_PAUSE_S)

    async def _bury(self, id_: bytes, text: bytes, reason: str) -> None:
        """Move to the dead letters; acknowledged only after that."""
        letter: Any = {"event": text, "reason": reason, "id": id_}
        await self._client.xadd(self._dead, letter, maxlen=_MAX_DEAD)
        await self._client.xack(self._stream, self._group, id_)
        self.counts.dead += 1


def _entry(entry: tuple[bytes, Mapping[bytes, bytes] | None]) -> Entry:
    """Of an entry as redis-py reads it; one that was trimmed away while pending has no fields."""
    id_, fields = entry
    return id_, (fields or {}).get(b"event", b"")
