"""Reads of the bank store, all at one revision."""

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Select,
    and_,
    func,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.types import NullType

from featsvc.banks.records import (
    Bank,
    Entry,
    Head,
    Revision,
)
from featsvc.banks.sql.schema import banks, entries, entry_signals, head, revisions
from featsvc.banks.sql.stored import (
    SignalRow,
    StoredRow,
    bank_of,
    entry_of,
    entry_row,
    no_bank,
    revision_of,
    signal_row,
)
from featsvc.banks.sql.times import from_us
from featsvc.errors import InvalidInput, NotFound
from featsvc.signals.algorithms import get_algorithm

_STREAMED = {"yield_per": 5_000}

_LIVE_BANK = banks.c.removed_revision.is_(None)


class SignalBatch(NamedTuple):
    """Signals of one algorithm: value i is of the entry's version i."""

    versions: list[int]
    values: list[bytes]


class VersionedEntry(NamedTuple):
    version: int
    entry: Entry


class StoreView:
    """What `BankStore.view` hands out; valid inside its `with` only."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        # Read first: it fixes the moment that a deferred transaction sees.
        self.head = read_head(connection)

    def banks(self) -> tuple[Bank, ...]:
        """Every bank, by id."""
        rows = self.connection.execute(select(banks).where(_LIVE_BANK).order_by(banks.c.id))
        return tuple(bank_of(row) for row in rows)

    def bank_page(self, *, after: str, limit: int) -> tuple[Bank, ...]:
        """Banks with an id above `after`, by id."""
        page = select(banks).where(_LIVE_BANK, banks.c.id > after).order_by(banks.c.id)
        return tuple(bank_of(row) for row in self.connection.execute(page.limit(limit)))

    def bank(self, bank_id: str) -> Bank:
        """Raises NotFound."""
        return bank_of(self._bank_row(bank_id))

    def bank_key(self, bank_id: str) -> int:
        """Raises NotFound."""
        return int(self._bank_row(bank_id).key)

    def entry(self, bank_id: str, entry_id: int) -> Entry:
        """The newest version. Raises NotFound."""
        newest = select(func.max(entries.c.version)).where(
            entries.c.id == entry_id, entries.c.bank_key == self.bank_key(bank_id)
        )
        found = list(self.entries_where(entries.c.version == newest.scalar_subquery()))
        if not found:
            raise NotFound(
                f"name: no entry {entry_id} in bank {bank_id[:64]!r}; list the bank's entries",
                field="name",
            )
        return found[0]

    def version_page(
        self, condition: ColumnElement[bool], *, after: int, limit: int
    ) -> list[VersionedEntry]:
        """Entries for which it holds with an id above `after`, by id."""
        versions = (
            select(entries.c.version)
            .where(condition, entries.c.id > after)
            .order_by(entries.c.id)
            .limit(limit)
        )
        found = self.versioned(entries.c.version.in_(versions))
        return sorted(found, key=attrgetter("entry.id"))

    def live_entries(self) -> Iterator[Entry]:
        """Every live entry of every bank, streamed."""
        return self.entries_where(entries.c.removed_revision.is_(None))

    def changes_since(self, revision: int) -> Iterator[Entry]:
        """Every version that was added or removed after `revision`, streamed.

        A version that was both is left out: who followed from `revision` never held it. To
        follow, drop what has a `removed_revision`, then take up what has none.
        """
        first = first_version_after(self.connection, revision)
        return self.entries_where(
            or_(
                and_(entries.c.version >= first, entries.c.removed_revision.is_(None)),
                and_(entries.c.version < first, entries.c.removed_revision > revision),
            )
        )

    def live_signals(self) -> Iterator["SignalRow"]:
        """Every signal of every live entry of every bank, by version; streamed."""
        return self._signals(entries.c.removed_revision.is_(None))

    def signals_added_since(self, revision: int) -> Iterator["SignalRow"]:
        """The same of the versions that were added after `revision` and are live."""
        first = first_version_after(self.connection, revision)
        return self._signals(and_(entries.c.version >= first, entries.c.removed_revision.is_(None)))

    def versions_removed_since(self, revision: int) -> tuple[int, ...]:
        """Versions live at `revision` and no longer."""
        first = first_version_after(self.connection, revision)
        found = self.connection.scalars(
            select(entries.c.version).where(
                entries.c.removed_revision > revision, entries.c.version < first
            )
        )
        return tuple(found)

    def commit_time_of(self, revision: int) -> datetime | None:
        """None where there is no such revision."""
        found = self.connection.scalar(
            select(revisions.c.commit_time).where(revisions.c.revision == revision)
        )
        return None if found is None else from_us(found)

    def revisions_since(self, revision: int) -> tuple[Revision, ...]:
        """The log after `revision`, oldest first."""
        rows = self.connection.execute(
            select(revisions).where(revisions.c.revision > revision).order_by(revisions.c.revision)
        )
        return tuple(revision_of(row) for row in rows)

    def _signals(self, condition: ColumnElement[bool]) -> Iterator["SignalRow"]:
        query = (
            select(
                entries.c.version,
                entries.c.id,
                banks.c.id,
                entries.c.external_id,
                entries.c.labels,
                entries.c.source,
                entries.c.opinion,
                # As the driver gives them: SQLAlchemy would look at each again.
                type_coerce(entries.c.quarantined, Integer),
                entries.c.expire_time,
                entry_signals.c.algorithm,
                type_coerce(entry_signals.c.value, NullType),
                entry_signals.c.variant,
                entry_signals.c.algorithm_version,
            )
            .join(banks, banks.c.key == entries.c.bank_key)
            .join(entry_signals, entry_signals.c.version == entries.c.version)
            .where(condition)
            .order_by(entries.c.version, entry_signals.c.ordinal)
        )
        rows = self.connection.execute(query, execution_options=_STREAMED)
        for batch in rows.partitions():
            yield from map(signal_row, batch)

    def revision_page(self, bank_id: str, *, before: int, limit: int) -> tuple[Revision, ...]:
        """The log below revision `before`, newest first; of one bank, or of all where empty."""
        page = select(revisions).where(revisions.c.revision < before)
        if bank_id:
            page = page.where(revisions.c.bank_id == bank_id)
        page = page.order_by(revisions.c.revision.desc()).limit(limit)
        return tuple(revision_of(row) for row in self.connection.execute(page))

    def signals_where(
        self, algorithm: str, condition: ColumnElement[bool]
    ) -> Iterator[SignalBatch]:
        """Those of one algorithm in its present version, for entries for which it holds."""
        signals = entry_signals.c
        rows = self.connection.execute(
            select(entries.c.version, signals.value)
            .join(entry_signals, signals.version == entries.c.version)
            .where(
                condition,
                signals.algorithm == algorithm,
                signals.algorithm_version == get_algorithm(algorithm).version,
            ),
            execution_options=_STREAMED,
        )
        for batch in rows.partitions():
            yield SignalBatch([row.version for row in batch], [row.value for row in batch])

    def entries_where(
        self, condition: ColumnElement[bool], *, by_id: bool = False
    ) -> Iterator[Entry]:
        """By version, or by id; streamed."""
        return (found.entry for found in self.versioned(condition, by_id=by_id))

    def versioned(
        self, condition: ColumnElement[bool], *, by_id: bool = False
    ) -> Iterator[VersionedEntry]:
        """The same with the number of the version."""
        order = (entries.c.id, entries.c.version) if by_id else (entries.c.version,)
        query: Select[tuple[object, ...]] = (
            select(
                entries,
                banks.c.id.label("bank_id"),
                entry_signals.c.algorithm,
                entry_signals.c.value,
                entry_signals.c.variant,
                entry_signals.c.quality,
                entry_signals.c.algorithm_version,
            )
            .join(banks, banks.c.key == entries.c.bank_key)
            .join(entry_signals, entry_signals.c.version == entries.c.version)
            .where(condition)
            .order_by(*order, entry_signals.c.ordinal)
        )
        rows = self.connection.execute(query, execution_options=_STREAMED)
        for version, signals in groupby(map(entry_row, rows), key=attrgetter("version")):
            yield VersionedEntry(version, entry_of(signals))

    def _bank_row(self, bank_id: str) -> StoredRow:
        row = self.connection.execute(
            select(banks).where(banks.c.id == bank_id, _LIVE_BANK)
        ).first()
        if row is None:
            raise no_bank(bank_id)
        return row


def live_at(revision: int, table: FromClause = entries) -> ColumnElement[bool]:
    """Versions that were live at a revision."""
    return and_(
        table.c.added_revision <= revision,
        or_(table.c.removed_revision.is_(None), table.c.removed_revision > revision),
    )


def first_version_after(connection: Connection, revision: int) -> int:
    """Versions that came after `revision` have this number or a larger one."""
    first = connection.scalar(
        select(revisions.c.first_version)
        .where(revisions.c.revision > revision)
        .order_by(revisions.c.revision)
        .limit(1)
    )
    return 2**62 if first is None else int(first)


def read_head(connection: Connection) -> Head:
    row = connection.execute(select(head)).one()
    return Head(row.revision, from_us(row.commit_time) if row.revision else None)


def check_revision(revision: int, newest: int, field: str) -> int:
    """The revision itself, the newest for 0. Raises InvalidInput for one that is yet to come."""
    if revision > newest:
        raise InvalidInput(
            f"{field}: {revision} is yet to come, the newest revision is {newest}", field=field
        )
    return revision or newest
