"""Differences between two revisions."""

from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    func,
    literal_column,
    or_,
    select,
)

from featsvc.banks.results import ChangeKind, EntryChange
from featsvc.banks.sql.schema import entries
from featsvc.banks.sql.view import StoreView, change_of, first_version_after, live_at


class IdentityChange(NamedTuple):
    identity: str
    change: EntryChange


def diff(
    view: StoreView, bank_id: str, older: int, newer: int, *, after: str, limit: int
) -> tuple[list[IdentityChange], int]:
    """Return at most `limit` changes of identities above `after`, in order, and the total number.

    Entries are compared by identity: one that was withdrawn and added again alike did not change.
    """
    table = entries.c
    pairs = changed_pairs(view.connection, view.bank_key(bank_id), older, newer)
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


def changed_pairs(
    connection: Connection, bank_key: int, older: int, newer: int, *differing: ColumnElement[int]
) -> Select[tuple[str, int | None, int | None]]:
    """Select the identities of a bank that differ between two revisions.

    `old` and `new` are their versions that were live at each, NULL for none. Entries also differ
    in what each of `differing` says about them.
    """
    was = live_at(older)
    table = entries.c
    compared = (table.digest, case((table.quarantined, 1), else_=0), *differing)
    differs = (func.count(column.distinct()) > 1 for column in compared)
    return (
        select(
            table.identity,
            func.max(case((was, table.version))).label("old"),
            func.max(case((~was, table.version))).label("new"),
        )
        .where(_touched(connection, bank_key, older, newer))
        .group_by(table.identity)
        .having(or_(func.count() == 1, *differs))
    )


def _touched(connection: Connection, bank_key: int, older: int, newer: int) -> ColumnElement[bool]:
    """Select the versions that are live at exactly one of the two revisions."""
    table = entries.c
    since, until = change_of(older), change_of(newer)
    added = and_(
        table.version >= first_version_after(connection, older),
        table.added_change <= until,
        or_(table.removed_change.is_(None), table.removed_change > until),
    )
    removed = and_(
        table.added_change <= since, table.removed_change > since, table.removed_change <= until
    )
    # Not by an index of the bank, which would read all of it.
    return and_(table.bank_key + literal_column("0") == bank_key, or_(added, removed))
