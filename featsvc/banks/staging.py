"""An import: rows go into a temporary table first, then one set of statements merges them.

Nothing is locked while the file is read and parsed, which may take as long as its sender likes;
the writers' lock is held for the merge alone. A dry run is the same merge, rolled back.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import psycopg
from sqlalchemy import Connection, delete, func, select, text

from featsvc.banks.formats.rows import ImportRow
from featsvc.banks.records import (
    MAX_BAD_ROWS_KEPT,
    MAX_ENTRY_SIGNALS,
    MAX_LABELS,
    BadRow,
    EntrySignal,
    ImportOptions,
    ImportSummary,
    Opinion,
)
from featsvc.banks.schema import LABEL_SEPARATOR, import_rows
from featsvc.banks.times import from_us, to_us
from featsvc.errors import InvalidInput

_BATCH_ROWS = 5_000
_JOIN_BATCH = 1_000

Row = tuple[object, ...]


def identity_of(external_id: str, signals: Sequence[EntrySignal]) -> str:
    """What makes two rows the same entry; see `schema`."""
    if external_id:
        return "x" + external_id
    return f"s{signals[0].algorithm}:{signals[0].value.hex()}"


def digest_of(row: ImportRow) -> bytes:
    """16 bytes over everything that a curator can give an entry."""
    parts = [row.external_id, row.source, row.opinion.value, row.note, repr(row.expire_time)]
    parts += sorted(row.labels)
    text = "\0".join(parts) + "\0\0" + repr(sorted(_plain(s) for s in row.signals))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _plain(signal: EntrySignal) -> tuple[str, bytes, str, int]:
    quality = -1 if signal.quality is None else signal.quality
    return signal.algorithm, signal.value, signal.variant, quality


@contextmanager
def staging_table(connection: Connection) -> Iterator[None]:
    """The temporary table, gone afterwards."""
    with connection.begin():
        import_rows.drop(connection, checkfirst=True)
        import_rows.create(connection)
    try:
        yield
    finally:
        # A dead connection takes its temporary tables with it.
        if not connection.invalidated and not connection.closed:
            with connection.begin():
                import_rows.drop(connection)


def stage(
    connection: Connection, rows: Iterable[ImportRow | BadRow], options: ImportOptions
) -> ImportSummary:
    """Write the rows into the staging table. Returns a summary of rows and bad rows only."""
    seen = 0
    bad_count = 0
    bad: list[BadRow] = []
    batch: list[Row] = []
    for row in rows:
        seen += 1
        if isinstance(row, BadRow):
            bad_count += 1
            if len(bad) < MAX_BAD_ROWS_KEPT:
                bad.append(row)
            continue
        if bad_count and not options.skip_bad:
            continue
        batch += _staged_rows(seen, _with_options(row, options))
        if len(batch) >= _BATCH_ROWS:
            _insert(connection, batch)
            batch.clear()
    if batch:
        _insert(connection, batch)
    return ImportSummary(rows=seen, bad_rows=bad_count, bad=tuple(bad))


def _with_options(row: ImportRow, options: ImportOptions) -> ImportRow:
    if options.source and not row.source:
        row = row._replace(source=options.source)
    if options.labels:
        row = row._replace(labels=tuple(dict.fromkeys((*row.labels, *options.labels))))
    return row


def _staged_rows(seq: int, row: ImportRow) -> list[Row]:
    shared = (
        identity_of(row.external_id, row.signals),
        digest_of(row),
        row.external_id,
        LABEL_SEPARATOR.join(row.labels),
        row.source,
        row.opinion.value,
        row.note,
        None if row.expire_time is None else to_us(row.expire_time),
    )
    return [
        (seq, ordinal, *shared, s.algorithm, s.value, s.variant, s.quality)
        for ordinal, s in enumerate(row.signals)
    ]


def _insert(connection: Connection, batch: list[Row]) -> None:
    """Through the driver: SQLAlchemy's own parameter handling costs more than the insert."""
    names = [column.name for column in import_rows.columns][: len(batch[0])]
    columns = ", ".join(names)
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(names))
        connection.exec_driver_sql(f"INSERT INTO import_rows ({columns}) VALUES ({marks})", batch)
        return
    driver = cast(psycopg.Connection, connection.connection.driver_connection)
    copy_in = f"COPY import_rows ({columns}) FROM STDIN".encode()
    with driver.cursor() as cursor, cursor.copy(copy_in) as copy:
        for row in batch:
            copy.write_row(row)


def join_same_entries(connection: Connection) -> int:
    """Make every identity of the staged rows one entry; returns the number of duplicate rows.

    Raises InvalidInput where the joined entry breaks a limit.
    """
    table = import_rows.c
    signals = select(table.algorithm, table.value).distinct().subquery()
    staged, distinct = connection.execute(
        select(
            select(func.count()).select_from(import_rows).scalar_subquery(),
            select(func.count()).select_from(signals).scalar_subquery(),
        )
    ).one()
    connection.execute(text("CREATE INDEX import_rows_identity ON import_rows (identity)"))
    if connection.dialect.name == "postgresql":
        connection.execute(text("ANALYZE import_rows"))
    # IN, not NOT IN: PostgreSQL runs the latter once a row when it outgrows its memory.
    nth = func.row_number().over(partition_by=(table.identity, table.digest), order_by=table.seq)
    equal = select(table.seq, nth.label("nth")).where(table.ordinal == 0).subquery()
    again = select(equal.c.seq).where(equal.c.nth > 1)
    connection.execute(delete(import_rows).where(table.seq.in_(again)))
    last = ""
    while same := _next_split_identities(connection, last):
        _join(connection, same)
        last = same[-1]
    return int(staged - distinct)


def _next_split_identities(connection: Connection, last: str) -> list[str]:
    table = import_rows.c
    found = connection.scalars(
        select(table.identity)
        .where(table.identity > last, table.ordinal == 0)
        .group_by(table.identity)
        .having(func.count() > 1)
        .order_by(table.identity)
        .limit(_JOIN_BATCH)
    )
    return list(found)


def _join(connection: Connection, identities: list[str]) -> None:
    table = import_rows.c
    mine = table.identity.in_(identities)
    joined: dict[str, tuple[int, ImportRow]] = {}
    rows = connection.execute(select(import_rows).where(mine).order_by(table.seq, table.ordinal))
    for row in rows:
        signal = EntrySignal(row.algorithm, row.value, row.variant, row.quality)
        labels = split_stored_labels(row.labels)
        if row.identity not in joined:
            parsed = ImportRow(
                0, (signal,), row.external_id, labels, row.source, Opinion(row.opinion), row.note,
                None if row.expire_time is None else from_us(row.expire_time),
            )  # fmt: skip
            joined[row.identity] = row.seq, parsed
            continue
        seq, parsed = joined[row.identity]
        parsed = parsed._replace(
            signals=tuple(dict.fromkeys((*parsed.signals, signal))),
            labels=tuple(dict.fromkeys((*parsed.labels, *labels))),
        )
        joined[row.identity] = seq, parsed
    connection.execute(delete(import_rows).where(mine))
    batch: list[Row] = []
    for seq, parsed in joined.values():
        _check_joined(parsed)
        batch += _staged_rows(seq, parsed)
    _insert(connection, batch)


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


def split_stored_labels(stored: str) -> tuple[str, ...]:
    return tuple(stored.split(LABEL_SEPARATOR)) if stored else ()
