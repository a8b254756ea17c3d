"""Connections of SQLite: their pragmas, and transactions whose wait for the lock can be stopped."""

import time

from sqlalchemy import Connection
from sqlalchemy import exc as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT_MS = 30_000
_KEPT_WAL_BYTES = 64 * 2**20
"""A longer log, that of a long transaction, is cut to this size when it begins anew."""
# The wait for the lock is cut, to look whether the caller still waits.
_SLICE_MS = 100
_BUSY = 5


def prepare(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    """Set up a new connection."""
    # The driver would begin transactions late, and never with BEGIN IMMEDIATE.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "temp_store=FILE",
        f"journal_size_limit={_KEPT_WAL_BYTES}",
    ):
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA {pragma}")
        cursor.close()


def pragma(connection: Connection, pragma: str) -> None:
    """Set a pragma outside of SQLAlchemy's transaction, in which it would have no effect."""
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def begin(connection: Connection) -> None:
    """Begin as the option `sqlite_begin` says. Raises TimedOut if the call is cancelled."""
    begin = connection.get_execution_options()["sqlite_begin"]
    if begin == "BEGIN":
        connection.exec_driver_sql(begin)
        return
    # SQLite's own wait for the writers' lock cannot be interrupted.
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    pragma(connection, f"busy_timeout={_SLICE_MS}")
    try:
        while not _begins(connection, begin, last_try=time.monotonic() > deadline):
            pass
    finally:
        pragma(connection, f"busy_timeout={BUSY_TIMEOUT_MS}")


def _begins(connection: Connection, begin: str, *, last_try: bool) -> bool:
    """Begin a transaction; return False if another one holds the lock."""
    try:
        connection.exec_driver_sql(begin)
    except sa.OperationalError as exc:
        if last_try or getattr(exc.orig, "sqlite_errorcode", 0) & 0xFF != _BUSY:
            raise
        return False
    return True
