"""Ends a call of the bank store that nobody waits for: its caller left, or the service stops.

The thread of the call is inside of `Interruption.run`. `cancel`, from another thread, ends what the
call waits for (a running statement, a connection, a sender), and every `check` of the call raises
from then on. What is not committed is rolled back; what is committed stays.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from featsvc.errors import TimedOut

T = TypeVar("T")

_FIRST_WAIT_S = 0.01
_MAX_WAIT_S = 0.2


class Interruption:
    """Cancels the calls that `run` runs. Thread-safe."""

    def __init__(self) -> None:
        self._cancelled = False
        self._runs = 0
        self._ended = threading.Event()
        self._stops: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def run(self, call: Callable[[], T]) -> T:
        """Run the call on this thread. Raises TimedOut if it is cancelled before it is done."""
        before = _current.set(self)
        with self._lock:
            self._runs += 1
            self._ended.clear()
        try:
            check()
            return call()
        finally:
            with self._lock:
                self._runs -= 1
                if not self._runs:
                    self._ended.set()
            _current.reset(before)

    def cancel(self) -> None:
        """End the calls, also those that begin later; does not wait for their ends."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
        # Cancelling a statement of PostgreSQL is a round trip, for which no event loop should wait.
        threading.Thread(target=self._stop_calls, name="interrupt", daemon=True).start()

    def _stop_calls(self) -> None:
        wait_s = _FIRST_WAIT_S
        # Repeatedly: to stop a statement that is about to begin has no effect.
        while self._runs:
            with self._lock:
                for stop in self._stops:
                    stop()
            self._ended.wait(wait_s)
            wait_s = min(2 * wait_s, _MAX_WAIT_S)

    @contextmanager
    def stopping(self, stop: Callable[[], object]) -> Iterator[None]:
        """Let `cancel` call `stop`, perhaps repeatedly, until the context exits; never after."""
        with self._lock:
            self._stops.append(stop)
        try:
            yield
        finally:
            with self._lock:
                self._stops.remove(stop)


_current: ContextVar[Interruption | None] = ContextVar("interruption", default=None)


def is_cancelled() -> bool:
    """Return whether this thread runs a call that is cancelled."""
    interruption = _current.get()
    return interruption is not None and interruption.cancelled


def check() -> None:
    """Raises TimedOut if this thread runs a call that is cancelled."""
    if is_cancelled():
        raise TimedOut(
            "bank store: the call was cancelled: its caller left, its deadline passed, or the "
            "service stops; nothing was changed"
        )


@contextmanager
def stopped_by(stop: Callable[[], object]) -> Iterator[None]:
    """Let `Interruption.cancel` call `stop` during a wait. Raises TimedOut if it is cancelled.

    Whatever error the wait then ends with is replaced.
    """
    interruption = _current.get()
    if interruption is None:
        yield
        return
    try:
        with interruption.stopping(stop):
            check()
            yield
    except TimedOut:
        raise
    except Exception:
        check()
        raise
