"""Reads of the bank store, all at one revision."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple, cast

from sqlalchemy import ColumnElement, Connection, FromClause, Row, Select, and_, func, or_, select

from featsvc.banks.records import (
    Bank,
    BankMode,
    Entry,
    EntrySignal,
    Head,
    Opinion,
    Revision,
)
from featsvc.banks.sql.schema import LABEL_SEPARATOR, banks, entries, entry_signals, head, revisions
from featsvc.banks.sql.times import from_us
from featsvc.errors import InvalidInput, NotFound

_STREAMED = {"yield_per": 5_000}

_LIVE_BANK = banks.c.removed_revision.is_(None)

SignalRow = tuple[int, int, str, str, str, str, str, bool, int | None, str, bytes, str]
"""version, entry id, bank id, external id, labels (as stored), source, opinion, quarantined, expiry
(microseconds), algorithm, value, variant. A plain tuple: an index reads millions."""

_Row = Row[tuple[object, ...]]


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
                entries.c.quarantined,
                entries.c.expire_time,
                entry_signals.c.algorithm,
                entry_signals.c.value,
                entry_signals.c.variant,
            )
            .join(banks, banks.c.key == entries.c.bank_key)
            .join(entry_signals, entry_signals.c.version == entries.c.version)
            .where(condition)
            .order_by(entries.c.version, entry_signals.c.ordinal)
        )
        rows = self.connection.execute(query, execution_options=_STREAMED)
        for batch in rows.partitions():
            yield from cast(Iterable[SignalRow], batch)

    def revision_page(self, bank_id: str, *, before: int, limit: int) -> tuple[Revision, ...]:
        """The log below revision `before`, newest first; of one bank, or of all where empty."""
        page = select(revisions).where(revisions.c.revision < before)
        if bank_id:
            page = page.where(revisions.c.bank_id == bank_id)
        page = page.order_by(revisions.c.revision.desc()).limit(limit)
        return tuple(revision_of(row) for row in self.connection.execute(page))

    def signals_where(
        self, algorithm: str, condition: ColumnElement[bool]
    ) -> Iterator[Sequence[tuple[int, bytes]]]:
        """Versions and values of one algorithm in batches, for entries for which it holds."""
        rows = self.connection.execute(
            select(entries.c.version, entry_signals.c.value)
            .join(entry_signals, entry_signals.c.version == entries.c.version)
            .where(condition, entry_signals.c.algorithm == algorithm),
            execution_options=_STREAMED,
        )
        for batch in rows.partitions():
            yield [(row.version, row.value) for row in batch]

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
            )
            .join(banks, banks.c.key == entries.c.bank_key)
            .join(entry_signals, entry_signals.c.version == entries.c.version)
            .where(condition)
            .order_by(*order, entry_signals.c.ordinal)
        )
        rows = self.connection.execute(query, execution_options=_STREAMED)
        for version, signals in groupby(rows, key=attrgetter("version")):
            yield VersionedEntry(version, entry_of(signals))

    def _bank_row(self, bank_id: str) -> _Row:
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


def bank_of(row: _Row) -> Bank:
    counts: dict[str, int] = json.loads(row.signal_counts)
    return Bank(
        id=row.id,
        display_name=row.display_name,
        description=row.description,
        mode=BankMode(row.mode),
        safe=row.safe,
        thresholds=MappingProxyType(json.loads(row.thresholds)),
        query_variants=tuple(json.loads(row.query_variants)),
        engine=row.engine,
        etag=f"{row.settings_revision:x}-{row.revision:x}",
        revision=row.revision,
        create_time=from_us(row.create_time),
        update_time=from_us(row.update_time),
        entry_count=row.entry_count,
        signal_counts=MappingProxyType(counts),
    )


def entry_of(rows: Iterable[_Row]) -> Entry:
    """One version of an entry from its rows, one a signal."""
    rows = list(rows)
    row = rows[0]
    return Entry(
        id=row.id,
        bank_id=row.bank_id,
        external_id=row.external_id,
        signals=tuple(EntrySignal(r.algorithm, r.value, r.variant, r.quality) for r in rows),
        labels=split_stored_labels(row.labels),
        source=row.source,
        opinion=Opinion(row.opinion),
        note=row.note,
        expire_time=None if row.expire_time is None else from_us(row.expire_time),
        added_revision=row.added_revision,
        removed_revision=row.removed_revision,
        quarantined=row.quarantined,
        create_time=from_us(row.create_time),
    )


def revision_of(row: _Row) -> Revision:
    return Revision(
        revision=row.revision,
        commit_time=from_us(row.commit_time),
        bank_id=row.bank_id,
        action=row.action,
        actor=row.actor,
        reason=row.reason,
        file_name=row.file_name,
        file_sha256=row.file_sha256,
        added_entries=row.added_entries,
        withdrawn_entries=row.withdrawn_entries,
        changed_entries=row.changed_entries,
    )


def no_bank(bank_id: str) -> NotFound:
    return NotFound(
        f"bank: there is no {bank_id[:64]!r}; list the banks, or create it", field="bank"
    )


def split_stored_labels(stored: str) -> tuple[str, ...]:
    return tuple(stored.split(LABEL_SEPARATOR)) if stored else ()


def check_revision(revision: int, newest: int, field: str) -> int:
    """The revision itself, the newest for 0. Raises InvalidInput for one that is yet to come."""
    if revision > newest:
        raise InvalidInput(
            f"{field}: {revision} is yet to come, the newest revision is {newest}", field=field
        )
    return revision or newest
