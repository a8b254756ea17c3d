"""Withdrawn rows of a list: which entries they name.

A row that has an external id names the entry of that id and source. One without, or whose id names
neither a live entry nor an earlier row, names every live entry of its source that has any of its
signals. What earlier rows of the file say about an entry is cancelled: by id, or without an id by
any signal.
"""

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    text,
    type_coerce,
    union,
    union_all,
    update,
)

from featsvc.banks.sql.large_changes import analyze
from featsvc.banks.sql.schema import (
    ROW_ORDINALS,
    cancelled_identities,
    entries,
    entry_signals,
    has_signal,
    import_details,
    import_rows,
    import_withdrawals,
    listed_entries,
    touched_identities,
)

_row = import_withdrawals.c
_number = type_coerce(_row.row.op("/")(literal_column(str(ROW_ORDINALS))), BigInteger)


def hit_versions(bank_key: int, condition: ColumnElement[bool] | None = None) -> Select[tuple[int]]:
    """Select the live versions of a bank that withdrawn rows name and that meet the condition."""
    cancelled = entries.c.identity == cancelled_identities.c.identity
    hits = [
        *_named(bank_key),
        cancelled_identities.join(entries, and_(cancelled, listed_entries(bank_key))),
    ]
    found = [select(entries.c.version).select_from(hit) for hit in hits]
    if condition is not None:
        found = [query.where(condition) for query in found]
    return select(union(*found).subquery().c.version)


def touch_hit_by_signal(connection: Connection, bank_key: int) -> None:
    """Touch what rows hit by a signal whose id others have added or withdrawn."""
    touched = touched_identities.c.identity
    names_touched = and_(_row.algorithm != "", _row.identity.in_(select(touched)))
    hit = select(entries.c.identity).select_from(_by_signal(bank_key, names_touched))
    connection.execute(
        insert(touched_identities).from_select(["identity"], hit.except_(select(touched)))
    )


def count_unknown(connection: Connection, bank_key: int) -> int:
    """Count the withdrawn rows that name neither a live entry nor an earlier row of the file."""
    named = [select(_number).select_from(hit) for hit in _named(bank_key)]
    known = union(*named, select(_number).where(_row.cancels)).subquery()
    rows = select(func.count(_number.distinct())).select_from(import_withdrawals)
    found = connection.scalar(select(func.count()).select_from(known)) or 0
    return (connection.scalar(rows) or 0) - found


def _named(bank_key: int) -> tuple[FromClause, ...]:
    """Return the pairs of withdrawn rows and the live entries that they name.

    By id, by signal without an id, and by signal if the id names none. A join for each: for one
    with an OR PostgreSQL reads whole tables.
    """
    named = and_(_row.identity != "", entries.c.identity == _row.identity)
    by_id = import_withdrawals.join(entries, and_(named, listed_entries(bank_key)))
    other = entries.alias("named")
    is_named = exists().where(other.c.identity == _row.identity, listed_entries(bank_key, other))
    names_none = and_(_row.identity != "", ~_row.cancels, ~is_named)
    has_value = _row.algorithm != ""
    return (
        by_id,
        _by_signal(bank_key, and_(has_value, _row.identity == "")),
        _by_signal(bank_key, and_(has_value, names_none)),
    )


def _by_signal(bank_key: int, condition: ColumnElement[bool]) -> FromClause:
    same = has_signal(entry_signals, _row.algorithm, _row.algorithm_version, _row.value)
    return import_withdrawals.join(entry_signals, and_(condition, same)).join(
        entries,
        and_(
            entries.c.version == entry_signals.c.version,
            entries.c.source == _row.source,
            listed_entries(bank_key),
        ),
    )


def cancel_earlier_rows(connection: Connection) -> None:
    """Delete the staged rows of entries that a later withdrawn row names."""
    staged, details = import_rows.c, import_details.c
    connection.execute(text("CREATE INDEX IF NOT EXISTS import_rows_value ON import_rows (value)"))
    analyze(connection, import_rows.name, import_details.name, import_withdrawals.name)
    earlier = staged.row < _row.row
    by_id = and_(_row.identity != "", staged.identity == _row.identity, earlier)
    by_signal = and_(
        _row.identity == "",
        staged.value == _row.value,
        details.algorithm == _row.algorithm,
        details.algorithm_version == _row.algorithm_version,
        details.source == _row.source,
        earlier,
    )
    with_details = import_rows.join(import_details, details.key == staged.details)
    named = (
        import_withdrawals.join(import_rows, by_id),
        import_withdrawals.join(with_details, by_signal),
    )
    connection.execute(
        update(import_withdrawals)
        .where(_row.row.in_(union(*(select(_row.row).select_from(pairs) for pairs in named))))
        .values(cancels=True)
    )
    # Not only the rows that have the signal: the entry is gone, until a later row adds it again.
    pairs = union_all(
        *(
            select(staged.identity, staged.row.label("earlier"), _row.row).select_from(pair)
            for pair in named
        )
    ).subquery()
    first = select(pairs.c.identity, func.min(pairs.c.row).label("row")).group_by(
        pairs.c.identity, pairs.c.earlier
    )
    ends = first.subquery()
    connection.execute(
        insert(cancelled_identities).from_select(
            ["identity", "row"],
            select(ends.c.identity, func.max(ends.c.row)).group_by(ends.c.identity),
        )
    )
    analyze(connection, cancelled_identities.name)
    cancelled = cancelled_identities.c
    connection.execute(
        delete(import_rows).where(
            staged.row.in_(
                select(staged.row).where(
                    staged.identity == cancelled.identity, staged.row < cancelled.row
                )
            )
        )
    )
