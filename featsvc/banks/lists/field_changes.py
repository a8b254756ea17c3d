"""What an import's report says about its entries: which fields change, and which have expired."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    func,
    literal,
    select,
    union_all,
)

from featsvc.banks.sql.lookups import Columns, look_up
from featsvc.banks.sql.schema import entries, entry_signals
from featsvc.banks.sql.stored import split_stored_labels
from featsvc.banks.sql.temporary import import_details, import_rows, row_ordinal
from featsvc.banks.sql.times import now_us

_staged, _details = import_rows.c, import_details.c
_listed = import_rows.join(import_details, _details.key == _staged.details)
_changed = and_(
    _staged.old_version.is_not(None), ~_staged.unchanged, _staged.decided_withdrawn.is_(None)
)
_PLAIN_FIELDS = ("source", "opinion", "note", "expire_time")
_SIGNAL_FIELDS = ("algorithm", "variant", "quality", "algorithm_version")
_FIELDS = ("signals", "labels", *_PLAIN_FIELDS)


def count_changed_fields(connection: Connection) -> Mapping[str, int]:
    """Count the changed entries that differ in each field, after `merging` found their versions.

    A field that a curator has decided stays as it is, whatever the list says. Reads each changed
    entry and its signals a few times; leaves out fields that do not differ.
    """
    counts = {
        "signals": _count_signals(connection),
        "labels": _count_labels(connection),
        **_count_plain(connection),
    }
    return {name: counts[name] for name in _FIELDS if counts[name]}


def _count_plain(connection: Connection) -> dict[str, int]:
    pairs, entry = _pairs(connection)
    differ = [
        func.coalesce(func.sum(case((_differs(entry, name), 1), else_=0)), 0).label(name)
        for name in _PLAIN_FIELDS
    ]
    row = connection.execute(pairs.with_only_columns(*differ)).one()
    return {name: int(number) for name, number in row._mapping.items()}


def _pairs(connection: Connection) -> tuple[Select[Any], Columns]:
    """Select the changed entries of the file beside their live versions; their columns."""
    of_version = entries.c.version == _staged.old_version
    source, entry = look_up(connection, _listed, entries, of_version)
    return select().select_from(source).where(_changed, row_ordinal == 0), entry


def _differs(entry: Columns, name: str) -> ColumnElement[bool]:
    # In JSON a quote within a text is escaped: only a key looks like this.
    decided = func.coalesce(entry.listed, "").contains(f'"{name}":', autoescape=True)
    return and_(~decided, entry[name].is_distinct_from(_details[name]))


def _count_labels(connection: Connection) -> int:
    """Count entries whose labels differ, in whatever order they are stored."""
    pairs, entry = _pairs(connection)
    pairs = pairs.with_only_columns(
        entry.labels, _details.labels.label("listed"), func.count().label("number")
    )
    pairs = pairs.where(_differs(entry, "labels")).group_by(entry.labels, _details.labels)
    return sum(
        row.number
        for row in connection.execute(pairs, execution_options={"yield_per": 5_000})
        if {*split_stored_labels(row.labels)} != {*split_stored_labels(row.listed)}
    )


def _count_signals(connection: Connection) -> int:
    """Count entries that gain or lose a signal: equal ones of both sides cancel out."""
    of_version = entry_signals.c.version == _staged.old_version
    source, stored = look_up(connection, _listed, entry_signals, of_version)
    staged_side = (
        select(_staged.old_version.label("version"), literal(1).label("side"), _staged.value)
        .add_columns(*(_details[name] for name in _SIGNAL_FIELDS))
        .select_from(_listed)
        .where(_changed)
    )
    stored_side = (
        select(stored.version, literal(-1), stored.value)
        .add_columns(*(stored[name] for name in _SIGNAL_FIELDS))
        .select_from(source)
        .where(_changed, row_ordinal == 0)
    )
    both = union_all(staged_side, stored_side).subquery()
    signal = [column for column in both.c if column.name != "side"]
    odd = select(both.c.version).group_by(*signal).having(func.sum(both.c.side) != 0).subquery()
    return connection.scalar(select(func.count(odd.c.version.distinct()))) or 0


def count_expired(connection: Connection) -> int:
    """Count the staged entries that have expired already."""
    # Rows that share their details share the time: most lists need one query.
    expired = select(_details.key).where(_details.expire_time <= now_us())
    if connection.scalar(expired.limit(1)) is None:
        return 0
    rows = select(func.count()).where(row_ordinal == 0, _staged.details.in_(expired))
    return connection.scalar(rows.select_from(import_rows)) or 0
