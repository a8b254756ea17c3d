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

from featsvc.banks.results import MAX_NAMED, UnknownWithdrawal, WithdrawnEntry
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
    withdrawal_hits,
)
from featsvc.banks.sql.stored import StoredRow
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import format_value

_row, _hit = import_withdrawals.c, withdrawal_hits.c
_number = type_coerce(_row.row.op("/")(literal_column(str(ROW_ORDINALS))), BigInteger)


def find_hits(connection: Connection, bank_key: int, listed: ColumnElement[bool]) -> None:
    """Write to `withdrawal_hits` which of the listed versions each withdrawn row names."""
    named = (
        select(_row.row, entries.c.version).select_from(pairs).where(listed)
        for pairs in _named(bank_key)
    )
    connection.execute(insert(withdrawal_hits).from_select(["row", "version"], union(*named)))
    analyze(connection, withdrawal_hits.name)


def forget_touched(connection: Connection, touched: ColumnElement[bool]) -> None:
    """Delete the hits of touched entries."""
    versions = select(entries.c.version).where(touched)
    connection.execute(delete(withdrawal_hits).where(_hit.version.in_(versions)))


def hit_versions(bank_key: int, listed: ColumnElement[bool]) -> Select[tuple[int]]:
    """Select the listed versions that withdrawn rows name; those of `find_hits` are all there."""
    cancelled = entries.c.identity == cancelled_identities.c.identity
    earlier = cancelled_identities.join(entries, and_(cancelled, listed_entries(bank_key)))
    hits = union(select(_hit.version), select(entries.c.version).select_from(earlier).where(listed))
    return select(hits.subquery().c.version)


def touch_hit_by_signal(connection: Connection, bank_key: int) -> None:
    """Touch what rows hit by a signal whose id others have added or withdrawn."""
    touched = touched_identities.c.identity
    names_touched = and_(_row.algorithm != "", _row.identity.in_(select(touched)))
    hit = select(entries.c.identity).select_from(_by_signal(bank_key, names_touched))
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
    # Materialized: PostgreSQL would first join all rows with all entries of their source.
    alike = (
        select(_row.row, entry_signals.c.version)
        .join_from(import_withdrawals, entry_signals, and_(condition, same))
        .cte()
        .prefix_with("MATERIALIZED")
    )
    return import_withdrawals.join(alike, alike.c.row == _row.row).join(
        entries,
        and_(
            entries.c.version == alike.c.version,
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
