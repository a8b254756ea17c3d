"""A feature store in a process of its own, which is killed while it applies events."""

import asyncio
import multiprocessing
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from featsvc.accounts import Definitions, Event, EventResult, FeatureStore, load_definitions
from featsvc.accounts.events import Backfill
from featsvc.errors import Unavailable
from tests.patience import PATIENCE_MS, PATIENCE_S

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["featsvc.accounts", "tests.fuzz.feature_writer"])

Request = tuple[int, Sequence[Event], Backfill | None, bool]


def serve(connection: Connection, url: str, path: str) -> None:
    """Apply the batches that arrive, each at its own time of the clock."""
    now_ms = 0
    store = FeatureStore(
        url, load_definitions(Path(path)), timeout_ms=PATIENCE_MS, clock=lambda: now_ms
    )
    with asyncio.Runner() as runner:
        while True:
            request: Request = connection.recv()
            now_ms, events, backfill, unseen = request
            results: list[EventResult] | None = None
            with suppress(Unavailable):
                results = runner.run(store.ingest(events, backfill=backfill, unseen=unseen))
            connection.send(results)


class KilledStore(FeatureStore):
    """Applies events in another process, and kills it now and then; reads in this one."""

    def __init__(
        self, url: str, definitions: Definitions, path: Path, rng: Random, **how: Any
    ) -> None:
        """`path` is the file of the definitions."""
        super().__init__(url, definitions, **how)
        self.kills = 0
        self._arguments = url, str(path)
        self._rng = rng
        self._process: Any = None
        self._connection: Connection | None = None

    async def ingest(
        self,
        events: Sequence[Event],
        *,
        backfill: Backfill | None = None,
        unseen: bool = False,
    ) -> list[EventResult]:
        """Raises Unavailable if the process was killed, or found the store unavailable."""
        if self._connection is None:
            self._connection, theirs = _processes.Pipe()
            self._process = _processes.Process(
                target=serve, args=(theirs, *self._arguments), daemon=True
            )
            self._process.start()
            theirs.close()
        self._connection.send((self._clock(), events, backfill, unseen))
        if self._rng.random() < 0.2:
            await asyncio.sleep(self._rng.random() * 0.01)
            self.stop()
            self.kills += 1
            raise Unavailable("killed")
        results: list[EventResult] | None = await asyncio.to_thread(self._connection.recv)
        if results is None:
            raise Unavailable("the process found the store unavailable")
        return results

    def stop(self) -> None:
        """End the process, whatever it does."""
        if self._connection is not None:
            self._process.kill()
            self._process.join(PATIENCE_S)
            self._connection.close()
            self._connection = None

    async def close(self) -> None:
        self.stop()
        await super().close()
