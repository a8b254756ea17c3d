"""Events from a Redis Stream, for platforms that feed them without waiting.

    XADD featsvc:events * event '{"event_id": "e1", "type": "upload", ...}'

Each entry holds one event, as a line of `featsvc features ingest` would. Members of one consumer
group share the stream. An entry is acknowledged after it was applied, so nothing is lost when a
consumer dies; it is delivered again, and event ids see to it that it counts once. What cannot be
read or applied, and what was delivered `max_tries` times without an end, moves to `<stream>:dead`
with the reason.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import hiredis

from featsvc.accounts.connection import Reply, pack
from featsvc.accounts.events import Event, EventResult, EventStatus, parse_event_line
from featsvc.accounts.store import FeatureStore
from featsvc.accounts.topology import connect
from featsvc.errors import InvalidInput, Unavailable

_log = logging.getLogger(__name__)
_BLOCK_MS = 1000
_BATCH = 500
_PAUSE_S = 0.5
_MAX_DEAD = 100_000
"""Dead letters kept; the oldest make room."""

Entry = tuple[bytes, bytes | None]
"""Id, and the event as text where it has one."""


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
        self._stream = stream.encode()
        self._dead = self._stream + b":dead"
        self._group = group
        self._name = f"{socket.gethostname()}-{os.getpid()}-{id(self):x}"
        self._max_tries = max_tries
        self._retry_after_ms = retry_after_ms
        # A connection of its own: a blocking read holds up all that comes after it.
        self._topology = connect(url, timeout_ms=_BLOCK_MS * 3)

    async def run(self) -> None:
        """Consume until cancelled. Outages of either Redis are waited out."""
        try:
            while True:
                try:
                    await self._turn()
                except Unavailable as exc:
                    _log.warning("stream %s: %s", self._stream.decode(), exc)
                    await asyncio.sleep(_PAUSE_S)
        finally:
            await self._topology.close()

    async def _turn(self) -> None:
        entries = await self._take_over() or await self._read()
        if entries:
            await self._apply(entries)

    async def _read(self) -> list[Entry]:
        reply = await self._call(
            "XREADGROUP", "GROUP", self._group, self._name, "COUNT", _BATCH,
            "BLOCK", _BLOCK_MS, "STREAMS", self._stream, ">",
        )  # fmt: skip
        match reply:
            case [[_, list(entries)]]:
                return [_entry(entry) for entry in entries]
            case hiredis.ReplyError() if str(reply).startswith("NOGROUP"):
                await self._call("XGROUP", "CREATE", self._stream, self._group, "0", "MKSTREAM")
        return []

    async def _take_over(self) -> list[Entry]:
        """Entries that somebody read and never acknowledged; those tried too often are buried."""
        pending = await self._call(
            "XPENDING", self._stream, self._group, "IDLE", self._retry_after_ms, "-", "+", _BATCH
        )
        if not isinstance(pending, list) or not pending:
            return []
        tries = {item[0]: item[3] for item in pending if isinstance(item, list)}
        claimed = await self._call(
            "XCLAIM", self._stream, self._group, self._name, self._retry_after_ms,
            *(id_ for id_ in tries if isinstance(id_, bytes)),
        )  # fmt: skip
        entries = [_entry(entry) for entry in claimed] if isinstance(claimed, list) else []
        worn_out = {id_ for id_, count in tries.items() if _count(count) >= self._max_tries}
        for id_, text in entries:
            if id_ in worn_out:
                await self._bury(id_, text, f"not applied after {self._max_tries} deliveries")
        return [entry for entry in entries if entry[0] not in worn_out]

    async def _apply(self, entries: Sequence[Entry]) -> None:
        events: list[Event] = []
        ids: list[Entry] = []
        for id_, text in entries:
            try:
                event = parse_event_line(text or b"")
            except InvalidInput as exc:
                await self._bury(id_, text, str(exc))
            else:
                events.append(event)
                ids.append((id_, text))
        results = await self._ingest(events)
        done = []
        for (id_, text), result in zip(ids, results, strict=True):
            if result.status is EventStatus.REJECTED:
                await self._bury(id_, text, result.reason)
            else:
                done.append(id_)
        if done:
            await self._call("XACK", self._stream, self._group, *done)
            self.counts.applied += len(done)

    async def _ingest(self, events: Sequence[Event]) -> list[EventResult]:
        """Apply, again and again while the feature store is away: this is not the events' fault."""
        while True:
            try:
                results = await self._store.ingest(events)
            except Unavailable as exc:
                _log.warning("stream %s: waiting for the store: %s", self._stream.decode(), exc)
            else:
                if all(result.status is not EventStatus.INCOMPLETE for result in results):
                    return results
            await asyncio.sleep(_PAUSE_S)

    async def _bury(self, id_: bytes, text: bytes | None, reason: str) -> None:
        """Move to the dead letters; acknowledged only after that."""
        reply = await self._call(
            "XADD", self._dead, "MAXLEN", "~", _MAX_DEAD, "*",
            "event", text or b"", "reason", reason, "id", id_,
        )  # fmt: skip
        if isinstance(reply, hiredis.ReplyError):
            raise Unavailable(f"{self._dead.decode()}: {reply}")
        await self._call("XACK", self._stream, self._group, id_)
        self.counts.dead += 1

    async def _call(self, *arguments: bytes | str | int) -> Reply:
        key = self._dead if arguments[1] == self._dead else self._stream
        (reply,) = await self._topology.execute([key], [pack(*arguments)])
        return reply


def _entry(entry: Reply) -> Entry:
    match entry:
        case [bytes(id_), list(fields)]:
            for name, value in zip(fields[::2], fields[1::2], strict=True):
                if name == b"event" and isinstance(value, bytes):
                    return id_, value
            return id_, None
        case [bytes(id_), None]:  # trimmed away while pending
            return id_, None
    raise Unavailable("the stream's reply is not understood")


def _count(value: Reply) -> int:
    return value if isinstance(value, int) else 0
