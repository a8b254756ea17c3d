"""Copies of versions: a live entry is never modified, a changed copy replaces it."""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    SelectBase,
    func,
    insert,
    literal,
    select,
)

from featsvc.banks.sql.changes import PendingRevision
from featsvc.banks.sql.large_changes import COUNTED, analyze
from featsvc.banks.sql.lookups import look_up
from featsvc.banks.sql.schema import entries, entry_signals
from featsvc.banks.sql.temporary import planned_copies

_NOT_COPIED = frozenset({"version", "added_change", "removed_change"})


def plan_copies(connection: Connection, pairs: SelectBase, *, first: int = 0) -> int:
    """Plan copies from pairs of versions, the old one and the live one that its copy replaces.

    Numbers them from `first` on; returns how many there are.
    """
    old, replaced = pairs.subquery().c
    number = func.row_number().over(order_by=old) + literal(first - 1)
    planned = connection.execute(
        insert(planned_copies).from_select(
            ["number", "old", "replaced"], select(number, old, replaced)
        ),
        execution_options=COUNTED,
    ).rowcount
    analyze(connection, planned_copies.name)
    return planned


def copy_versions(
    connection: Connection,
    pending: PendingRevision,
    condition: ColumnElement[bool],
) -> None:
    """Copy the planned versions that meet the condition, as the change's first version + number."""
    version = literal(pending.first_version) + planned_copies.c.number
    of_old = entries.c.version == planned_copies.c.old
    source, old = look_up(connection, planned_copies, entries, of_old)
    columns: dict[str, Any] = {
        "version": version,
        "added_change": literal(pending.change),
        **{name: column for name, column in old.items() if name not in _NOT_COPIED},
    }
    connection.execute(
        insert(entries).from_select(
            list(columns),
            select(*columns.values())
            .select_from(source)
            .where(condition)
            .order_by(planned_copies.c.number),
        )
    )
    of_old = entry_signals.c.version == planned_copies.c.old
    source, found = look_up(connection, planned_copies, entry_signals, of_old)
    signals = {name: column for name, column in found.items() if name != "version"}
    connection.execute(
        insert(entry_signals).from_select(
            ["version", *signals],
            select(version, *signals.values())
            .select_from(source)
            .where(condition)
            .order_by(planned_copies.c.number, found.ordinal),
        )
    )
