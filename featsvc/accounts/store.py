"""The feature store: apply events, read features."""

import asyncio
import contextlib
import hashlib
import random
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import cast

from redis.exceptions import NoScriptError, ResponseError

from featsvc.accounts.adopting import adopt, is_asked_for, outside_keys, share
from featsvc.accounts.compiled import CompiledDefinitions
from featsvc.accounts.definitions import Definitions
from featsvc.accounts.events import (
    EARLIEST_TIME_MS,
    MAX_EVENTS,
    MAX_SKEW_MS,
    Backfill,
    EntityRef,
    Event,
    EventResult,
    check_id,
    clock_ms,
    too_many,
)
from featsvc.accounts.ingest import IngestBatch, IngestCall
from featsvc.accounts.ingest_plan import entity_key
from featsvc.accounts.pipelining import Command, ConnectionLost, Reply
from featsvc.accounts.read import check_entities, unknown_entity
from featsvc.accounts.reading import FeatureRead, piece_gate
from featsvc.accounts.replies import is_damage, raise_errors
from featsvc.accounts.table import ALL, FeatureTable, Selection, degraded_table
from featsvc.accounts.topology import connect
from featsvc.errors import ConfigInvalid, InvalidInput, Overloaded, Unavailable

MAX_AS_OF_AHEAD_MS = 3_600_000
SHARE_IDS_MS = 86_400_000
"""How long services of the first layout are expected after one was noticed."""
_ADOPTIONS_AT_ONCE = 32
_RETRY_JITTER_S = 0.01


class FeatureStore:
    """Account features in Redis. Every call is safe to repeat, and mostly takes one round trip.

    Further ones follow where a distinct count is estimated, a read is cut into pieces, a server
    lacks the script, or an old service has written to the entity. `timeout_ms` limits each.
    `replicas` is the number of replicas that must have an event before it counts as applied. All
    calls raise Unavailable while the store is unavailable, and do so at once while the circuit is
    open.
    """

    def __init__(
        self,
        url: str,
        definitions: Definitions,
        *,
        timeout_ms: int = 250,
        replicas: int = 0,
        clock: Callable[[], int] = clock_ms,
    ) -> None:
        """Connects on first use. Raises ConfigInvalid for a wrong URL."""
        self._clock = clock
        self._script = script("entity", "ids", "rings", "distinct", "ingest")
        self._erase_script = script("erase")
        # Redis names scripts by their SHA-1; it secures nothing.
        self._script_sha = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()
        # Later once a service of the first layout was noticed, and one that has id sets.
        self._shares_ids_until_ms = self._shares_id_sets_until_ms = 0
        self._topology = connect(url, timeout_ms=timeout_ms, replicas=replicas)
        self._gate = piece_gate()
        self._active = CompiledDefinitions(definitions, self._execute_one, self._read)

    @property
    def definitions(self) -> Definitions:
        """The definitions in use, as their file has them."""
        return self._active.definitions

    async def replace_definitions(self, definitions: Definitions) -> None:
        """Register other definitions of the same namespace, then use them.

        Calls in flight finish with the old ones. Raises ConfigInvalid for another namespace and
        Unavailable if they cannot be registered; the old ones stay in use then.
        """
        used = self.definitions.namespace
        if definitions.namespace != used:
            raise ConfigInvalid(
                f"{definitions.source}: namespace: is {definitions.namespace!r}, but the store "
                f"uses {used!r}; another namespace needs a new store",
                field="namespace",
            )
        active = CompiledDefinitions(definitions, self._execute_one, self._read)
        await active.ready(self._clock(), applies=True)
        replaced, self._active = self._active, active
        await replaced.register.close(cancel=False)

    async def ingest(
        self,
        events: Sequence[Event],
        *,
        backfill: Backfill | None = None,
        unseen: bool = False,
    ) -> list[EventResult]:
        """Apply up to 10,000 events; return one result each, in order.

        A bad event is REJECTED without affecting the others. If Redis becomes unavailable midway,
        the remaining events are INCOMPLETE. An event beyond the horizon does not count, unless it
        is part of a `backfill`, or `unseen`: the caller knows that none of the events was applied
        more than a horizon ago. Raises Unavailable and Overloaded only if no event was applied,
        InvalidInput for a back-fill whose positions do not fit.
        """
        active = self._active
        await active.ready(self._clock(), applies=True)
        batch = self._batch(active, events, backfill=backfill, unseen=unseen)
        for chunk in batch.chunks():
            calls = batch.calls(chunk)
            try:
                replies = await self._execute(
                    [c.key for c in calls], [c.command for c in calls], writes=len(calls)
                )
                if not any(isinstance(reply, list) or is_damage(reply) for reply in replies):
                    raise_errors(replies)
            except (Overloaded, Unavailable) as exc:
                if chunk.start == 0:
                    raise
                batch.fail_rest(str(exc))
                break
            batch.merge_replies(chunk, calls, replies)
            await self._share_ids(active, calls, replies)
        return [result for result in batch.results if result is not None]

    async def get(
        self,
        entities: Sequence[EntityRef],
        selection: Selection = ALL,
        as_of_ms: int | None = None,
    ) -> FeatureTable:
        """Read features of 1 to 1,000 entities; windows end at `as_of_ms`, None means now."""
        active = self._active
        self._check_read(active, entities, selection, as_of_ms)
        await active.ready(self._clock())
        return await active.coalescer.get(entities, selection, as_of_ms)

    def degraded(self, entities: Sequence[EntityRef], selection: Selection = ALL) -> FeatureTable:
        """Return the table of `get` with every value DEGRADED, for use while `get` fails."""
        active = self._active
        self._check_read(active, entities, selection, None)
        names = active.read_plans.names(selection, tuple({ref.entity: 0 for ref in entities}))
        return degraded_table(names, len(entities), self._clock())

    async def record_and_get(
        self, event: Event | None, entities: Sequence[EntityRef], selection: Selection = ALL
    ) -> tuple[EventResult | None, FeatureTable]:
        """Apply an event and then read, in one round trip; the features include the event."""
        if event is None:
            return None, await self.get(entities, selection)
        active = self._active
        self._check_read(active, entities, selection, None)
        await active.ready(self._clock(), applies=True)
        batch = self._batch(active, [event])
        now_ms = self._clock()
        # The windows include an event that is ahead of the clock, unless it is REJECTED for that.
        ahead = now_ms < event.time_ms <= now_ms + MAX_SKEW_MS
        as_of_ms = event.time_ms if ahead else now_ms
        read = FeatureRead(
            active.read_plans, entities, selection, as_of_ms, is_live=True, gate=self._gate
        )
        chunk = range(1)
        calls = batch.calls(chunk)
        replies = await self._execute(
            [c.key for c in calls] + read.first.keys,
            [c.command for c in calls] + read.first.commands,
            writes=len(calls),
        )
        batch.merge_replies(chunk, calls, replies[: len(calls)])
        await self._share_ids(active, calls, replies[: len(calls)])
        return batch.results[0], await read.run(self._execute, replies[len(calls) :])

    def complete_since(self, feature: str) -> int | None:
        """Return since when (Unix ms) every event counts for a windowed feature; None: always."""
        return self._active.register.complete_since.get(feature) or None

    async def delete(self, entity: EntityRef) -> bool:
        """Erase all data about an entity; return whether there was any."""
        if entity.entity not in self.definitions.entities:
            raise unknown_entity(entity, self.definitions.entities, "entity")
        check_id(entity.id, "entity.id")
        key = entity_key(self.definitions, entity.entity, entity.id)
        (reply,) = replies = await self._execute([key], [("EVAL", self._erase_script, 1, key)])
        raise_errors(replies)
        deleted, was_old, *digests = cast(list[int | bytes], reply)
        if was_old:
            # An old service was about: it may have more than the hash.
            found = map(bytes.decode, cast(list[bytes], digests))
            known = sorted({*found, *self._active.distinct_digests})
            names = outside_keys(key, known, self._clock())
            raise_errors(await self._execute(names, [("DEL", name) for name in names]))
        return bool(deleted)

    async def register(self) -> None:
        """Register the definitions, which the first call would do otherwise. Raises Unavailable."""
        await self._active.ready(self._clock(), applies=True)

    async def ping(self) -> None:
        """Check that the store answers. Raises Unavailable."""
        raise_errors(await self._topology.execute([b""], [("PING",)]))

    async def close(self) -> None:
        """Close every connection."""
        await self._active.register.close()
        await self._topology.close()

    def _batch(
        self,
        active: CompiledDefinitions,
        events: Sequence[Event],
        *,
        backfill: Backfill | None = None,
        unseen: bool = False,
    ) -> IngestBatch:
        if len(events) > MAX_EVENTS:
            raise too_many("events", len(events), MAX_EVENTS)
        return IngestBatch(
            active.definitions,
            active.ingest_plans,
            events,
            now_ms=self._clock(),
            script_sha=self._script_sha,
            backfill=backfill,
            unseen=unseen,
            shares_ids=self._clock() < self._shares_ids_until_ms,
        )

    def _check_read(
        self,
        active: CompiledDefinitions,
        entities: Sequence[EntityRef],
        selection: Selection,
        as_of_ms: int | None,
    ) -> None:
        """Raise InvalidInput for a read that is not possible."""
        check_entities(entities, active.definitions.entities)
        active.read_plans.names(selection, ())
        if as_of_ms is None:
            return
        if not EARLIEST_TIME_MS <= as_of_ms <= self._clock() + MAX_AS_OF_AHEAD_MS:
            raise InvalidInput(
                f"as_of: {as_of_ms} ms is not between 2000-01-01 and one hour ahead of the "
                "server's clock",
                field="as_of",
            )

    async def _read(
        self,
        active: CompiledDefinitions,
        entities: Sequence[EntityRef],
        selection: Selection,
        as_of_ms: int | None,
    ) -> FeatureTable:
        """Perform one valid read."""
        is_live = as_of_ms is None
        now_ms = self._clock() if as_of_ms is None else as_of_ms
        read = FeatureRead(
            active.read_plans, entities, selection, now_ms, is_live=is_live, gate=self._gate
        )
        return await read.run(self._execute)

    async def _execute_one(self, key: bytes, command: Command) -> Reply:
        """Execute one write. Raises DataCorrupt or Unavailable, also for an error reply."""
        replies = await self._execute([key], [command], writes=1)
        raise_errors(replies)
        return replies[0]

    async def _execute(
        self, keys: Sequence[bytes], commands: Sequence[Command], *, writes: int = 0
    ) -> list[Reply]:
        """Execute in one round trip; repeat once if the connection breaks. Calls are idempotent."""
        if not commands:
            return []
        try:
            replies = await self._topology.execute(keys, commands, writes=writes)
        except ConnectionLost:
            await asyncio.sleep(random.uniform(0, _RETRY_JITTER_S))  # noqa: S311 - jitter
            replies = await self._topology.execute(keys, commands, writes=writes)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            await self._resend_with_script(keys, commands, replies, writes)
        asking = [i for i in range(writes) if is_asked_for(replies[i])]
        if asking:
            await self._adopt(asking, keys, commands, replies, writes)
        return replies

    async def _share_ids(
        self, active: CompiledDefinitions, calls: Sequence[IngestCall], replies: Sequence[Reply]
    ) -> None:
        """Add applied ids to the id sets of services of the first layout, where these run."""
        now_ms = self._clock()
        if now_ms >= self._shares_id_sets_until_ms:
            return
        horizon_ms = active.definitions.dedup_horizon_ms
        commands = [
            command
            for call, reply in zip(calls, replies, strict=True)
            if (ids := call.applied_ids(reply))
            for command in share(call.key, ids, now_ms, horizon_ms)
        ]
        keys = [cast(bytes, command[1]) for command in commands]
        with contextlib.suppress(Unavailable, Overloaded):  # the events have counted
            await self._execute(keys, commands, writes=len(commands))

    async def _adopt(
        self,
        asking: Sequence[int],
        keys: Sequence[bytes],
        commands: Sequence[Command],
        replies: list[Reply],
        writes: int,
    ) -> None:
        """Repeat calls with what an old service keeps elsewhere, then the reads.

        Where that fails, the reply becomes an error: the other calls have been applied.
        """
        now_ms = self._clock()
        self._shares_ids_until_ms = now_ms + SHARE_IDS_MS
        gate = asyncio.Semaphore(_ADOPTIONS_AT_ONCE)
        digests = self._active.distinct_digests

        async def repeat(i: int) -> None:
            try:
                async with gate:
                    adopted = await adopt(self._topology, keys[i], commands[i], digests, now_ms)
            except (Overloaded, Unavailable) as exc:
                adopted = ResponseError(str(exc)), False
            replies[i], has_id_set = adopted
            if has_id_set:
                self._shares_id_sets_until_ms = self._shares_ids_until_ms

        await asyncio.gather(*map(repeat, asking))
        if len(commands) > writes:
            replies[writes:] = await self._topology.execute(keys[writes:], commands[writes:])

    async def _resend_with_script(
        self,
        keys: Sequence[bytes],
        commands: Sequence[Command],
        replies: list[Reply],
        writes: int,
    ) -> None:
        """Repeat calls whose server does not have the script, and then the reads.

        One call takes the text to its server; the others of that server need it no more.
        """
        missing = [i for i in range(writes) if isinstance(replies[i], NoScriptError)]
        while missing:
            first, *others = missing
            whole = ("EVAL", self._script, *commands[first][2:])
            (replies[first],) = await self._topology.execute([keys[first]], [whole], writes=1)
            if not others:
                break
            again = await self._topology.execute(
                [keys[i] for i in others], [commands[i] for i in others], writes=len(others)
            )
            for i, reply in zip(others, again, strict=True):
                replies[i] = reply
            missing = [i for i in others if isinstance(replies[i], NoScriptError)]
        if len(commands) > writes:
            replies[writes:] = await self._topology.execute(keys[writes:], commands[writes:])


def script(*names: str) -> str:
    """Return the text of a script, which may have several files."""
    folder = files("featsvc.accounts").joinpath("scripts")
    return "\n".join(folder.joinpath(f"{name}.lua").read_text("utf-8") for name in names)
