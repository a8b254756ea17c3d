"""Calls of the bank store, which is synchronous, on threads.

A call whose caller leaves is interrupted, so that no thread, connection or lock is held for nobody.
gRPC cancels the handler when the client cancels or disconnects, when the deadline passes, and when
the server stops.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, ParamSpec, TypeVar

from featsvc.banks.interruption import Interruption

P = ParamSpec("P")
T = TypeVar("T")

_END_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


class StoreCall(Generic[T]):
    """A call on a thread, or waiting for one. Always `end` it."""

    def __init__(self, threads: ThreadPoolExecutor, call: Callable[[], T]) -> None:
        self.interruption = Interruption()
        self._queued = threads.submit(partial(self.interruption.run, call))
        self.result = asyncio.wrap_future(self._queued)

    async def end(self) -> None:
        """Return when the call is done; interrupt it if it is not. Does not raise its error."""
        if not self.result.done() and not self._queued.cancel():
            self.interruption.cancel()
            _, running = await asyncio.wait({self.result}, timeout=_END_TIMEOUT_S)
            if running:
                log.warning("a cancelled call of the bank store runs on for %g s", _END_TIMEOUT_S)
        self.result.add_done_callback(_retrieve)


def _retrieve(result: "asyncio.Future[T]") -> None:
    if not result.cancelled():
        result.exception()


class StoreCalls:
    """Runs calls on at most `threads` threads; others wait."""

    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def start(self, call: Callable[[], T]) -> StoreCall[T]:
        return StoreCall(self._threads, call)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of the call; interrupt it if this task is cancelled."""
        running = self.start(partial(call, *args, **kwargs))
        try:
            await asyncio.wait({running.result})
            return running.result.result()
        finally:
            await running.end()
