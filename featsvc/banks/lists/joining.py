"""Second step of an import: the staged rows of each identity are joined into one entry."""

from array import array

import numpy as np
from sqlalchemy import Connection, delete, func, select, text

from featsvc.banks.lists import withdrawing
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.lists.stager import MAX_HASHES, StagedRow, Stager
from featsvc.banks.lists.staging import StagedRows, write
from featsvc.banks.records import MAX_ENTRY_SIGNALS, MAX_LABELS, EntrySignal, Opinion
from featsvc.banks.sql.stored import split_stored_labels
from featsvc.banks.sql.temporary import (
    ROW_ORDINALS,
    import_details,
    import_rows,
    row_number,
    row_ordinal,
)
from featsvc.banks.sql.times import from_us
from featsvc.errors import InvalidInput, shown

_JOIN_BATCH = 1_000


def join_same_entries(
    connection: Connection, staged: StagedRows, *, one_file_a_row: bool = False
) -> int:
    """Join the staged rows of each identity; return the number of duplicate rows.

    Raises InvalidInput if a joined entry exceeds a limit, or is several files: see `Format`.
    """
    duplicates = _repeated(staged.stager.signals)
    if duplicates is None:
        duplicates = _count_duplicates(connection)
    if staged.stager.any_withdrawn:
        withdrawing.cancel_earlier_rows(connection)
    if _repeated(staged.stager.identities) == 0:
        return duplicates
    table = import_rows.c
    connection.execute(text("CREATE INDEX import_rows_identity ON import_rows (identity)"))
    if connection.dialect.name == "postgresql":
        connection.execute(text("ANALYZE import_rows"))
    # IN, not NOT IN: PostgreSQL runs a NOT IN that exceeds its memory once for each row.
    nth = func.row_number().over(partition_by=(table.identity, table.digest), order_by=table.row)
    equal = select(row_number.label("number"), nth.label("nth")).where(row_ordinal == 0).subquery()
    repetitions = select(equal.c.number).where(equal.c.nth > 1)
    connection.execute(delete(import_rows).where(row_number.in_(repetitions)))
    last = ""
    while identities := _next_split_identities(connection, last):
        if one_file_a_row:
            _check_one_file(connection, identities)
        _join(connection, identities, staged.stager)
        last = identities[-1]
    return duplicates


def _repeated(hashes: "array[int]") -> int | None:
    """Count hashes that occurred before; None if there are too many hashes to compare."""
    if len(hashes) > MAX_HASHES:
        return None
    ordered = np.sort(np.frombuffer(hashes, np.int64))
    return int((ordered[1:] == ordered[:-1]).sum())


def _count_duplicates(connection: Connection) -> int:
    table = import_rows.c
    signals = select(table.value)
    distinct = signals.distinct().subquery()
    staged = signals.subquery()
    total, different = connection.execute(
        select(
            select(func.count()).select_from(staged).scalar_subquery(),
            select(func.count()).select_from(distinct).scalar_subquery(),
        )
    ).one()
    return int(total - different)


def _next_split_identities(connection: Connection, last: str) -> list[str]:
    """Return the next identities above `last` that have several rows."""
    table = import_rows.c
    identities = connection.scalars(
        select(table.identity)
        .where(table.identity > last, row_ordinal == 0)
        .group_by(table.identity)
        .having(func.count() > 1)
        .order_by(table.identity)
        .limit(_JOIN_BATCH)
    )
    return list(identities)


def _join(connection: Connection, identities: list[str], stager: Stager) -> None:
    table = import_rows.c
    of_identities = table.identity.in_(identities)
    joined: dict[str, tuple[int, ImportRow]] = {}
    rows = connection.execute(
        select(import_rows, import_details)
        .join(import_details, import_details.c.key == table.details)
        .where(of_identities)
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
    connection.execute(delete(import_rows).where(of_identities))
    batch: list[StagedRow] = []
    for number, parsed in joined.values():
        _check_joined(parsed)
        batch += stager.rows(number, parsed)
    write(connection, stager, batch)


def _check_one_file(connection: Connection, identities: list[str]) -> None:
    """Raises InvalidInput if two rows of an identity have no signal in common."""
    table = import_rows.c
    rows = connection.execute(
        select(table.identity, table.external_id, row_number.label("number"), table.value)
        .where(table.identity.in_(identities))
        .order_by(table.row)
    )
    files: dict[str, dict[int, set[bytes]]] = {}
    names = {}
    for row in rows:
        names[row.identity] = row.external_id
        files.setdefault(row.identity, {}).setdefault(row.number, set()).add(row.value)
    for identity, signals in files.items():
        first, *others = signals.values()
        if any(first.isdisjoint(other) for other in others):
            raise InvalidInput(
                f"{shown(names[identity])!r} names two different files of the list; hash their "
                "folder, so that names have the path below it, or rename one",
                field="external_id",
            )


def _check_joined(row: ImportRow) -> None:
    name = shown(row.external_id or row.signals[0].value.hex())
    if len(row.signals) > MAX_ENTRY_SIGNALS:
        raise InvalidInput(
            f"entry {name!r}: has {len(row.signals)} different signals, at most "
            f"{MAX_ENTRY_SIGNALS} are allowed; does the external id name a group?",
            field="external_id",
        )
    if len(row.labels) > MAX_LABELS:
        raise InvalidInput(
            f"entry {name!r}: has {len(row.labels)} labels, at most {MAX_LABELS} are allowed",
            field="labels",
        )
