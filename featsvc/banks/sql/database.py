"""The database, SQLite or PostgreSQL: snapshots for readers, one writer at a time.

This module hides most differences between the two. A database that does not answer raises
`Unavailable`; callers raise the errors of wrong requests.
"""

import fcntl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, RootTransaction, Table, create_engine, event, select, text
from sqlalchemy import exc as sa

from featsvc.addresses import parse_database_url
from featsvc.banks.interruption import check
from featsvc.banks.sql import migrations, postgresql, schema, sqlite
from featsvc.banks.sql.failures import EMPTIED, guarded, unavailable
from featsvc.banks.sql.sqlite_file import (
    file_id,
    is_cut_off,
    is_empty,
    locks,
    make_folder,
    opened_beside,
)
from featsvc.banks.sql.stopping import interruptible
from featsvc.errors import ConfigInvalid, InvalidInput, NotFound

MAX_CONNECTIONS = 22
"""One for each thread of a worker: 6 reads, 6 changes, 8 imports and exports, the follower,
the counts."""
_POOLED_CONNECTIONS = 5
_POOL_TIMEOUT_S = 30
# The wait for a connection is cut, to look whether the caller still waits.
_SLICE_MS = 100
_POSTGRESQL_DEFAULTS = {"connect_timeout": 5, "tcp_user_timeout": 10_000}
# Random inserts into an index larger than the cache would write its pages many times.
_BULK_CACHE_KIB = 128 * 1024
# Any constants will do that no other program locks: they serialise migrations and large changes.
SCHEMA_LOCK = 7_022_881_203
_TURN_LOCK = 7_022_881_204
_TURN_STEP_S = 0.05
_PAUSE_STEP_S = 0.002
_MAX_PAUSE_S = 1.0


class Database:
    """Thread-safe. Connects on first use: it can be constructed while the database is away."""

    def __init__(self, url: str, *, creates: bool = True) -> None:
        """With `creates` it begins a store where there is none.

        Raises ConfigInvalid for a URL that is malformed or of another database.
        """
        self._creates = creates
        try:
            parsed = parse_database_url(url)
        except ValueError as exc:
            raise ConfigInvalid(f"banks.url: {exc}") from None
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self._path = Path(parsed.database or "") if self.is_sqlite else None
        arguments: dict[str, object] = (
            {"timeout": sqlite.BUSY_TIMEOUT_MS / 1000}
            if self.is_sqlite
            # A parameter of the URL overrides its default here.
            else {k: v for k, v in _POSTGRESQL_DEFAULTS.items() if k not in parsed.query}
        )
        self._engine = create_engine(
            parsed,
            connect_args=arguments,
            pool_pre_ping=not self.is_sqlite,
            pool_size=_POOLED_CONNECTIONS,
            max_overflow=MAX_CONNECTIONS - _POOLED_CONNECTIONS,
            pool_timeout=_SLICE_MS / 1000,
        )
        event.listen(self._engine, "before_cursor_execute", _check_call)
        if self.is_sqlite:
            event.listen(self._engine, "connect", sqlite.prepare)
            event.listen(self._engine, "begin", sqlite.begin)
        else:
            # First of all: SQLAlchemy itself asks the first connection for what it needs to know.
            event.listen(self._engine, "connect", postgresql.Sessions().prepare, insert=True)
        self._names_schema = "search_path" in str(parsed.query.get("options", ""))
        self._ready = False
        self._was_ready = False
        self._file: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction in which every statement sees the same committed state."""
        self._ensure_schema()
        with guarded(), self._connect(write=False) as connection, connection.begin():
            self._check_schema(connection, postgresql.READ)
            yield connection

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """A connection without a transaction, for staging rows before they are written."""
        self._ensure_schema()
        with guarded(), self._connect(write=True) as connection:
            # Rows are staged in temporary tables, which need no lock.
            yield connection.execution_options(sqlite_begin="BEGIN")

    @contextmanager
    def roomy_session(self) -> Iterator[Connection]:
        """A session with a large page cache for bulk work, which is freed at the end."""
        with self.session() as connection:
            if self.is_sqlite:
                sqlite.pragma(connection, f"cache_size=-{_BULK_CACHE_KIB}")
            try:
                yield connection
            finally:
                if self.is_sqlite and not connection.closed:
                    sqlite.pragma(connection, "cache_size=-2000")
                    sqlite.pragma(connection, "shrink_memory")

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that holds the writers' lock; commits at the end."""
        with self.session() as connection, self.exclusive(connection):
            yield connection

    @contextmanager
    def exclusive(self, connection: Connection) -> Iterator[None]:
        """A `write` transaction on a connection of `session`."""
        with self._begin_write(connection):
            lock_head(connection)
            yield
            self._check_file()

    @contextmanager
    def read_on(self, connection: Connection) -> Iterator[None]:
        """A transaction on a connection of `session` that writes temporary tables only."""
        with connection.execution_options(sqlite_begin="BEGIN").begin():
            self._check_schema(connection, postgresql.STAGE)
            yield

    def _begin_write(self, connection: Connection) -> RootTransaction:
        connection = connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        try:
            with self._waiting():
                transaction = connection.begin()
        finally:
            # The options are the connection's: what follows, such as the end of temporary tables,
            # would wait for the lock again, and its change is committed.
            connection.execution_options(sqlite_begin="BEGIN")
        try:
            self._check_schema(connection, postgresql.WRITE)
        except BaseException:
            transaction.rollback()
            raise
        return transaction

    @contextmanager
    def piecewise(self, connection: Connection) -> Iterator[Callable[..., bool]]:
        """An `exclusive` transaction for a large change; commits at the end.

        It yields a function to call between two pieces, which lets waiting writers go first and
        returns whether it has committed. On PostgreSQL it always commits: from then on the
        transaction does not hold the writers' lock (`lock_head` takes it again). Its argument, if
        it has one, is called without a transaction: then it commits on SQLite, too.
        """
        transaction = self._begin_write(connection)

        def pause(unlocked: Callable[[], None] | None = None) -> bool:
            nonlocal transaction
            if unlocked is None and self.is_sqlite and not self._writers_wait():
                return False
            self._check_file()
            transaction.commit()
            if unlocked is not None:
                unlocked()
            end = time.monotonic() + _MAX_PAUSE_S
            while self.is_sqlite and self._writers_wait() and time.monotonic() < end:
                time.sleep(_PAUSE_STEP_S)
            transaction = self._begin_write(connection)
            return True

        try:
            lock_head(connection)
            yield pause
            self._check_file()
            transaction.commit()
        except BaseException:
            if transaction.is_active:
                transaction.rollback()
            raise

    @contextmanager
    def turn(self, connection: Connection) -> Iterator[None]:
        """Wait for the turn to make a large change: one at a time, whatever process makes it."""
        if self._path is None:
            with connection.begin():
                postgresql.begin(connection, postgresql.TURN)
                connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _TURN_LOCK})
            try:
                yield
            finally:
                # The end of a connection releases its locks too.
                if not connection.invalidated and not connection.closed:
                    with connection.begin():
                        postgresql.begin(connection, postgresql.STAGE)
                        connection.execute(
                            text("SELECT pg_advisory_unlock(:key)"), {"key": _TURN_LOCK}
                        )
            return
        with opened_beside(self._path, "turn") as file:
            while not locks(file, fcntl.LOCK_EX):
                check()
                time.sleep(_TURN_STEP_S)
            yield

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Let a large change on SQLite know that this thread waits for the lock."""
        if self._path is None:
            yield
            return
        with opened_beside(self._path, "waiting") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield

    def _writers_wait(self) -> bool:
        """Return whether any process waits for SQLite's lock."""
        assert self._path is not None  # noqa: S101 (for mypy: only called on SQLite)
        with opened_beside(self._path, "waiting") as file:
            return not locks(file, fcntl.LOCK_EX)

    def _check_file(self) -> None:
        """Raises Unavailable if the SQLite file was moved away or replaced.

        SQLite would keep writing to the old file, and those writes would be lost. The next call
        opens the new file.
        """
        if self._path is None or not self._ready:
            return
        current = file_id(self._path)
        if current == self._file:
            return
        if current is not None:
            self._engine.dispose()
            self._ready = False
        raise unavailable(f"{self._path.name} is gone or was replaced; try again once it is back")

    def _check_schema(self, connection: Connection, limits: postgresql.Limits) -> None:
        """Raises Unavailable if the database was emptied, or has another schema than at first.

        Another process may have migrated it, or restored a backup. Rows of another schema must be
        neither read as ours nor written. On PostgreSQL it limits the waits of the transaction.
        """
        if self.is_sqlite:
            revision = migrations.stored(connection)
        else:
            found = postgresql.begin(connection, limits, also=f"({migrations.REVISION})")
            revision = migrations.checked(str(found or ""))
        if revision == migrations.HEAD:
            return
        if revision > migrations.HEAD:
            raise unavailable(
                f"a newer featsvc upgraded its schema to {revision}, this one knows up to "
                f"{migrations.HEAD}; stop this one"
            )
        self._ready = False  # the next call upgrades it
        raise unavailable(f"a backup with the older schema {revision} was restored; try again")

    @contextmanager
    def _connect(self, *, write: bool) -> Iterator[Connection]:
        """Raises TimedOut if the call of this thread is cancelled, by whatever it waits for."""
        self._check_file()
        with self._checked_out() as connection, interruptible(connection):
            if self.is_sqlite:
                begin = "BEGIN IMMEDIATE" if write else "BEGIN"
                yield connection.execution_options(sqlite_begin=begin)
            else:
                level = "READ COMMITTED" if write else "REPEATABLE READ"
                yield connection.execution_options(
                    isolation_level=level, postgresql_readonly=not write
                )

    def _checked_out(self) -> Connection:
        deadline = time.monotonic() + _POOL_TIMEOUT_S
        while True:
            check()
            try:
                return self._engine.connect()
            except sa.TimeoutError as exc:
                if time.monotonic() > deadline:
                    raise unavailable("all connections are in use; try again") from exc

    def _ensure_schema(self) -> None:
        """Migrate to this build's schema, one process at a time; refuse a newer schema.

        Only a first start creates tables: an empty database afterwards is a backup that is not
        restored yet, and served as it is nothing would match.
        """
        if self._ready:
            return
        with self._lock, guarded():
            if self._ready:
                return
            if self._path is not None:
                self._check_path(self._path)
            revision = self._current_revision()
            if not revision:
                self._check_new()
            if revision != migrations.HEAD:
                self._migrate()
            if self._path is not None:
                self._file = file_id(self._path)
            self._ready = self._was_ready = True

    def _check_path(self, path: Path) -> None:
        """Make the folder of a new file. Raises Unavailable for a part of a file."""
        if is_empty(path):
            self._check_new()
            make_folder(path.parent)
        if is_cut_off(path):
            raise unavailable(f"{path.name} is shorter than its header says; finish copying it")

    def _check_new(self) -> None:
        """Raises Unavailable, or NotFound, where no store may be begun."""
        if self._was_ready:
            raise unavailable(EMPTIED)
        if not self._creates:
            raise NotFound("bank store: the database holds none; check the URL")

    def _current_revision(self) -> str:
        """Return the schema's revision, "" for none. Raises Unavailable for other databases."""
        with self._connect(write=False) as connection:
            if not self.is_sqlite:
                postgresql.check_server(self._engine, connection)
            with connection.begin():
                revision = migrations.current(connection)
                if not (revision or self.is_sqlite or self._names_schema):
                    postgresql.check_other_schemas(connection)
        return revision

    def _migrate(self) -> None:
        with self._connect(write=True) as connection:
            if self.is_sqlite:
                # SQLite rebuilds a table that it cannot alter; references to it must survive that.
                sqlite.pragma(connection, "foreign_keys=OFF")
            with connection.begin():
                if not self.is_sqlite:
                    postgresql.begin(connection, postgresql.TURN)
                    connection.execute(
                        text("SELECT pg_advisory_xact_lock(:key)"), {"key": SCHEMA_LOCK}
                    )
                    postgresql.begin(connection, postgresql.MIGRATE)
                migrations.upgrade(connection)
            if self.is_sqlite:
                sqlite.pragma(connection, "foreign_keys=ON")


@contextmanager
def temporary_tables(connection: Connection, tables: Sequence[Table]) -> Iterator[None]:
    """Create temporary tables of a connection of `session`, and drop them at the end."""
    with connection.begin():
        _limit_staging(connection)
        for table in tables:
            table.drop(connection, checkfirst=True)
            table.create(connection)
    try:
        yield
    finally:
        # A dead connection takes its temporary tables with it.
        if not connection.invalidated and not connection.closed:
            with connection.begin():
                _limit_staging(connection)
                for table in tables:
                    table.drop(connection)


def _limit_staging(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        postgresql.begin(connection, postgresql.STAGE)


def lock_head(connection: Connection) -> None:
    """Take the writers' lock. A transaction that writes on SQLite has it from its start."""
    connection.execute(select(schema.head).with_for_update())


def _check_call(
    _connection: object, _cursor: object, _statement: str, parameters: object, *_: object
) -> None:
    """Raises TimedOut if nobody waits for the call, InvalidInput for NUL in the text of one row."""
    check()
    values = parameters.values() if isinstance(parameters, Mapping) else parameters
    if isinstance(values, Iterable):
        for value in values:
            # PostgreSQL stores none, and what no database stores is found in none.
            if isinstance(value, str) and "\0" in value:
                raise InvalidInput("text: must not contain NUL characters; remove them")
