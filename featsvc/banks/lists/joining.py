"""An import's middle part: every identity of the staged rows becomes one entry."""

from array import array

import numpy as np
from sqlalchemy import Connection, and_, delete, exists, func, select, text

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.lists.stager import MAX_HASHES, StagedRow, Stager
from featsvc.banks.lists.staging import StagedRows, write
from featsvc.banks.records import MAX_ENTRY_SIGNALS, MAX_LABELS, EntrySignal, Opinion
from featsvc.banks.sql.schema import (
    ROW_ORDINALS,
    WITHDRAWN,
    import_details,
    import_rows,
    row_number,
    row_ordinal,
)
from featsvc.banks.sql.stored import split_stored_labels
from featsvc.banks.sql.times import from_us
from featsvc.errors import InvalidInput

_JOIN_BATCH = 1_000


def join_same_entries(connection: Connection, staged: StagedRows) -> int:
    """Make every identity of the staged rows one entry; returns the number of duplicate rows.

    Raises InvalidInput where the joined entry breaks a limit.
    """
    duplicates = _repeated(staged.stager.signals)
    if duplicates is None:
        duplicates = _count_duplicates(connection)
    if _repeated(staged.stager.identities) == 0:
        return duplicates
    table = import_rows.c
    connection.execute(text("CREATE INDEX import_rows_identity ON import_rows (identity)"))
    if connection.dialect.name == "postgresql":
        connection.execute(text("ANALYZE import_rows"))
    if staged.stager.any_withdrawn:
        _apply_withdrawals(connection)
    # IN, not NOT IN: PostgreSQL runs the latter once a row when it outgrows its memory.
    nth = func.row_number().over(partition_by=(table.identity, table.digest), order_by=table.row)
    equal = select(row_number.label("number"), nth.label("nth")).where(row_ordinal == 0).subquery()
    again = select(equal.c.number).where(equal.c.nth > 1)
    connection.execute(delete(import_rows).where(row_number.in_(again)))
    last = ""
    while same := _next_split_identities(connection, last):
        _join(connection, same, staged.stager)
        last = same[-1]
    return duplicates


def _repeated(hashes: "array[int]") -> int | None:
    """How many are there already among those before; None where there are too many to tell."""
    if len(hashes) > MAX_HASHES:
        return None
    ordered = np.sort(np.frombuffer(hashes, np.int64))
    return int((ordered[1:] == ordered[:-1]).sum())


def _count_duplicates(connection: Connection) -> int:
    table = import_rows.c
    signals = select(table.value).where(table.details != WITHDRAWN)
    distinct = signals.distinct().subquery()
    staged = signals.subquery()
    found = connection.execute(
        select(
            select(func.count()).select_from(staged).scalar_subquery(),
            select(func.count()).select_from(distinct).scalar_subquery(),
        )
    ).one()
    return int(found[0] - found[1])


def _apply_withdrawals(connection: Connection) -> None:
    """The last word of a file on an entry is the one that holds."""
    table, other = import_rows.c, import_rows.alias("other")
    taken_back = select(table.identity).where(table.details == WITHDRAWN).scalar_subquery()
    later = and_(other.c.identity == table.identity, other.c.row > table.row)
    withdrawn_later = exists().where(later, other.c.details == WITHDRAWN)
    connection.execute(delete(import_rows).where(table.identity.in_(taken_back), withdrawn_later))
    # What is left of such an entry came after its withdrawal.
    given_again = exists().where(later, other.c.details != WITHDRAWN)
    connection.execute(delete(import_rows).where(table.details == WITHDRAWN, given_again))


def _next_split_identities(connection: Connection, last: str) -> list[str]:
    table = import_rows.c
    found = connection.scalars(
        select(table.identity)
        .where(table.identity > last, row_ordinal == 0, table.details != WITHDRAWN)
        .group_by(table.identity)
        .having(func.count() > 1)
        .order_by(table.identity)
        .limit(_JOIN_BATCH)
    )
    return list(found)


def _join(connection: Connection, identities: list[str], stager: Stager) -> None:
    table = import_rows.c
    mine = table.identity.in_(identities)
    joined: dict[str, tuple[int, ImportRow]] = {}
    rows = connection.execute(
        select(import_rows, import_details)
        .join(import_details, import_details.c.key == table.details)
        .where(mine)
        .order_by(table.row)
    )
    for row in rows:
        signal = EntrySignal(
            row.algorithm, row.value, row.variant, row.quality, row.algorithm_version
        )
        labels = split_stored_labels(row.labels)
        if row.identity not in joined:
            parsed = ImportRow(
                line=0,
                signals=(signal,),
                external_id=row.external_id,
                labels=labels,
                source=row.source,
                opinion=Opinion(row.opinion),
                note=row.note,
                expire_time=None if row.expire_time is None else from_us(row.expire_time),
            )
            joined[row.identity] = row.row // ROW_ORDINALS, parsed
            continue
        number, parsed = joined[row.identity]
        parsed = parsed._replace(
            signals=tuple(dict.fromkeys((*parsed.signals, signal))),
            labels=tuple(dict.fromkeys((*parsed.labels, *labels))),
        )
        joined[row.identity] = number, parsed
    connection.execute(delete(import_rows).where(mine))
    batch: list[StagedRow] = []
    for number, parsed in joined.values():
        _check_joined(parsed)
        batch += stager.rows(number, parsed)
    write(connection, stager, batch)


def _check_joined(row: ImportRow) -> None:
    shown = row.external_id[:64] or row.signals[0].value.hex()
    if len(row.signals) > MAX_ENTRY_SIGNALS:
        raise InvalidInput(
            f"entry {shown!r}: {len(row.signals)} rows with different signals, at most "
            f"{MAX_ENTRY_SIGNALS}; is the external id one of a group?",
            field="external_id",
        )
    if len(row.labels) > MAX_LABELS:
        raise InvalidInput(
            f"entry {shown!r}: {len(row.labels)} labels, at most {MAX_LABELS}", field="labels"
        )
