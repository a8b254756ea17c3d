"""An import's first half: rows of a file go into a temporary table.

Nothing is locked while the file is read and parsed, which may take as long as its sender likes;
`merging` then holds the writers' lock for one set of statements. A dry run is the same, rolled
back.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

import numpy as np
import psycopg
from sqlalchemy import Connection, and_, delete, exists, func, select, text

from featsvc.banks.formats.rows import ImportRow
from featsvc.banks.list_file import ListFile
from featsvc.banks.records import MAX_ENTRY_SIGNALS, MAX_LABELS, EntrySignal, Opinion
from featsvc.banks.results import MAX_BAD_ROWS_KEPT, BadRow, ImportOptions, ImportSummary
from featsvc.banks.schema import LABEL_SEPARATOR, import_rows
from featsvc.banks.times import from_us, to_us
from featsvc.banks.view import split_stored_labels
from featsvc.errors import InvalidInput
from featsvc.hashing.registry import ALGORITHMS, Distance

_BATCH_ROWS = 5_000
_JOIN_BATCH = 1_000
_DETAILS_KEPT = 4_096
_SIGNAL_COLUMNS = ("algorithm", "value", "variant", "quality")
_COLUMNS = (
    "seq", "ordinal", "withdrawn", "identity", "digest", "external_id", "labels", "source",
    "opinion", "note", "expire_time", *_SIGNAL_COLUMNS,
)  # fmt: skip
_HAMMING = frozenset(a.name for a in ALGORITHMS.values() if a.distance is Distance.HAMMING)
_NEVER_MATCHED = frozenset(a.name for a in ALGORITHMS.values() if not a.matched)

Row = tuple[object, ...]


def identity_of(external_id: str, signals: Sequence[EntrySignal]) -> str:
    """What makes two rows the same entry; see `schema`."""
    if external_id:
        return "x" + external_id
    algorithm, value, _, _ = signals[0]
    if len(value) > 64:
        return f"s{algorithm}:{hashlib.blake2b(value, digest_size=32).hexdigest()}"
    return f"s{algorithm}:{value.hex()}"


class _Details(NamedTuple):
    """What most rows of a list have in common, prepared once."""

    digest: hashlib.blake2b
    columns: tuple[str, str, str, str, int | None]


class Stager:
    """Rows in, tuples of `_COLUMNS` out."""

    def __init__(self, options: ImportOptions) -> None:
        self._options = options
        self._details: dict[Row, _Details] = {}

    def rows(self, seq: int, row: ImportRow) -> list[Row]:
        _, signals, external_id, labels, source, opinion, note, expire_time, withdrawn = row
        identity = identity_of(external_id, signals)
        if withdrawn:
            return [(seq, 0, True, identity, b"", external_id, "", "", "", "", None, "", b"", "",
                     None)]  # fmt: skip
        key = (labels, source, opinion, note, expire_time)
        details = self._details.get(key)
        if details is None:
            details = self._details[key] = self._prepare(row)
        digest = details.digest.copy()
        digest.update(external_id.encode())
        columns = details.columns
        if len(signals) == 1:
            ((algorithm, value, variant, quality),) = signals
            digest.update(f"\0{algorithm}\0{variant}\0{quality}\0".encode() + value)
            return [(seq, 0, False, identity, digest.digest(), external_id, *columns, algorithm,
                     value, variant, quality)]  # fmt: skip
        for algorithm, value, variant, quality in sorted(signals, key=_order):
            digest.update(f"\0{algorithm}\0{variant}\0{quality}\0".encode() + value)
        shared = (False, identity, digest.digest(), external_id, *columns)
        return [(seq, ordinal, *shared, *signal) for ordinal, signal in enumerate(signals)]

    def _prepare(self, row: ImportRow) -> _Details:
        labels = tuple(dict.fromkeys((*row.labels, *self._options.labels)))
        source = row.source or self._options.source
        expire_us = None if row.expire_time is None else to_us(row.expire_time)
        opinion, note = row.opinion.value, row.note
        parts = ("\1".join(sorted(labels)), source, opinion, note, str(expire_us), "")
        digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=16)
        columns = (LABEL_SEPARATOR.join(labels), source, opinion, note, expire_us)
        if len(self._details) >= _DETAILS_KEPT:
            self._details.clear()
        return _Details(digest, columns)


def _order(signal: EntrySignal) -> tuple[str, bytes, str, int]:
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


def stage(connection: Connection, file: ListFile, options: ImportOptions) -> ImportSummary:
    """Write the rows into the staging table. Returns what one pass over the rows can count."""
    bad_count = low_information = unmatchable = 0
    bad: list[BadRow] = []
    batch: list[Row] = []
    stager = Stager(options)
    seq = 0
    for seq, row in enumerate(file, 1):
        if isinstance(row, BadRow):
            bad_count += 1
            if len(bad) < MAX_BAD_ROWS_KEPT:
                bad.append(row)
            file.reject(row)
        elif not bad_count or options.skip_bad:
            batch += stager.rows(seq, row)
            if len(batch) >= _BATCH_ROWS:
                low_information += _low_information(batch)
                unmatchable += _unmatchable(batch)
                _insert(connection, batch)
                batch.clear()
    low_information += _low_information(batch)
    unmatchable += _unmatchable(batch)
    _insert(connection, batch)
    return ImportSummary(
        rows=seq, bad_rows=bad_count, bad=tuple(bad), low_information=low_information,
        unmatchable_signals=unmatchable,
    )  # fmt: skip


def stage_rows(connection: Connection, rows: Iterable[ImportRow]) -> None:
    """Write rows that did not come from a file."""
    stager = Stager(ImportOptions())
    batch: list[Row] = []
    for seq, row in enumerate(rows, 1):
        batch += stager.rows(seq, row)
    _insert(connection, batch)


def _low_information(batch: Sequence[Row]) -> int:
    """Perceptual signals of plain content: few or nearly all bits set, or one pattern repeated."""
    values = [cast(bytes, row[12]) for row in batch if row[11] in _HAMMING]
    total = 0
    for size in {len(value) for value in values}:
        rows = np.frombuffer(b"".join(v for v in values if len(v) == size), np.uint8)
        rows = rows.reshape(-1, size)
        ones = np.bitwise_count(rows).sum(axis=1, dtype=np.int64)
        uneven = (ones < size * 2) | (ones > size * 6)
        half = size // 2
        total += int((uneven | (rows[:, :half] == rows[:, half : 2 * half]).all(axis=1)).sum())
    return total


def _unmatchable(batch: Sequence[Row]) -> int:
    return sum(1 for row in batch if row[11] in _NEVER_MATCHED)


def _insert(connection: Connection, batch: list[Row]) -> None:
    """Through the driver: SQLAlchemy's own parameter handling costs more than the insert."""
    columns = ", ".join(_COLUMNS)
    if not batch:
        return
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(_COLUMNS))
        insertion = f"INSERT INTO import_rows ({columns}) VALUES ({marks})"
        connection.connection.cursor().executemany(insertion, batch)
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
    connection.execute(text("CREATE INDEX import_rows_identity ON import_rows (identity)"))
    if connection.dialect.name == "postgresql":
        connection.execute(text("ANALYZE import_rows"))
    _apply_withdrawals(connection)
    duplicates = _duplicates(connection)
    heads = select(func.count(), func.count(table.identity.distinct())).where(table.ordinal == 0)
    entries, distinct = connection.execute(heads).one()
    if entries == distinct:
        return duplicates
    # IN, not NOT IN: PostgreSQL runs the latter once a row when it outgrows its memory.
    nth = func.row_number().over(partition_by=(table.identity, table.digest), order_by=table.seq)
    equal = select(table.seq, nth.label("nth")).where(table.ordinal == 0).subquery()
    again = select(equal.c.seq).where(equal.c.nth > 1)
    connection.execute(delete(import_rows).where(table.seq.in_(again)))
    last = ""
    while same := _next_split_identities(connection, last):
        _join(connection, same)
        last = same[-1]
    return duplicates


def _duplicates(connection: Connection) -> int:
    table = import_rows.c
    signals = select(table.algorithm, table.value).where(~table.withdrawn)
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
    if not connection.scalar(select(func.count()).where(table.withdrawn)):
        return
    taken_back = select(table.identity).where(table.withdrawn).scalar_subquery()
    later = and_(other.c.identity == table.identity, other.c.seq > table.seq)
    withdrawn_later = exists().where(later, other.c.withdrawn)
    connection.execute(delete(import_rows).where(table.identity.in_(taken_back), withdrawn_later))
    # What is left of such an entry came after its withdrawal.
    given_again = exists().where(later, ~other.c.withdrawn)
    connection.execute(delete(import_rows).where(table.withdrawn, given_again))


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
    stager = Stager(ImportOptions())
    batch: list[Row] = []
    for seq, parsed in joined.values():
        _check_joined(parsed)
        batch += stager.rows(seq, parsed)
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
