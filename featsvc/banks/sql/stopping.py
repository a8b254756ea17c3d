"""Stops the running statement of a connection, from another thread."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast

from sqlalchemy import Connection

from featsvc.banks.interruption import is_cancelled, stopped_by

if TYPE_CHECKING:
    # Not imported at run time: a store on SQLite starts 100 ms sooner.
    import sqlite3

    import psycopg

_CANCEL_TIMEOUT_S = 0.3


@contextmanager
def interruptible(connection: Connection) -> Iterator[None]:
    """Let the cancellation of this thread's call stop statements of the connection.

    Then the connection is closed, not pooled, which also rolls back and drops temporary tables.
    """
    driver = connection.connection.driver_connection
    stop: Callable[[], object]
    if connection.dialect.name == "sqlite":
        stop = cast("sqlite3.Connection", driver).interrupt
    else:
        stop = _PostgresStop(cast("psycopg.Connection", driver))
    try:
        with stopped_by(stop):
            yield
    finally:
        if is_cancelled():
            connection.invalidate()


class _PostgresStop:
    """Asks the server to cancel; closes the socket if it does not do so soon."""

    def __init__(self, connection: "psycopg.Connection") -> None:
        self._connection = connection
        self._started: float | None = None

    def __call__(self) -> None:
        now = time.monotonic()
        self._started = self._started or now
        # A server that cannot be asked raises errors of several libraries.
        with suppress(Exception):
            self._connection.cancel_safe(timeout=_CANCEL_TIMEOUT_S)
        if time.monotonic() - self._started >= _CANCEL_TIMEOUT_S:
            with suppress(Exception), socket.socket(fileno=self._descriptor()) as connected:
                connected.shutdown(socket.SHUT_RDWR)

    def _descriptor(self) -> int:
        return os.dup(self._connection.fileno())
