"""Copies a whole store into another database, SQLite or PostgreSQL, and proves it.

The source is read in one transaction: the store at one revision, whatever is written meanwhile.
History, ids, version and change numbers, times and kept answers are the source's; the identity
of the store is new, since both have a future of their own.

    1. make the tables, without indexes and references
    2. copy each table in the order of its keys, in pieces; a copy that was killed goes on
    3. make indexes and references
    4. read all back, and compare it with the source row by row
    5. write `head` and the schema's revision: only now it is a store
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from sqlalchemy import Table, text

from featsvc.banks.moving.endpoint import Endpoint
from featsvc.banks.moving.rows import TABLES, Checksum, CopiedHead, Row, TableReader
from featsvc.banks.moving.target import Target
from featsvc.banks.sql import migrations
from featsvc.banks.sql.consistency import check_tables
from featsvc.banks.sql.schema import entries, entry_signals, head, revisions
from featsvc.errors import Conflict, NotFound

GOES_ON = frozenset({entries.name, entry_signals.name, revisions.name})
"""Tables whose rows stay as they are while the source's head does; others are copied anew."""


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """What a copy does now: `copying`, `indexing` or `verifying`, and rows (or indexes) of all."""

    phase: str
    table: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class TableCheck:
    """A table of the copy, read back; `difference` names the first row that differs, or is ""."""

    table: str
    rows: int
    checksum: str
    difference: str = ""


@dataclass(frozen=True, slots=True)
class StoreCopy:
    """A copy that was made: the source's newest revision, and every table."""

    revision: int
    tables: tuple[TableCheck, ...]
    resumed: bool

    @property
    def differences(self) -> list[str]:
        """The first row of each table that differs. If there is one, the copy is no store."""
        return [check.difference for check in self.tables if check.difference]


def copy_store(
    source_url: str,
    target_url: str,
    *,
    restart: bool = False,
    on_progress: Callable[[CopyProgress], None] = lambda _: None,
) -> StoreCopy:
    """Copy a store into an empty database, or go on with a copy that was interrupted.

    URLs are those of `banks.url`. `restart` removes an unfinished copy from the target first. The
    source is never written to. Look at `differences` of the result: a copy that differs is left
    unfinished, which no service serves.

    Raises ConfigInvalid for a malformed URL, NotFound for a source without a store, Conflict for a
    source of another schema, a target that holds anything else, a source that has changed since an
    unfinished copy was begun; DataCorrupt for a value that the target cannot hold; Unavailable.
    """
    source = Endpoint("--from", source_url, writes=False)
    target = Endpoint("--to", target_url, writes=True)
    with source.connected(), source.transaction():
        newest = _read_head(source)
        if source.path and target.path and target.path.exists():
            _check_apart(same=source.path.samefile(target.path))
        with target.connected():
            if not (source.is_sqlite or target.is_sqlite):
                _check_apart(same=_share_locks(source, target))
            return _Copying(source, target, newest, on_progress).run(restart=restart)


def _read_head(source: Endpoint) -> CopiedHead:
    """Raises NotFound where there is no store, Conflict for one of another schema.

    Raises Unavailable for one that is half restored.
    """
    connection, label = source.connection, source.label
    version = migrations.current(connection)
    if not version:
        raise NotFound(f"{label}: the database holds no bank store")
    if version > migrations.HEAD:
        raise Conflict(
            f"{label}: a newer featsvc upgraded the store to schema {version}, this one copies "
            f"{migrations.HEAD}; use that version's command"
        )
    if version < migrations.HEAD:
        raise Conflict(
            f"{label}: the store has schema {version}, this featsvc copies {migrations.HEAD}, and "
            "the source is never written to; upgrade it first: start this version with it once"
        )
    row = check_tables(connection)
    return CopiedHead(row.store_id, row.revision, row.commit_time, row.change, row.next_version)


def _check_apart(*, same: bool) -> None:
    if same:
        raise Conflict("--from and --to are the same database; name another one in --to")


def _share_locks(source: Endpoint, target: Endpoint) -> bool:
    """Return whether both are one PostgreSQL database and schema: its advisory locks are shared."""
    key = {"key": secrets.randbits(62)}
    schema = text("SELECT current_schema()")
    source.connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), key)
    with target.transaction() as connection:
        free = connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), key)
        return not free and connection.scalar(schema) == source.connection.scalar(schema)


class _Copying:
    """One run of a copy, within the source's transaction."""

    def __init__(
        self,
        source: Endpoint,
        target: Endpoint,
        newest: CopiedHead,
        on_progress: Callable[[CopyProgress], None],
    ) -> None:
        self._newest = newest
        self._endpoint = target
        self._report = on_progress
        fits = not target.is_sqlite
        self._source = {
            table: TableReader(table, source, newest, for_postgresql=fits)
            for table in (*TABLES, head)
        }
        self._copied = {table: TableReader(table, target) for table in (*TABLES, head)}
        self._total = sum(reader.count() for reader in self._source.values())
        self._done = 0

    def run(self, *, restart: bool) -> StoreCopy:
        target = Target(self._endpoint)
        resumed = target.begin(self._newest, restart=restart)
        for table in TABLES:
            after = None
            if resumed and table.name in GOES_ON:
                after = self._last_key(table)
            elif resumed:
                target.clear(table)
            target.write(table, self._counted("copying", table, after))
        target.complete(lambda done, of: self._report(CopyProgress("indexing", "", done, of)))
        checks: list[TableCheck] = []
        self._done = 0

        def verify() -> bool:
            checks.extend(self._check(table) for table in (*TABLES, head))
            return not any(check.difference for check in checks)

        target.publish(self._newest, verify)
        return StoreCopy(self._newest.revision, tuple(checks), resumed)

    def _last_key(self, table: Table) -> Row | None:
        """Return up to which row an earlier run has copied a table."""
        with self._endpoint.transaction():
            reader = self._copied[table]
            self._done += reader.count()
            return reader.last_key()

    def _counted(self, phase: str, table: Table, after: Row | None = None) -> Iterator[list[Row]]:
        for chunk in self._source[table].chunks(after):
            self._report(CopyProgress(phase, table.name, self._done, self._total))
            yield chunk
            self._done += len(chunk)

    def _check(self, table: Table) -> TableCheck:
        """Read a table back, and compare it with the source."""
        copied, source = Checksum(), Checksum()
        difference = ""
        pairs = zip_longest(
            self._counted("verifying", table), self._copied[table].chunks(), fillvalue=()
        )
        for wanted, found in pairs:
            source.add(wanted)
            copied.add(found)
            if not difference and wanted != found:
                difference = self._first_difference(table, wanted, found)
        if copied.hex() != source.hex() and not difference:
            difference = table.name
        return TableCheck(table.name, copied.rows, copied.hex(), difference)

    def _first_difference(self, table: Table, wanted: Sequence[Row], found: Sequence[Row]) -> str:
        reader = self._source[table]
        rows = next(pair for pair in zip_longest(wanted, found) if pair[0] != pair[1])
        return reader.describe(min(reader.key(row) for row in rows if row is not None))
