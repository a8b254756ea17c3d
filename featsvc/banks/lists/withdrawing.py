"""Withdrawn rows of a list: which entries they name.

A row that has an external id names the entry of that id and source. One without, or whose id names
neither a live entry nor an earlier row, names every live entry of its source that has any of its
signals. What earlier rows of the file say about an entry is cancelled: by id, or without an id by
any signal.
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

from featsvc.banks.results import MAX_NAMED, UnknownWithdrawal, WithdrawnEntry
from featsvc.banks.sql.large_changes import analyze
from featsvc.banks.sql.lookups import Columns, look_up
from featsvc.banks.sql.schema import entries, entry_signals, has_signal, listed_in
from featsvc.banks.sql.stored import StoredRow
from featsvc.banks.sql.temporary import (
    ROW_ORDINALS,
    cancelled_identities,
    import_details,
    import_rows,
    import_withdrawals,
    touched_identities,
    withdrawal_hits,
)
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import format_value

_row, _hit = import_withdrawals.c, withdrawal_hits.c
_number = type_coerce(_row.row.op("/")(literal_column(str(ROW_ORDINALS))), BigInteger)


def find_hits(connection: Connection, bank_key: int, listed: ColumnElement[bool]) -> None:
    """Write to `withdrawal_hits` which of the listed versions each withdrawn row names."""
    by_id = entries.c.identity == _row.identity
    pairs, entry = look_up(connection, import_withdrawals, entries, by_id, listed)
    named = [select(_row.row, entry.version).select_from(pairs).where(_row.identity != "")]
    for condition in _name_by_signal(bank_key):
        row, pairs, entry = _by_signal(connection, condition, listed)
        named.append(select(row, entry.version).select_from(pairs))
    connection.execute(insert(withdrawal_hits).from_select(["row", "version"], union(*named)))
    analyze(connection, withdrawal_hits.name)


def forget_touched(connection: Connection, touched: ColumnElement[bool]) -> None:
    """Delete the hits of touched entries."""
    versions = select(entries.c.version).where(touched)
    connection.execute(delete(withdrawal_hits).where(_hit.version.in_(versions)))


def hit_versions(connection: Connection, listed: ColumnElement[bool]) -> Select[tuple[int]]:
    """Select the listed versions that withdrawn rows name; those of `find_hits` are all there."""
    cancelled = entries.c.identity == cancelled_identities.c.identity
    earlier, entry = look_up(connection, cancelled_identities, entries, cancelled, listed)
    hits = union(select(_hit.version), select(entry.version).select_from(earlier))
    return select(hits.subquery().c.version)


def touch_hit_by_signal(connection: Connection, bank_key: int) -> None:
    """Touch what rows hit by a signal whose id others have added or withdrawn."""
    touched = touched_identities.c.identity
    names_touched = and_(_row.algorithm != "", _row.identity.in_(select(touched)))
    _, pairs, entry = _by_signal(connection, names_touched, listed_in(bank_key))
    hit = select(entry.identity).select_from(pairs)
    connection.execute(
        insert(touched_identities).from_select(["identity"], hit.except_(select(touched)))
    )


def count_unknown(connection: Connection) -> int:
    """Count the withdrawn rows that name neither a live entry nor an earlier row of the file."""
    unknown = _unknown_numbers().subquery()
    return connection.scalar(select(func.count()).select_from(unknown)) or 0


def name_unknown(connection: Connection) -> tuple[UnknownWithdrawal, ...]:
    """Return the first rows that `count_unknown` counts, by line."""
    unknown = _unknown_numbers().subquery()
    page = select(unknown.c.number).order_by(unknown.c.number).limit(MAX_NAMED)
    first = [number * ROW_ORDINALS for number in connection.scalars(page)]
    rows = select(import_withdrawals).where(_row.row.in_(first)).order_by(_row.row)
    return tuple(_unknown_withdrawal(row) for row in connection.execute(rows))


def _unknown_withdrawal(row: StoredRow) -> UnknownWithdrawal:
    value = ""
    if row.algorithm and get_algorithm(row.algorithm).distance.shown:
        value = format_value(row.algorithm, row.value)
    return UnknownWithdrawal(row.line, row.external_id, row.algorithm, value)


def _unknown_numbers() -> CompoundSelect[int]:
    return select(_number.label("number")).except_(
        select(type_coerce(_hit.row.op("/")(literal_column(str(ROW_ORDINALS))), BigInteger)),
        select(_number).where(_row.cancels),
    )


def name_withdrawn(
    connection: Connection, bank: StoredRow, versions: SelectBase, *, by_rows: bool
) -> tuple[WithdrawnEntry, ...]:
    """Return the first of the withdrawn live versions: those that rows name, then the others."""
    lines = _lines(connection, versions) if by_rows else {}
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


def _lines(connection: Connection, versions: SelectBase) -> dict[int, int]:
    """Return the first of the versions that rows name, and the first line that names each."""
    first = func.min(_row.row)
    page = (
        select(_hit.version, func.min(_row.line).label("line"))
        .join_from(withdrawal_hits, import_withdrawals, _row.row == _hit.row)
        .where(_hit.version.in_(versions))
        .group_by(_hit.version)
        .order_by(first, _hit.version)
    )
    return {row.version: row.line for row in connection.execute(page.limit(MAX_NAMED))}


def _name_by_signal(bank_key: int) -> tuple[ColumnElement[bool], ...]:
    """Select the withdrawn rows that name entries by a signal: without an id, or as it names none.

    One after the other: for both PostgreSQL would read whole tables.
    """
    other = entries.alias("named")
    # A number, not an EXISTS, which PostgreSQL may answer by reading the whole table first.
    named = select(func.count()).where(
        other.c.identity == _row.identity, listed_in(bank_key, other)
    )
    names_none = named.correlate(import_withdrawals).scalar_subquery() == 0
    has_value = _row.algorithm != ""
    return (
        and_(has_value, _row.identity == ""),
        and_(has_value, _row.identity != "", ~_row.cancels, names_none),
    )


def _by_signal(
    connection: Connection, condition: ColumnElement[bool], listed: ColumnElement[bool]
) -> tuple[ColumnElement[int], FromClause, Columns]:
    """Join the withdrawn rows that meet a condition with the listed entries of their signal.

    Returns the column of the rows' numbers, the join, and the columns of the entries.
    """
    rows = select(import_withdrawals).where(condition).cte().prefix_with("MATERIALIZED")
    row = rows.c
    same = has_signal(entry_signals, row.algorithm, row.algorithm_version, row.value)
    alike, signal = look_up(connection, rows, entry_signals, same)
    of_source = entries.c.version == signal.version, entries.c.source == row.source, listed
    return row.row, *look_up(connection, alike, entries, *of_source)


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
