"""Reads of the bank store, all at one revision."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Row,
    Select,
    and_,
    func,
    literal,
    literal_column,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.types import NullType

from featsvc.banks.interruption import check
from featsvc.banks.records import Bank, Entry, Opinion, Revision, SettingsDifference, StoreHead
from featsvc.banks.sql.bank_settings import difference, with_setting_changes
from featsvc.banks.sql.consistency import check_tables
from featsvc.banks.sql.failures import unavailable
from featsvc.banks.sql.lookups import Columns, look_up
from featsvc.banks.sql.schema import (
    banks,
    entries,
    entry_signals,
    has_expired,
    head,
    is_live,
    is_live_bank,
    listed_after,
    live_after,
    live_entries,
    newest_change,
    next_version,
    revisions,
    vector_models,
)
from featsvc.banks.sql.stored import (
    SignalRow,
    StoredRow,
    bank_of,
    bank_row,
    entry_of,
    entry_row,
    revision_of,
    signal_row,
)
from featsvc.banks.sql.times import from_us, now_us
from featsvc.errors import InvalidInput, NotFound, shown
from featsvc.signals.algorithms import get_algorithm

_STREAMED = {"yield_per": 5_000}


class SignalBatch(NamedTuple):
    """Values of one algorithm, and the version of the entry that each belongs to."""

    versions: list[int]
    values: list[bytes]


class VersionedEntry(NamedTuple):
    version: int
    entry: Entry


class ChangedSince(NamedTuple):
    """What changed after a revision, by the log.

    `first_time` is the commit time of the first change, None where there is none. `read` counts
    entries that a reader adds, `entries` those that it withdraws, too.
    """

    first_time: datetime | None
    read: int
    entries: int


class StoreView:
    """A view of the store at one revision; valid inside the `with` of `BankStore.view` only."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        # The first read fixes the state that a deferred transaction sees.
        self.head = read_head(connection)
        self._revisions: dict[int, int] = {}
        """Change -> revision, 0 for none."""

    def check_tables(self) -> None:
        """Raises Unavailable for a store that is half restored."""
        check_tables(self.connection)

    def entry_count(self) -> int:
        """Return the number of live entries of all banks, as the banks count them."""
        counted = select(func.coalesce(func.sum(banks.c.entry_count), 0)).where(is_live_bank)
        return int(self.connection.scalar(counted) or 0)

    def banks(self) -> tuple[Bank, ...]:
        """Return all banks, by id."""
        return self.bank_page(after="", limit=None)

    def bank_page(self, *, after: str, limit: int | None) -> tuple[Bank, ...]:
        """Return at most `limit` banks with an id above `after`, by id."""
        page = select(banks).where(is_live_bank, banks.c.id > after).order_by(banks.c.id)
        return tuple(bank_of(row) for row in self.connection.execute(page.limit(limit)))

    def bank(self, bank_id: str) -> Bank:
        """Raises NotFound."""
        return bank_of(bank_row(self.connection, bank_id))

    def counted_bank(self, bank_id: str) -> Bank:
        """Return a bank with its `expired_entries`. Raises NotFound."""
        (bank,) = self.with_expired([self.bank(bank_id)])
        return bank

    def with_expired(self, found: Sequence[Bank]) -> tuple[Bank, ...]:
        """Return the banks with the number of their live entries that have expired."""
        rows = self.connection.execute(
            select(banks.c.id, func.count().label("expired"))
            .join_from(banks, entries)
            .where(is_live_bank, banks.c.id.in_([bank.id for bank in found]))
            .where(is_live, has_expired(now_us()))
            .group_by(banks.c.id)
        )
        expired = {row.id: row.expired for row in rows}
        return tuple(replace(bank, expired_entries=expired.get(bank.id, 0)) for bank in found)

    def settings_difference(self, bank_id: str, first: int, second: int) -> SettingsDifference:
        """Return the settings of a bank that differ between two revisions. Raises NotFound."""
        return difference(self.connection, bank_row(self.connection, bank_id), first, second)

    def matchable_entries(self, bank: Bank) -> ColumnElement[bool]:
        """Select live entries that are neither quarantined nor, unless in a safe list, negative.

        Those that have expired are among them.
        """
        return and_(
            live_entries(self.bank_key(bank.id)),
            ~entries.c.quarantined,
            or_(entries.c.opinion != Opinion.NEGATIVE.value, literal(bank.safe)),
        )

    def holds_matchable(self, bank: Bank) -> bool:
        """Return whether a search of the bank can match any of its entries."""
        matchable = and_(self.matchable_entries(bank), ~has_expired(now_us()))
        # In order: a step in an index, while a bitmap would be of the whole bank.
        first = select(entries.c.id).where(matchable).order_by(entries.c.id).limit(1)
        return self.connection.scalar(first) is not None

    def bank_key(self, bank_id: str) -> int:
        """Raises NotFound."""
        return int(bank_row(self.connection, bank_id).key)

    def entry(self, bank_id: str, entry_id: int) -> Entry:
        """Return the newest version of an entry, live or withdrawn. Raises NotFound."""
        newest = select(func.max(entries.c.version)).where(
            entries.c.id == entry_id,
            entries.c.bank_key == self.bank_key(bank_id),
            entries.c.added_change <= newest_change,
        )
        versions = list(self.entries_where(entries.c.version == newest.scalar_subquery()))
        if not versions:
            raise NotFound(
                f"name: no entry {entry_id} in bank {shown(bank_id)!r}; list the bank's entries",
                field="name",
            )
        return versions[0]

    def vector_dimensions(self) -> Mapping[str, int]:
        """Return the number of dimensions of each model's vectors."""
        rows = self.connection.execute(select(vector_models))
        return {row.model: row.dimensions for row in rows}

    def live_signals(self) -> Iterator[SignalRow]:
        """Stream every signal of every live entry of all banks, by version."""
        of_version = entry_signals.c.version == entries.c.version
        source = entries.join(banks).join(entry_signals, of_version)
        return self._signals(is_live, source, entry_signals.c)

    def signals_added_since(self, revision: int) -> Iterator[SignalRow]:
        """Stream the signals of live versions that were added after `revision`, by version."""
        first = first_version_after(self.connection, revision)
        # Those of a change that is being written are above; there may be a million.
        added = and_(entries.c.version >= first, entries.c.version < next_version)
        of_version = entry_signals.c.version == entries.c.version
        source, signal = look_up(self.connection, entries.join(banks), entry_signals, of_version)
        return self._signals(and_(added, is_live), source, signal)

    def versions_removed_since(self, revision: int) -> tuple[int, ...]:
        """Return the versions that were live at `revision` and no longer are."""
        first = first_version_after(self.connection, revision)
        removed = entries.c.removed_change
        return tuple(
            self.connection.scalars(
                select(entries.c.version).where(
                    removed > change_of(revision),
                    removed <= newest_change,
                    entries.c.version < first,
                    ~entries.c.withheld,
                )
            )
        )

    def commit_time_of(self, revision: int) -> datetime | None:
        """Return the commit time of a revision, or None if there is no such revision."""
        time_us = self.connection.scalar(
            select(revisions.c.commit_time).where(revisions.c.revision == revision)
        )
        return None if time_us is None else from_us(time_us)

    def was_at(self, past: StoreHead) -> bool:
        """Return whether the store has been at this head.

        It has not if it is another store, or a restored backup with other changes since.
        """
        if past.store_id != self.head.store_id:
            return False
        return self.commit_time_of(past.revision) == past.commit_time

    def changed_since(self, revision: int) -> ChangedSince:
        """Return how much changed after `revision`: one row, whatever the length of the log."""
        log = revisions.c
        read = func.coalesce(func.sum(log.added_entries + log.changed_entries), 0)
        withdrawn = func.coalesce(func.sum(log.withdrawn_entries), 0)
        # With both bounds, or PostgreSQL would expect a third of the log.
        since = and_(log.revision > revision, log.revision <= self.head.revision)
        first_us, added, gone = self.connection.execute(
            select(func.min(log.commit_time), read, withdrawn).where(since)
        ).one()
        # PostgreSQL sums integers to decimals.
        first = None if first_us is None else from_us(first_us)
        return ChangedSince(first, int(added), int(added) + int(gone))

    def revision_page(self, bank_id: str, *, before: int, limit: int) -> tuple[Revision, ...]:
        """Return at most `limit` lines of a bank's log below revision `before`, newest first.

        An empty bank id selects the log of all banks.
        """
        page = select(revisions).where(revisions.c.revision < before)
        if bank_id:
            page = page.where(revisions.c.bank_id == bank_id)
        page = page.order_by(revisions.c.revision.desc()).limit(limit)
        lines = [revision_of(row) for row in self.connection.execute(page)]
        return with_setting_changes(self.connection, lines)

    def signals_where(
        self, algorithm: str, condition: ColumnElement[bool]
    ) -> Iterator[SignalBatch]:
        """Stream the signals of this build's version of an algorithm, of matching entries."""
        signals = entry_signals.c
        comparable = signals.algorithm_version == get_algorithm(algorithm).version
        of_version = signals.version == entries.c.version, signals.algorithm == algorithm
        source, signal = look_up(self.connection, entries, entry_signals, *of_version, comparable)
        query = select(entries.c.version, signal.value).select_from(source).where(condition)
        for batch in self._batches(query):
            yield SignalBatch([row.version for row in batch], [row.value for row in batch])

    def entries_where(
        self, condition: ColumnElement[bool], *, by_id: bool = False
    ) -> Iterator[Entry]:
        """Stream the matching versions, by version or by id."""
        return (entry for _, entry in self.versioned(condition, by_id=by_id))

    def versioned(
        self, condition: ColumnElement[bool], *, by_id: bool = False
    ) -> Iterator[VersionedEntry]:
        """Stream the matching versions with their numbers, by version or by id."""
        order = (entries.c.id, entries.c.version) if by_id else (entries.c.version,)
        of_version = entry_signals.c.version == entries.c.version
        source, signal = look_up(self.connection, entries.join(banks), entry_signals, of_version)
        query: Select[tuple[object, ...]] = (
            select(
                entries,
                banks.c.id.label("bank_id"),
                signal.algorithm,
                signal.value,
                signal.variant,
                signal.quality,
                signal.algorithm_version,
            )
            .select_from(source)
            .where(condition)
            .order_by(*order, signal.ordinal)
        )
        rows = chain.from_iterable(self._batches(query))
        for version, signals in groupby(map(entry_row, rows), key=attrgetter("version")):
            yield VersionedEntry(version, entry_of(signals, self._revision_of))

    def _revision_of(self, change: int) -> int:
        """Return the revision of a change, 0 if it is not a revision yet."""
        if change not in self._revisions:
            found = select(revisions.c.revision).where(revisions.c.change == change)
            self._revisions[change] = self.connection.scalar(found) or 0
        return self._revisions[change]

    def _signals(
        self, condition: ColumnElement[bool], source: FromClause, signal: Columns
    ) -> Iterator[SignalRow]:
        query = (
            select(
                entries.c.version,
                entries.c.id,
                banks.c.id,
                entries.c.external_id,
                entries.c.labels,
                entries.c.source,
                entries.c.opinion,
                # As the driver returns them: SQLAlchemy would convert each value.
                type_coerce(entries.c.quarantined, Integer),
                entries.c.expire_time,
                signal.algorithm,
                type_coerce(signal.value, NullType),
                signal.variant,
                signal.algorithm_version,
            )
            .select_from(source)
            .where(condition)
            .order_by(entries.c.version, signal.ordinal)
        )
        for batch in self._batches(query):
            yield from map(signal_row, batch)

    def _batches(self, query: Select[Any]) -> Iterator[Sequence[Row[Any]]]:
        with self.connection.execute(query, execution_options=_STREAMED) as rows:
            for batch in rows.partitions():
                check()
                yield batch


def change_of(revision: int) -> ColumnElement[int]:
    """Return the change of a revision, 0 for the empty store."""
    if not revision:
        return literal_column("0")
    return select(revisions.c.change).where(revisions.c.revision == revision).scalar_subquery()


def live_at(revision: int, table: FromClause = entries) -> ColumnElement[bool]:
    """Select the versions that were live at a revision."""
    return live_after(change_of(revision), table)


def listed_at(revision: int) -> ColumnElement[bool]:
    """Select the versions that were listed at a revision, live or withheld."""
    return listed_after(change_of(revision))


def first_version_after(connection: Connection, revision: int) -> int:
    """Return the lowest version number that a revision after `revision` used."""
    first = connection.scalar(
        select(revisions.c.first_version)
        .where(revisions.c.revision > revision)
        .order_by(revisions.c.revision)
        .limit(1)
    )
    return 2**62 if first is None else int(first)


def read_head(connection: Connection) -> StoreHead:
    """Read the newest revision. Raises Unavailable where a restore has not loaded it yet."""
    row = connection.execute(select(head)).first()
    if row is None:
        raise unavailable("half restored: head is empty; finish restoring")
    return _head_of(row)


def read_checked_head(connection: Connection) -> StoreHead:
    """The same. Raises Unavailable where the store is half restored in any way."""
    return _head_of(check_tables(connection))


def _head_of(row: StoredRow) -> StoreHead:
    committed = from_us(row.commit_time) if row.revision else None
    return StoreHead(row.revision, committed, row.store_id)


def check_revision(revision: int, newest: int, field: str) -> int:
    """Return the revision, or the newest for 0. Raises InvalidInput for a future one."""
    if revision > newest:
        raise InvalidInput.at(field, f"there is no revision {revision} yet; the newest is {newest}")
    return revision or newest
