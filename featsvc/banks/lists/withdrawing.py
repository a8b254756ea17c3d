"""Withdrawn rows of a list: which entries they name.

A row that has an external id names the live entry of that id and source. One without, or whose id
names none, names every live entry of its source that has any of its signals. It cancels earlier
rows of the file likewise.
"""

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Connection,
    FromClause,
    Select,
    SelectBase,
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
    union_all,
    update,
)

from featsvc.banks.results import MAX_NAMED, UnknownWithdrawal, WithdrawnEntry
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
from featsvc.banks.sql.stored import StoredRow
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import format_value

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
    unknown = _unknown_numbers(bank_key).subquery()
    return connection.scalar(select(func.count()).select_from(unknown)) or 0


def name_unknown(connection: Connection, bank_key: int) -> tuple[UnknownWithdrawal, ...]:
    """Return the first rows that `count_unknown` counts, by line."""
    unknown = _unknown_numbers(bank_key).subquery()
    page = select(unknown.c.number).order_by(unknown.c.number).limit(MAX_NAMED)
    first = [number * ROW_ORDINALS for number in connection.scalars(page)]
    rows = select(import_withdrawals).where(_row.row.in_(first)).order_by(_row.row)
    return tuple(_unknown_withdrawal(row) for row in connection.execute(rows))


def _unknown_withdrawal(row: StoredRow) -> UnknownWithdrawal:
    value = ""
    if row.algorithm and get_algorithm(row.algorithm).distance.shown:
        value = format_value(row.algorithm, row.value)
    return UnknownWithdrawal(row.line, row.external_id, row.algorithm, value)


def _unknown_numbers(bank_key: int) -> CompoundSelect[int]:
    return select(_number.label("number")).except_(
        select(_number).select_from(_by_id(bank_key)),
        select(_number).select_from(_by_signal(bank_key)),
        select(_number).where(_row.cancels),
    )


def name_withdrawn(
    connection: Connection, bank: StoredRow, versions: SelectBase, *, by_rows: bool
) -> tuple[WithdrawnEntry, ...]:
    """Return the first of the withdrawn live versions: those that rows name, then the others."""
    lines = _lines(connection, bank.key, versions) if by_rows else {}
    chosen = list(lines)
    if len(chosen) < MAX_NAMED:
        removed = versions.subquery().c.version
        page = select(removed).order_by(removed).limit(MAX_NAMED)
        chosen += [version for version in connection.scalars(page) if version not in lines]
    named = {
        row.version: WithdrawnEntry(
            row.id, bank.id, row.external_id, row.source, lines.get(row.version, 0)
        )
        for row in connection.execute(select(entries).where(entries.c.version.in_(chosen)))
    }
    return tuple(named[version] for version in chosen[:MAX_NAMED])


def _lines(connection: Connection, bank_key: int, versions: SelectBase) -> dict[int, int]:
    """Return the first of the versions that rows name, and the first line that names each."""
    hits = union_all(
        *(
            select(entries.c.version, _row.line, _row.row)
            .select_from(pairs)
            .where(entries.c.version.in_(versions))
            for pairs in (_by_id(bank_key), _by_signal(bank_key))
        )
    ).subquery()
    first = func.min(hits.c.row)
    page = select(hits.c.version, func.min(hits.c.line).label("line")).group_by(hits.c.version)
    rows = connection.execute(page.order_by(first, hits.c.version).limit(MAX_NAMED))
    return {row.version: row.line for row in rows}


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
