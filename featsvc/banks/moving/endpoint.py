"""A database that a store is copied from or into: its connection, transactions and errors.

Not `sql.database`: that would upgrade the source, and begin a store in the target.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from sqlalchemy import Connection, Dialect, NullPool, create_engine, event
from sqlalchemy import exc as sa
from sqlalchemy.engine.interfaces import DBAPIConnection

from featsvc.addresses import parse_database_url
from featsvc.banks.sql import postgresql
from featsvc.banks.sql.failures import guarded, unavailable
from featsvc.banks.sql.sqlite_file import is_cut_off, is_empty, make_folder
from featsvc.errors import ConfigInvalid, DataCorrupt, NotFound, Unavailable

if TYPE_CHECKING:
    import psycopg

_BUSY_TIMEOUT_S = 30
_POSTGRESQL = {"connect_timeout": 5}
# A copy takes as long as it takes, and the source's transaction is idle while the target writes.
# Locks are held for longer by another copy only.
_LIMITS = postgresql.Limits(lock=30_000, statement=0, idle=0)


class Endpoint:
    """One connection to a database; `label` says in messages which of the two it is."""

    def __init__(self, label: str, url: str, *, writes: bool) -> None:
        """Raises ConfigInvalid for a malformed URL; connects nothing."""
        try:
            parsed = parse_database_url(url)
        except ValueError as exc:
            raise ConfigInvalid(f"{label}: {exc}") from None
        self.label = label
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.path = Path(parsed.database or "") if self.is_sqlite else None
        self._writes = writes
        self._options: dict[str, object] = {}
        if self.is_sqlite:
            self._engine = create_engine("sqlite://", creator=self._open_sqlite, poolclass=NullPool)
            event.listen(self._engine, "connect", _prepare_sqlite)
            event.listen(self._engine, "begin", self._begin_sqlite)
        else:
            arguments = {k: v for k, v in _POSTGRESQL.items() if k not in parsed.query}
            level = "READ COMMITTED" if writes else "REPEATABLE READ"
            self._engine = create_engine(parsed, connect_args=arguments, poolclass=NullPool)
            event.listen(self._engine, "connect", postgresql.Sessions().prepare, insert=True)
            self._options = {"isolation_level": level, "postgresql_readonly": not writes}

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Raises Unavailable, and NotFound for a file that is to be read and is not there.

        Also Unavailable for a PostgreSQL database that cannot hold a store, and for a pooler that
        gives transactions to other sessions.
        """
        if self.path is not None and self._writes:
            make_folder(self.path.parent)
        elif self.path is not None and is_empty(self.path):
            raise NotFound(f"{self.label}: there is no SQLite database {self.path}")
        elif self.path is not None and is_cut_off(self.path):
            raise unavailable(f"{self.path.name} is shorter than its header says; copy it again")
        with self.errors():
            self.connection: Connection = self._engine.connect()
        try:
            if not self.is_sqlite:
                with self.errors():
                    postgresql.check_server(self._engine, self.connection)
                    self.connection.execution_options(**self._options)
            yield
        finally:
            self.connection.close()

    @property
    def dialect(self) -> Dialect:
        return self.connection.dialect

    @property
    def sqlite(self) -> sqlite3.Connection:
        """The driver's connection: rows pass faster than through SQLAlchemy."""
        return cast("sqlite3.Connection", self.connection.connection.driver_connection)

    @property
    def postgresql(self) -> "psycopg.Connection":
        """The driver's connection."""
        return cast("psycopg.Connection", self.connection.connection.driver_connection)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction: one snapshot of what is only read, otherwise a writer's."""
        with self.errors(), self.connection.begin():
            if not self.is_sqlite:
                postgresql.begin(self.connection, _LIMITS)
            yield self.connection

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate errors of the driver and of SQLAlchemy. Raises Unavailable, DataCorrupt."""
        try:
            with guarded():
                yield
        except (Unavailable, DataCorrupt) as exc:
            if str(exc).startswith("--"):  # it says where, perhaps in the other database
                raise
            raise type(exc)(f"{self.label}: {exc}", reason=exc.reason) from exc
        except (sa.DBAPIError, self._engine.dialect.loaded_dbapi.Error) as exc:
            cause = str(getattr(exc, "orig", exc)).strip().partition("\n")[0]
            raise Unavailable(
                f"{self.label}: the database refused ({cause})", reason="BANK_STORE_UNAVAILABLE"
            ) from exc

    def quoted(self, name: str) -> str:
        return self.dialect.identifier_preparer.quote_identifier(name)

    def _open_sqlite(self) -> sqlite3.Connection:
        mode = "rwc" if self._writes else "ro"
        return sqlite3.connect(
            f"file:{quote(str(self.path))}?mode={mode}",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
        )

    def _begin_sqlite(self, connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if self._writes else "BEGIN")


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    # Tables that are altered are rebuilt, and rows of several are written anew: references are
    # checked at the end.
    for pragma in ("synchronous=FULL", "temp_store=FILE", "foreign_keys=OFF"):
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
