"""Reads and undoing along the revisions: log, diff, rollback."""

from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, or_, select

from featsvc.banks.curating.editing import copy_versions, remove
from featsvc.banks.records import ChangeContext
from featsvc.banks.results import ChangeKind, EntryChange, RollbackResult
from featsvc.banks.sql.changes import Change, ChangeEffect, Request, bank_row, check_etag, once
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.schema import entries
from featsvc.banks.sql.view import StoreView, check_revision, first_version_after, live_at
from featsvc.errors import InvalidInput


class IdentityChange(NamedTuple):
    identity: str
    change: EntryChange


def diff(
    view: StoreView, bank_id: str, older: int, newer: int, *, after: str, limit: int
) -> tuple[list[IdentityChange], int]:
    """Changes of identities above `after`, in their order; and how many there are in all.

    Told by identity: an entry that was withdrawn and given again alike did not change.
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
    found = {
        entry.version: entry
        for entry in view.versioned(table.version.in_([row.new or row.old for row in page]))
    }
    changes = []
    for row in page:
        kind = ChangeKind.CHANGED if row.old and row.new else ChangeKind.ADDED
        kind = kind if row.new else ChangeKind.WITHDRAWN
        change = EntryChange(kind, found[row.new or row.old].entry)
        changes.append(IdentityChange(row.identity, change))
    return changes, total


def _touched(view: StoreView, bank_id: str, older: int, newer: int) -> ColumnElement[bool]:
    """Versions that are live at exactly one of the two revisions."""
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
        new = Change.begin(connection, bank_id, "rollback", context)
        check_revision(revision, new.revision - 1, "revision")
        if revision < 1:
            raise InvalidInput("revision: must be at least 1", field="revision")
        gone = remove(connection, new, _not_there_at(bank.key, revision))
        restored, replaced = copy_versions(connection, new, _to_restore(bank.key, revision))
        if not (gone or restored):
            return RollbackResult(0, 0, 0)
        new.log(connection, ChangeEffect(restored - replaced, replaced, gone, restored))
        return RollbackResult(0 if dry_run else new.revision, restored, gone)

    with database.roomy_session() as connection, database.exclusive(connection) as transaction:
        request = Request(context, "rollback", bank_id, (revision, dry_run))
        done = once(connection, request, RollbackResult, change)
        if dry_run:
            transaction.rollback()
        return done


def _not_there_at(bank_key: int, revision: int) -> ColumnElement[bool]:
    """Entries of the bank whose identity was not live then."""
    old = entries.alias("old")
    then = and_(old.c.bank_key == bank_key, live_at(revision, old))
    return and_(
        entries.c.bank_key == bank_key,
        ~exists().where(then, old.c.identity == entries.c.identity),
    )


def _to_restore(bank_key: int, revision: int) -> Select[tuple[int]]:
    """Versions that were live then and have no equal that is live now."""
    now = entries.alias("now")
    equal = and_(
        now.c.bank_key == bank_key,
        now.c.removed_revision.is_(None),
        now.c.identity == entries.c.identity,
        now.c.id == entries.c.id,
        now.c.digest == entries.c.digest,
        now.c.quarantined == entries.c.quarantined,
    )
    return select(entries.c.version).where(
        entries.c.bank_key == bank_key, live_at(revision), ~exists().where(equal)
    )
