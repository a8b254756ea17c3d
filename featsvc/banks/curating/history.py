"""Differences between two revisions."""

from collections import Counter
from functools import reduce
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    String,
    and_,
    case,
    cast,
    func,
    or_,
    select,
    true,
)

from featsvc.banks.records import Entry
from featsvc.banks.results import ChangeKind, EntryChange
from featsvc.banks.sql.schema import LABEL_SEPARATOR, entries, in_bank, next_version
from featsvc.banks.sql.view import StoreView, change_of, first_version_after, listed_at

_PLAIN_FIELDS = ("source", "opinion", "note", "expire_time", "quarantined")


class IdentityChange(NamedTuple):
    identity: str
    change: EntryChange


def diff(
    view: StoreView,
    bank_id: str,
    revisions: tuple[int, int],
    *,
    after: str,
    limit: int,
    total: int | None,
) -> tuple[list[IdentityChange], int]:
    """Return at most `limit` changes of identities above `after`, in order, and the total number.

    Entries are compared by identity: one that was withdrawn and added again alike did not change.
    The changes lead from the first of the revisions to the second, which may be the older one.
    They are counted only if `total` is None.
    """
    older, newer = sorted(revisions)
    table = entries.c
    pairs = changed_pairs(view.connection, view.bank_key(bank_id), older, newer)
    if total is None:
        total = view.connection.scalar(select(func.count()).select_from(pairs.subquery())) or 0
    page = view.connection.execute(
        pairs.where(table.identity > after).order_by(table.identity).limit(limit)
    ).all()
    versions = table.version.in_([v for row in page for v in (row.old, row.new) if v])
    entry_of = dict(view.versioned(versions)).get
    changes = []
    for row in page:
        pair = (row.old, row.new) if revisions[0] == older else (row.new, row.old)
        changes.append(IdentityChange(row.identity, _change(*map(entry_of, pair))))
    return changes, total


def _change(before: Entry | None, after: Entry | None) -> EntryChange:
    if before is None:
        assert after is not None  # noqa: S101 (for mypy: a change has a version)
        return EntryChange(ChangeKind.ADDED, after)
    if after is None:
        return EntryChange(ChangeKind.WITHDRAWN, before)
    return EntryChange(ChangeKind.CHANGED, after, before, changed_fields(before, after))


def changed_fields(before: Entry, after: Entry) -> tuple[str, ...]:
    """Return the names of the fields in which two versions differ; orders do not count."""
    differ = {
        "signals": Counter(before.signals) != Counter(after.signals),
        "labels": {*before.labels} != {*after.labels},
        **{name: getattr(before, name) != getattr(after, name) for name in _PLAIN_FIELDS},
    }
    fields = tuple(name for name, different in differ.items() if different)
    # A decision hides what the list changed, or says what the list says already.
    return fields if fields or before.listed == after.listed else ("listed",)


def changed_pairs(
    connection: Connection,
    bank_key: int,
    older: int,
    newer: int,
    *differing: ColumnElement[int],
    withheld: bool = False,
) -> Select[tuple[str, int | None, int | None]]:
    """Select the identities of a bank that differ between two revisions.

    `old` and `new` are their versions that were live at each, NULL for none; with `withheld` also
    those that were withheld. Entries also differ in what each of `differing` says about them.
    """
    was = listed_at(older)
    table = entries.c
    flags = table.quarantined, table.withheld
    compared = (
        table.digest,
        *(case((flag, 1), else_=0) for flag in flags),
        _decided_values(),
        *differing,
    )
    differs = (func.count(column.distinct()) > 1 for column in compared)
    return (
        select(
            table.identity,
            func.max(case((was, table.version))).label("old"),
            func.max(case((~was, table.version))).label("new"),
        )
        .where(
            _touched(connection, bank_key, older, newer), true() if withheld else ~table.withheld
        )
        .group_by(table.identity)
        .having(or_(func.count() == 1, *differs))
    )


def _decided_values() -> ColumnElement[str]:
    """Return the values that decisions set, as one text; "" for an entry without any."""
    table = entries.c
    expires = func.coalesce(cast(table.expire_time, String), "")
    values = (table.listed, table.labels, table.opinion, expires, table.note)
    text = reduce(lambda left, right: left + LABEL_SEPARATOR + right, values)
    return func.coalesce(text, "")


def _touched(connection: Connection, bank_key: int, older: int, newer: int) -> ColumnElement[bool]:
    """Select the versions that are live at exactly one of the two revisions."""
    table = entries.c
    since, until = change_of(older), change_of(newer)
    added = and_(
        table.version >= first_version_after(connection, older),
        table.version < next_version,
        table.added_change <= until,
        or_(table.removed_change.is_(None), table.removed_change > until),
    )
    removed = and_(
        table.added_change <= since, table.removed_change > since, table.removed_change <= until
    )
    return and_(in_bank(bank_key), or_(added, removed))
