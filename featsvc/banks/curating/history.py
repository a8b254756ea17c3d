"""Differences between revisions, and rollbacks to earlier ones."""

from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, or_, select

from featsvc.banks.curating.editing import copy_versions
from featsvc.banks.records import ChangeContext
from featsvc.banks.results import ChangeKind, EntryChange, RollbackResult
from featsvc.banks.sql.changes import (
    EntryCounts,
    IdempotentCall,
    PendingRevision,
    check_etag,
    run_once,
)
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.schema import entries
from featsvc.banks.sql.stored import bank_row
from featsvc.banks.sql.view import StoreView, check_revision, first_version_after, live_at
from featsvc.errors import InvalidInput


class IdentityChange(NamedTuple):
    identity: str
    change: EntryChange


def diff(
    view: StoreView, bank_id: str, older: int, newer: int, *, after: str, limit: int
) -> tuple[list[IdentityChange], int]:
    """Return at most `limit` changes of identities above `after`, in order, and the total number.

    Entries are compared by identity: one that was withdrawn and added again alike did not change.
    """
    touched = _touched(view, bank_id, older, newer)
    was = live_at(older)
    table = entries.c
    pairs = (
        select(
            table.identity,
            func.max(case((was, table.version))).label("old"),
            func.max(case((~was, table.version))).label("new"),
        )
        .where(touched)
        .group_by(table.identity)
        .having(
            or_(
                func.count() == 1,
                func.count(table.digest.distinct()) > 1,
                func.min(case((table.quarantined, 1), else_=0))
                != func.max(case((table.quarantined, 1), else_=0)),
            )
        )
    )
    total = view.connection.scalar(select(func.count()).select_from(pairs.subquery())) or 0
    page = view.connection.execute(
        pairs.where(table.identity > after).order_by(table.identity).limit(limit)
    ).all()
    versions = table.version.in_([row.new or row.old for row in page])
    by_version = dict(view.versioned(versions))
    changes = []
    for row in page:
        kind = ChangeKind.CHANGED if row.old and row.new else ChangeKind.ADDED
        kind = kind if row.new else ChangeKind.WITHDRAWN
        change = EntryChange(kind, by_version[row.new or row.old])
        changes.append(IdentityChange(row.identity, change))
    return changes, total


def _touched(view: StoreView, bank_id: str, older: int, newer: int) -> ColumnElement[bool]:
    """Select the versions that are live at exactly one of the two revisions."""
    table = entries.c
    added = and_(
        table.version >= first_version_after(view.connection, older),
        table.added_revision <= newer,
        or_(table.removed_revision.is_(None), table.removed_revision > newer),
    )
    removed = and_(
        table.added_revision <= older,
        table.removed_revision > older,
        table.removed_revision <= newer,
    )
    return and_(table.bank_key == view.bank_key(bank_id), or_(added, removed))


def rollback(
    database: Database,
    bank_id: str,
    revision: int,
    context: ChangeContext,
    *,
    etag: str,
    dry_run: bool,
) -> RollbackResult:
    """See `BankStore.rollback_bank`."""

    def change() -> RollbackResult:
        bank = bank_row(connection, bank_id)
        check_etag(bank, etag)
        pending = PendingRevision.begin(connection, bank_id, "rollback", context)
        check_revision(revision, pending.number - 1, "revision")
        if revision < 1:
            raise InvalidInput.at("revision", f"must be at least 1, not {revision}")
        withdrawn = pending.remove(connection, _added_after(bank.key, revision))
        restored, replaced = copy_versions(connection, pending, _to_restore(bank.key, revision))
        if not (withdrawn or restored):
            return RollbackResult(0, 0, 0)
        counts = EntryCounts(restored - replaced, replaced, withdrawn, restored)
        pending.record(connection, counts)
        return RollbackResult(0 if dry_run else pending.number, restored, withdrawn)

    with database.roomy_session() as connection, database.exclusive(connection, dry_run=dry_run):
        call = IdempotentCall(context, "rollback", bank_id, (revision, dry_run))
        return run_once(connection, call, RollbackResult, change)


def _added_after(bank_key: int, revision: int) -> ColumnElement[bool]:
    """Select entries of the bank whose identity was not live at the revision."""
    now, old = entries.alias("now"), entries.alias("old")
    is_now = select(now.c.identity).where(
        now.c.bank_key == bank_key, now.c.removed_revision.is_(None)
    )
    was = select(old.c.identity).where(old.c.bank_key == bank_key, live_at(revision, old))
    # Not by looking up each entry: no index has the identities of withdrawn entries.
    return and_(entries.c.bank_key == bank_key, entries.c.identity.in_(is_now.except_(was)))


def _to_restore(bank_key: int, revision: int) -> Select[tuple[int]]:
    """Select versions that were live at the revision and have no equal live version now."""
    current = entries.alias("current")
    equal = and_(
        current.c.bank_key == bank_key,
        current.c.removed_revision.is_(None),
        current.c.identity == entries.c.identity,
        current.c.id == entries.c.id,
        current.c.digest == entries.c.digest,
        current.c.quarantined == entries.c.quarantined,
    )
    return select(entries.c.version).where(
        entries.c.bank_key == bank_key, live_at(revision), ~exists().where(equal)
    )
