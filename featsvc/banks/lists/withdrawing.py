"""Withdrawn rows of a list: which entries they name.

A row that has an external id names the live entry of that id and source. One without, or whose id
names none, names every live entry of its source that has any of its signals. It cancels earlier
rows of the file likewise.
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
    literal_column,
    or_,
    select,
    text,
    type_coerce,
    union,
    update,
)

from featsvc.banks.sql.large_changes import analyze
from featsvc.banks.sql.schema import (
    ROW_ORDINALS,
    entries,
    entry_signals,
    has_signal,
    import_details,
    import_rows,
    import_withdrawals,
    listed_entries,
    row_number,
)

_row = import_withdrawals.c
_number = type_coerce(_row.row.op("/")(literal_column(str(ROW_ORDINALS))), BigInteger)


def hit_versions(bank_key: int, condition: ColumnElement[bool] | None = None) -> Select[tuple[int]]:
    """Select the live versions of a bank that withdrawn rows name and that meet the condition."""
    hits = select(entries.c.version).select_from(_by_id(bank_key))
    by_signal = select(entries.c.version).select_from(_by_signal(bank_key))
    if condition is not None:
        hits, by_signal = hits.where(condition), by_signal.where(condition)
    return select(union(hits, by_signal).subquery().c.version)


def count_unknown(connection: Connection, bank_key: int) -> int:
    """Count the withdrawn rows that name neither a live entry nor an earlier row of the file."""
    known = union(
        select(_number).select_from(_by_id(bank_key)),
        select(_number).select_from(_by_signal(bank_key)),
        select(_number).where(_row.cancels),
    ).subquery()
    rows = select(func.count(_number.distinct())).select_from(import_withdrawals)
    found = connection.scalar(select(func.count()).select_from(known)) or 0
    return (connection.scalar(rows) or 0) - found


def _by_id(bank_key: int) -> FromClause:
    named = and_(_row.identity != "", entries.c.identity == _row.identity)
    return import_withdrawals.join(entries, and_(named, listed_entries(bank_key)))


def _by_signal(bank_key: int) -> FromClause:
    same = has_signal(entry_signals, _row.algorithm, _row.algorithm_version, _row.value)
    named = entries.alias("named")
    by_id = exists().where(named.c.identity == _row.identity, listed_entries(bank_key, named))
    without_id = or_(_row.identity == "", ~by_id)
    return import_withdrawals.join(
        entry_signals, and_(_row.algorithm != "", without_id, same)
    ).join(
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
    cancelled = union(*(select(row_number).select_from(pairs) for pairs in named))
    connection.execute(delete(import_rows).where(row_number.in_(cancelled)))
