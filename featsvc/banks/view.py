"""Reads of the bank store, all at one revision."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from types import MappingProxyType
from typing import cast

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, or_, select

from featsvc.banks.records import (
    Bank,
    BankMode,
    Entry,
    EntrySignal,
    Head,
    Opinion,
    Revision,
)
from featsvc.banks.schema import banks, entries, entry_signals, head, revisions
from featsvc.banks.staging import split_stored_labels
from featsvc.banks.times import from_us
from featsvc.errors import NotFound

_FETCH_ROWS = 5_000

SignalRow = tuple[int, int, str, str, str, str, str, bool, int | None, str, bytes, str]
"""version, entry id, bank id, external id, labels (as stored), source, opinion, quarantined, expiry
(microseconds), algorithm, value, variant. A plain tuple: an index reads millions."""

_Row = Row[tuple[object, ...]]


class StoreView:
    """What `BankStore.view` hands out; valid inside its `with` only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Read first: it fixes the moment that a deferred transaction sees.
        self.head = read_head(connection)

    def banks(self) -> tuple[Bank, ...]:
        """Every bank, by id."""
        rows = self._connection.execute(select(banks).order_by(banks.c.id))
        return tuple(bank_of(row) for row in rows)

    def bank(self, bank_id: str) -> Bank:
        """Raises NotFound."""
        row = self._connection.execute(select(banks).where(banks.c.id == bank_id)).first()
        if row is None:
            raise no_bank(bank_id)
        return bank_of(row)

    def entry(self, bank_id: str, entry_id: int) -> Entry:
        """The newest version. Raises NotFound."""
        newest = select(func.max(entries.c.version)).where(entries.c.id == entry_id)
        condition = and_(banks.c.id == bank_id, entries.c.version == newest.scalar_subquery())
        found = list(self._entries(condition))
        if not found:
            raise NotFound(
                f"name: no entry {entry_id} in bank {bank_id[:64]!r}; list the bank's entries",
                field="name",
            )
        return found[0]

    def entry_page(self, bank_id: str, *, after: int, limit: int) -> tuple[Entry, ...]:
        """Live entries with an id above `after`, by id."""
        versions = (
            select(entries.c.version)
            .join(banks, banks.c.key == entries.c.bank_key)
            .where(banks.c.id == bank_id, entries.c.removed_revision.is_(None))
            .where(entries.c.id > after)
            .order_by(entries.c.id)
            .limit(limit)
        )
        found = self._entries(entries.c.version.in_(versions))
        return tuple(sorted(found, key=attrgetter("id")))

    def live_entries(self) -> Iterator[Entry]:
        """Every live entry of every bank, streamed."""
        return self._entries(entries.c.removed_revision.is_(None))

    def changes_since(self, revision: int) -> Iterator[Entry]:
        """Every version that was added or removed after `revision`, streamed.

        A version that was both is left out: who followed from `revision` never held it. To
        follow, drop what has a `removed_revision`, then take up what has none.
        """
        return self._entries(
            or_(
                and_(entries.c.added_revision > revision, entries.c.removed_revision.is_(None)),
                and_(entries.c.added_revision <= revision, entries.c.removed_revision > revision),
            )
        )

    def live_signals(self) -> Iterator["SignalRow"]:
        """Every signal of every live entry of every bank, by version; streamed."""
        return self._signals(entries.c.removed_revision.is_(None))

    def signals_added_since(self, revision: int) -> Iterator["SignalRow"]:
        """The same of the versions that were added after `revision` and are live."""
        # As a list, so that SQLite looks them up by its index: for the sake of the order by version
        # it would walk every entry instead (60 ms at 1 M).
        added = select(entries.c.version).where(entries.c.added_revision > revision)
        return self._signals(
            and_(entries.c.version.in_(added), entries.c.removed_revision.is_(None))
        )

    def versions_removed_since(self, revision: int) -> tuple[int, ...]:
        """Versions live at `revision` and no longer."""
        found = self._connection.scalars(
            select(entries.c.version).where(
                entries.c.removed_revision > revision, entries.c.added_revision <= revision
            )
        )
        return tuple(found)

    def commit_time_of(self, revision: int) -> datetime | None:
        """None where there is no such revision."""
        found = self._connection.scalar(
            select(revisions.c.commit_time).where(revisions.c.revision == revision)
        )
        return None if found is None else from_us(found)

    def revisions_since(self, revision: int) -> tuple[Revision, ...]:
        """The log after `revision`, oldest first."""
        rows = self._connection.execute(
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
        rows = self._connection.execution_options(yield_per=_FETCH_ROWS).execute(query)
        for batch in rows.partitions():
            yield from cast(Iterable[SignalRow], batch)

    def _entries(self, condition: ColumnElement[bool]) -> Iterator[Entry]:
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
            .order_by(entries.c.version, entry_signals.c.ordinal)
        )
        rows = self._connection.execution_options(yield_per=_FETCH_ROWS).execute(query)
        for _, versions in groupby(rows, key=attrgetter("version")):
            yield entry_of(versions)


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
        etag=f"{row.settings_revision:x}",
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
