"""Consumer of events from a Redis Stream, for platforms that do not wait for an answer.

    XADD featsvc:events * event '{"event_id": "e1", "type": "upload", ...}'

Each entry holds one event, in the format of `featsvc features ingest`. The members of a consumer
group share the stream. An entry is acknowledged after it was applied, so nothing is lost when a
consumer dies: the entry is delivered again, and its event id makes it count once.

A group may lag behind the horizon of event ids: an entry that is delivered for the first time
counts whatever its age, and its id is remembered for a horizon from then on. Only of an entry that
comes back after more than a horizon, and whose event is older than that too, nobody knows whether
it counted. Such an entry, one that cannot be parsed or is rejected, and one that was delivered
`max_tries` times without being applied move to the dead letters in `<stream>:dead` with the reason.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence
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
_MAX_DEAD_LETTERS = 100_000
"""Dead letters kept; the oldest are trimmed."""

Entry = tuple[bytes, bytes]
"""Id, and the event's text, which is empty for an entry without one."""


class StreamConsumer:
    """One member of a consumer group.

    It takes over an entry that another member has not acknowledged for `retry_after_ms`.
    """

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
        """`url` names the server of the stream; it need not be the server of the features."""
        self._store = store
        self._stream = stream
        self._dead_letters = f"{stream}:dead"
        self._group = group
        self._name = f"{socket.gethostname()}-{os.getpid()}-{id(self):x}"
        self._max_tries = max_tries
        self._retry_after_ms = retry_after_ms
        # A separate client, because a blocking read occupies its connection.
        self._client = open_client(url, timeout_s=_BLOCK_MS / 1000 * 3)

    async def run(self) -> None:
        """Consume until cancelled. Waits out outages; entries in progress are delivered again."""
        task = asyncio.current_task()
        try:
            # A call of redis-py may swallow a cancellation that meets the end of its own timeout.
            while not (task and task.cancelling()):
                try:
                    claimed, returned_late = await self._claim_stale()
                    if returned_late:
                        await self._apply(returned_late, unseen=False)
                    if entries := claimed or await self._read_new():
                        await self._apply(entries, unseen=True)
                except (FeatsvcError, RedisError, OSError) as exc:
                    _log.warning("stream %s: %s", self._stream, exc)
                    await asyncio.sleep(_PAUSE_S)
                except Exception:
                    # A fault of the program must not end the stream in silence.
                    _log.exception("stream %s: entries stay pending", self._stream)
                    await asyncio.sleep(_PAUSE_S)
        finally:
            await close_client(self._client)

    async def _read_new(self) -> list[Entry]:
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

    async def _claim_stale(self) -> tuple[list[Entry], list[Entry]]:
        """Claim entries that a member read and did not acknowledge in time.

        Those delivered too often become dead letters. Returned apart are those last delivered more
        than a horizon ago, which may have counted without leaving an id.
        """
        try:
            pending: Any = await self._client.xpending_range(
                self._stream, self._group, "-", "+", _BATCH, idle=self._retry_after_ms
            )
        except ResponseError as exc:
            if not str(exc).startswith("NOGROUP"):
                raise
            return [], []  # _read_new creates the group
        if not pending:
            return [], []
        deliveries = {entry["message_id"]: entry["times_delivered"] for entry in pending}
        claimed: Any = await self._client.xclaim(
            self._stream, self._group, self._name, self._retry_after_ms, list(deliveries)
        )
        horizon_ms = self._store.definitions.dedup_horizon_ms
        late = {e["message_id"] for e in pending if e["time_since_delivered"] >= horizon_ms}
        entries: tuple[list[Entry], list[Entry]] = ([], [])
        for id_, text in map(_entry, claimed):
            if deliveries[id_] >= self._max_tries:
                await self._move_to_dead_letters(
                    id_, text, f"not applied after {self._max_tries} deliveries"
                )
            else:
                entries[id_ in late].append((id_, text))
        return entries

    async def _apply(self, entries: Sequence[Entry], *, unseen: bool) -> None:
        events: list[Event] = []
        parsed: list[Entry] = []
        for id_, text in entries:
            try:
                events.append(parse_event_line(text))
            except InvalidInput as exc:
                await self._move_to_dead_letters(id_, text, str(exc))
            else:
                parsed.append((id_, text))
        done = []
        for (id_, text), result in zip(
            parsed, await self._ingest(events, unseen=unseen), strict=True
        ):
            if result.status in (EventStatus.REJECTED, EventStatus.BEYOND_HORIZON):
                await self._move_to_dead_letters(id_, text, result.reason)
            elif result.status is not EventStatus.INCOMPLETE:
                done.append(id_)
        if done:
            await self._client.xack(self._stream, self._group, *done)

    async def _ingest(self, events: Sequence[Event], *, unseen: bool) -> list[EventResult]:
        """Apply events; while the feature store is unavailable, retry without a limit."""
        loop = asyncio.get_running_loop()
        certain_until = loop.time() + self._store.definitions.dedup_horizon_ms / 1000
        while True:
            try:
                # An attempt that got no answer may have been applied.
                unseen = unseen and loop.time() < certain_until
                return await self._store.ingest(events, unseen=unseen)
            except Unavailable as exc:
                _log.warning("stream %s: waiting for the feature store: %s", self._stream, exc)
                await asyncio.sleep(_PAUSE_S)

    async def _move_to_dead_letters(self, id_: bytes, text: bytes, reason: str) -> None:
        """Add a dead letter, then acknowledge the entry."""
        fields: Any = {"event": text, "reason": reason, "id": id_}
        await self._client.xadd(self._dead_letters, fields, maxlen=_MAX_DEAD_LETTERS)
        await self._client.xack(self._stream, self._group, id_)


def _entry(entry: tuple[bytes, Mapping[bytes, bytes] | None]) -> Entry:
    """Convert redis-py's form of an entry; an entry trimmed while pending has no fields."""
    id_, fields = entry
    return id_, (fields or {}).get(b"event", b"")
