"""The database that a store is copied into, from the first table to the last row.

While a copy is unfinished, `alembic_version` names no schema and `head` has no row, so nothing
takes it for a store. The table `unfinished_copy` has one row: which store is copied, who copies,
and the indexes and references that are still to be made, after all rows are there.
"""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    insert,
    inspect,
    select,
    text,
    update,
)

from featsvc.banks.moving.endpoint import Endpoint
from featsvc.banks.moving.rows import TABLES, CopiedHead, Row
from featsvc.banks.sql import migrations
from featsvc.banks.sql.database import SCHEMA_LOCK, lock_head
from featsvc.banks.sql.schema import head, metadata
from featsvc.errors import Conflict, DataCorrupt

PIECE_CHUNKS = 20
"""Chunks of rows that are committed at once."""

unfinished_copy = Table(
    "unfinished_copy",
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    # JSON: `CopiedHead.identity` of the source, and this build's schema.
    Column("source", String, nullable=False),
    # A random number of the process that copies.
    Column("run", String(32), nullable=False),
    # JSON: the statements that make what is still missing.
    Column("missing", String, nullable=False),
)
_OURS = (*(table.name for table in metadata.sorted_tables), unfinished_copy.name, "alembic_version")

_SQLITE_INDEXES = """
SELECT 'DROP INDEX "' || name || '"', sql FROM sqlite_master
WHERE type = 'index' AND sql IS NOT NULL ORDER BY tbl_name, name
"""
_POSTGRESQL_INDEXES = """
SELECT 'DROP INDEX ' || indexrelid::regclass, pg_get_indexdef(indexrelid)
FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE relnamespace = current_schema()::regnamespace AND relname = ANY(%(tables)s)
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
ORDER BY relname, indexrelid
"""
_POSTGRESQL_REFERENCES = """
SELECT format('ALTER TABLE %%s DROP CONSTRAINT %%I', conrelid::regclass, conname),
  format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', conrelid::regclass, conname,
    pg_get_constraintdef(pg_constraint.oid))
FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
WHERE contype = 'f' AND relnamespace = current_schema()::regnamespace
  AND relname = ANY(%(tables)s)
ORDER BY relname, conname
"""


class _DiffersError(Exception):
    """The copy is not its source: its last transaction is rolled back."""


class Target:
    """The store that is being made in a database."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._run = uuid.uuid4().hex

    def begin(self, source: CopiedHead, *, restart: bool) -> bool:
        """Make the tables, or take over an unfinished copy; return whether it is one that goes on.

        Raises Conflict if the database holds anything else, or a copy of another source, unless
        `restart`, which removes an unfinished copy.
        """
        identity = json.dumps([*source.identity, migrations.HEAD])
        with self._endpoint.transaction() as connection:
            if not self._endpoint.is_sqlite:
                # Nobody else makes tables meanwhile.
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SCHEMA_LOCK})
            tables = {*inspect(connection).get_table_names()}
            goes_on = unfinished_copy.name in tables
            if goes_on and restart:
                self._remove(connection, tables)
                tables, goes_on = set(), False
            if goes_on:
                self._take_over(connection, identity)
            else:
                self._check_unused(connection, tables)
                migrations.upgrade(connection)
                connection.execute(delete(head))
                unfinished_copy.create(connection)
                connection.execute(
                    insert(unfinished_copy).values(
                        id=1, source=identity, run=self._run, missing="[]"
                    )
                )
                connection.execute(
                    text("UPDATE alembic_version SET version_num = :version"),
                    {"version": migrations.UNFINISHED_COPY},
                )
                self._take_away(connection, self._indexes(connection))
            self._take_away(connection, self._references(connection))
        if self._endpoint.is_sqlite:
            # Not before: a file that is refused stays as it is.
            self._endpoint.sqlite.execute("PRAGMA journal_mode=WAL")
        return goes_on

    def write(self, table: Table, chunks: Iterator[list[Row]]) -> None:
        """Write rows, in the order of `table.columns`, in pieces that are committed one by one."""
        # What is not asked for is not read, so a piece's transaction begins with its first rows.
        while (first := next(chunks, None)) is not None:
            with self._piece() as connection:
                self._insert(connection, table, first)
                for chunk in islice(chunks, PIECE_CHUNKS - 1):
                    self._insert(connection, table, chunk)

    def clear(self, table: Table) -> None:
        """Remove all rows of a table."""
        verb = "DELETE FROM" if self._endpoint.is_sqlite else "TRUNCATE"
        with self._piece() as connection:
            connection.exec_driver_sql(f"{verb} {self._endpoint.quoted(table.name)}")

    def complete(self, on_step: Callable[[int, int], None]) -> None:
        """Make the missing indexes and references, each in a transaction; calls with done, total.

        Raises DataCorrupt if a row refers to one that is not there.
        """
        with self._piece() as connection:
            missing = self._missing(connection)
        for done, statement in enumerate(missing):
            on_step(done, len(missing))
            with self._piece() as connection:
                connection.exec_driver_sql(statement.replace("%", "%%"))
                left = json.dumps(missing[done + 1 :])
                connection.execute(update(unfinished_copy).values(missing=left))
        with self._piece() as connection:
            if self._endpoint.is_sqlite:
                dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                if dangling is not None:
                    raise DataCorrupt(
                        f"{self._endpoint.label}: a row of {dangling[0]} refers to one of "
                        f"{dangling[2]} that is not there; correct the source, then run the same "
                        "command again with --restart"
                    )
            else:
                # Otherwise plans are made by a guess until the server's daemon comes by.
                names = ", ".join(self._endpoint.quoted(table.name) for table in TABLES)
                connection.exec_driver_sql(f"ANALYZE {names}")

    def publish(self, newest: CopiedHead, verify: Callable[[], bool]) -> None:
        """Make a store of the copy if `verify`, within the same transaction, finds it right.

        It begins with the newest revision, and gets an identity of its own.
        """
        with suppress(_DiffersError), self._piece() as connection:
            connection.execute(
                insert(head).values(
                    id=1,
                    revision=newest.revision,
                    commit_time=newest.commit_time,
                    next_version=newest.next_version,
                    change=newest.change,
                    store_id=uuid.uuid4().hex,
                )
            )
            if not verify():
                raise _DiffersError
            if not self._endpoint.is_sqlite:
                self._set_sequences(connection)
            unfinished_copy.drop(connection)
            connection.execute(
                text("UPDATE alembic_version SET version_num = :version"),
                {"version": migrations.HEAD},
            )

    @contextmanager
    def _piece(self) -> Iterator[Connection]:
        """A transaction of this run. Raises Conflict if another one has taken over."""
        with self._endpoint.transaction() as connection:
            mine = update(unfinished_copy).where(unfinished_copy.c.run == self._run)
            if not (
                inspect(connection).has_table(unfinished_copy.name)
                and connection.execute(mine.values(run=self._run)).rowcount
            ):
                raise Conflict(
                    f"{self._endpoint.label}: another `featsvc bank copy-store` copies into this "
                    "database; let it finish"
                )
            yield connection

    def _take_over(self, connection: Connection, identity: str) -> None:
        taken = connection.execute(select(unfinished_copy).with_for_update()).one()
        if taken.source != identity:
            before, now = json.loads(taken.source), json.loads(identity)
            if before[0] != now[0]:
                found = "holds an unfinished copy of another store"
            elif before[-1] != now[-1]:
                found = "holds an unfinished copy that another version of featsvc began"
            else:
                found = (
                    f"holds an unfinished copy of revision {before[1]}, and the source has changed "
                    f"since, to revision {now[1]}"
                )
            raise Conflict(
                f"{self._endpoint.label}: {found}; stop whatever writes to the source, then run "
                "the same command with --restart, which begins anew"
            )
        connection.execute(update(unfinished_copy).values(run=self._run))

    def _check_unused(self, connection: Connection, tables: set[str]) -> None:
        """Raises Conflict unless there are no tables, or a store that was never written to."""
        if not tables:
            return
        held = f"{len(tables)} tables that are no bank store"
        if {head.name, "alembic_version"} <= tables:
            version = migrations.stored(connection)
            if version > migrations.HEAD:
                held = f"a bank store of a newer featsvc (schema {version})"
            elif version:
                lock_head(connection)
                revision = connection.scalar(select(head.c.revision))
                ours = [table for table in TABLES if table.name in tables]
                used = any(
                    connection.execute(select(text("1")).select_from(table).limit(1)).first()
                    for table in ours
                )
                if revision == 0 and not used:
                    return
                held = f"a bank store at revision {revision}"
        raise Conflict(
            f"{self._endpoint.label}: the database holds {held}, and nothing is overwritten; name "
            "a new one, or empty this one yourself"
        )

    def _remove(self, connection: Connection, tables: set[str]) -> None:
        cascade = "" if self._endpoint.is_sqlite else " CASCADE"
        for name in _OURS:
            if name in tables:
                connection.exec_driver_sql(f"DROP TABLE {self._endpoint.quoted(name)}{cascade}")

    def _indexes(self, connection: Connection) -> list[tuple[str, str]]:
        """Return statements that drop an index and make it again; keys stay."""
        if self._endpoint.is_sqlite:
            return [(row[0], row[1]) for row in connection.exec_driver_sql(_SQLITE_INDEXES)]
        return self._catalogued(connection, _POSTGRESQL_INDEXES)

    def _references(self, connection: Connection) -> list[tuple[str, str]]:
        """Return statements that drop a foreign key and make it again; SQLite checks them later."""
        if self._endpoint.is_sqlite:
            return []
        return self._catalogued(connection, _POSTGRESQL_REFERENCES)

    def _catalogued(self, connection: Connection, query: str) -> list[tuple[str, str]]:
        tables = [table.name for table in TABLES]
        rows = connection.exec_driver_sql(query, {"tables": tables})
        return [(row[0], row[1]) for row in rows]

    def _take_away(self, connection: Connection, statements: list[tuple[str, str]]) -> None:
        """Drop what slows rows down, and note how it is made again."""
        missing = self._missing(connection)
        for drop, make in statements:
            connection.exec_driver_sql(drop.replace("%", "%%"))
            missing.append(make)
        connection.execute(update(unfinished_copy).values(missing=json.dumps(missing)))

    def _missing(self, connection: Connection) -> list[str]:
        missing: list[str] = json.loads(
            connection.execute(select(unfinished_copy.c.missing)).scalar_one()
        )
        return missing

    def _insert(self, connection: Connection, table: Table, rows: list[Row]) -> None:
        names = ", ".join(self._endpoint.quoted(column.name) for column in table.columns)
        into = f"{self._endpoint.quoted(table.name)} ({names})"
        if self._endpoint.is_sqlite:
            marks = ", ".join("?" * len(table.columns))
            self._endpoint.sqlite.executemany(f"INSERT INTO {into} VALUES ({marks})", rows)
            return
        sql = f"COPY {into} FROM STDIN".encode()
        with self._endpoint.postgresql.cursor() as cursor, cursor.copy(sql) as copy:
            for row in rows:
                copy.write_row(row)

    def _set_sequences(self, connection: Connection) -> None:
        """Let keys that PostgreSQL numbers go on after the largest; SQLite's do by themselves."""
        for table in TABLES:
            column = table.autoincrement_column
            if column is not None:
                name = self._endpoint.quoted(column.name)
                quoted = self._endpoint.quoted(table.name)
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{quoted}', '{column.name}'), "
                    f"max({name})) FROM {quoted} HAVING max({name}) IS NOT NULL"
                )
