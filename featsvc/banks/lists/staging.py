"""An import's first half: rows of a file go into a temporary table.

Nothing is locked while the file is read and parsed, which may take as long as its sender likes;
`merging` then holds the writers' lock for one set of statements. A dry run is the same, rolled
back.
"""

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from sqlalchemy import Connection, Table, and_, delete, exists, func, select, text

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.records import MAX_ENTRY_SIGNALS, MAX_LABELS, EntrySignal, Opinion
from featsvc.banks.results import MAX_BAD_ROWS_KEPT, BadRow, ImportOptions, ImportSummary
from featsvc.banks.sql.schema import (
    LABEL_SEPARATOR,
    ROW_ORDINALS,
    WITHDRAWN,
    import_details,
    import_rows,
    row_number,
    row_ordinal,
)
from featsvc.banks.sql.times import from_us, to_us
from featsvc.banks.sql.view import split_stored_labels
from featsvc.errors import InvalidInput
from featsvc.signals.algorithms import ALGORITHMS
from featsvc.signals.distance import HAMMING

if TYPE_CHECKING:
    # A store on SQLite starts without it, 100 ms sooner.
    import psycopg

# Small enough to stay in the processor's cache.
_BATCH_ROWS = 250
_STATEMENT_ROWS = 50
_JOIN_BATCH = 1_000
_DETAILS_KEPT = 4_096
MAX_HASHES = 2**23
"""64 MiB; larger files are searched for duplicates by the database."""
_COLUMNS = ("row", "identity", "digest", "external_id", "details", "value")
_DETAIL_COLUMNS = tuple(column.name for column in import_details.columns)
_HAMMING = frozenset(a.name for a in ALGORITHMS.values() if a.distance is HAMMING)
_NEVER_MATCHED = frozenset(a.name for a in ALGORITHMS.values() if not a.matched)

Row = tuple[object, ...]


def identity_of(external_id: str, signals: Sequence[EntrySignal]) -> str:
    """What makes two rows the same entry; see `schema`."""
    if external_id:
        return "x" + external_id
    algorithm, value, *_ = signals[0]
    if len(value) > 64:
        return f"s{algorithm}:{hashlib.blake2b(value, digest_size=32).hexdigest()}"
    return f"s{algorithm}:{value.hex()}"


class _Details(NamedTuple):
    """What most rows of a list have in common, prepared once. `key` is that of its row."""

    digest: hashlib.blake2b
    key: int


class Stager:
    """Rows of a list in, rows of the temporary tables out.

    `identities` and `signals` collect 64-bit hashes, by which a file without duplicates is told
    without sorting it; past `MAX_HASHES` they are given up.
    """

    def __init__(self, options: ImportOptions) -> None:
        self._options = options
        self._known: dict[Row, _Details] = {}
        self._last: Row = ()
        self._last_details = _Details(hashlib.blake2b(), WITHDRAWN)
        self._next_key = WITHDRAWN + 1
        self.details: list[Row] = []
        """Rows of `import_details` that are not written yet."""
        self.identities = array("q")
        self.signals = array("q")

    def rows(self, number: int, row: ImportRow) -> list[Row]:
        _, signals, external_id, labels, source, opinion, note, expire_time, withdrawn = row
        identity = identity_of(external_id, signals)
        self.identities.append(hash(identity))
        key = number * ROW_ORDINALS
        if withdrawn:
            return [(key, identity, b"", external_id, WITHDRAWN, b"")]
        if len(signals) == 1:
            ((algorithm, value, variant, quality, _),) = signals
            self.signals.append(hash(value))
            shared = (labels, source, opinion, note, expire_time, algorithm, variant, quality)
            # Comparing with the row before is faster than hashing eight fields.
            if shared != self._last:
                self._last = shared
                self._last_details = self._known.get(shared) or self._prepare(row, shared)
            details = self._last_details
            digest = details.digest.copy()
            digest.update(external_id.encode() + value)
            return [(key, identity, digest.digest(), external_id, details.key, value)]
        return self._several(key, identity, row)

    def _several(self, key: int, identity: str, row: ImportRow) -> list[Row]:
        found = []
        digests = []
        for algorithm, value, variant, quality, _ in row.signals:
            self.signals.append(hash(value))
            shared = (*row[3:8], algorithm, variant, quality)
            details = self._known.get(shared) or self._prepare(row, shared)
            found.append((details.key, value))
            digest = details.digest.copy()
            digest.update(row.external_id.encode() + value)
            digests.append(digest.digest())
        # The order of signals is no difference.
        whole = hashlib.blake2b(b"".join(sorted(digests)), digest_size=16).digest()
        return [
            (key + ordinal, identity, whole, row.external_id, *signal)
            for ordinal, signal in enumerate(found)
        ]

    def _prepare(self, row: ImportRow, shared: Row) -> _Details:
        labels = tuple(dict.fromkeys((*row.labels, *self._options.labels)))
        source = row.source or self._options.source
        expire_us = None if row.expire_time is None else to_us(row.expire_time)
        opinion, note = row.opinion.value, row.note
        signal = shared[5:]
        parts = (
            "\1".join(sorted(labels)), source, opinion, note, str(expire_us), *map(str, signal), "",
        )  # fmt: skip
        if len(self._known) >= _DETAILS_KEPT:
            self._known.clear()
        digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=16)
        details = self._known[shared] = _Details(digest, self._next_key)
        joined = LABEL_SEPARATOR.join(labels)
        self.details.append((self._next_key, joined, source, opinion, note, expire_us, *signal))
        self._next_key += 1
        return details

    def trim(self) -> None:
        """Keep the hashes within their cap; one that is full is of no use any more."""
        for hashes in (self.identities, self.signals):
            del hashes[MAX_HASHES + 1 :]


def _repeated(hashes: "array[int]") -> int | None:
    """How many are there already among those before; None where there are too many to tell."""
    if len(hashes) > MAX_HASHES:
        return None
    ordered = np.sort(np.frombuffer(hashes, np.int64))
    return int((ordered[1:] == ordered[:-1]).sum())


@contextmanager
def staging_table(connection: Connection) -> Iterator[None]:
    """The temporary tables, gone afterwards."""
    with connection.begin():
        for table in (import_rows, import_details):
            table.drop(connection, checkfirst=True)
            table.create(connection)
    try:
        yield
    finally:
        # A dead connection takes its temporary tables with it.
        if not connection.invalidated and not connection.closed:
            with connection.begin():
                import_rows.drop(connection)
                import_details.drop(connection)


@dataclass(frozen=True, slots=True)
class Staged:
    """`summary` of what one pass over the rows can count, and what `join_same_entries` wants."""

    summary: ImportSummary
    stager: Stager
    any_withdrawn: bool


def stage(connection: Connection, file: ListFile, options: ImportOptions) -> Staged:
    """Write the rows into the staging table."""
    bad_count = low_information = unmatchable = 0
    any_withdrawn = False
    bad: list[BadRow] = []
    stager = Stager(options)
    numbered = enumerate(file, 1)
    while chunk := list(islice(numbered, _BATCH_ROWS)):
        batch: list[Row] = []
        for number, row in chunk:
            if isinstance(row, BadRow):
                bad_count += 1
                bad.append(row)
                file.reject(row)
            elif not bad_count or options.skip_bad:
                batch += stager.rows(number, row)
        del bad[MAX_BAD_ROWS_KEPT:]
        stager.trim()
        any_withdrawn = any_withdrawn or any(row[4] == WITHDRAWN for row in batch)
        low, never = _count_weak(row for _, row in chunk if not isinstance(row, BadRow))
        low_information += low
        unmatchable += never
        _write(connection, stager, batch)
    summary = ImportSummary(
        rows=file.rows_read, bad_rows=bad_count, bad=tuple(bad), low_information=low_information,
        unmatchable_signals=unmatchable,
    )  # fmt: skip
    return Staged(summary, stager, any_withdrawn)


def stage_rows(connection: Connection, rows: Iterable[ImportRow]) -> Staged:
    """Write rows that did not come from a file."""
    stager = Stager(ImportOptions())
    batch: list[Row] = []
    for number, row in enumerate(rows, 1):
        batch += stager.rows(number, row)
    _write(connection, stager, batch)
    return Staged(ImportSummary(rows=len(batch)), stager, False)


def _count_weak(rows: Iterable[ImportRow]) -> tuple[int, int]:
    """Signals of low information, and signals that are never matched."""
    hamming: dict[str, list[bytes]] = defaultdict(list)
    never = 0
    for row in rows:
        for signal in row.signals:
            if signal[0] in _HAMMING:
                hamming[signal[0]].append(signal[1])
            elif signal[0] in _NEVER_MATCHED:
                never += 1
    return sum(map(_low_information, hamming.values())), never


def _low_information(values: Sequence[bytes]) -> int:
    """Perceptual signals of plain content: few or nearly all bits set, or one pattern repeated."""
    size = len(values[0])
    rows = np.frombuffer(b"".join(values), np.uint8).reshape(-1, size)
    ones = np.bitwise_count(rows).sum(axis=1, dtype=np.int64)
    uneven = (ones < size * 2) | (ones > size * 6)
    half = size // 2
    return int((uneven | (rows[:, :half] == rows[:, half : 2 * half]).all(axis=1)).sum())


def _write(connection: Connection, stager: Stager, batch: list[Row]) -> None:
    _insert(connection, import_details, _DETAIL_COLUMNS, stager.details)
    stager.details.clear()
    _insert(connection, import_rows, _COLUMNS, batch)


def _insert(connection: Connection, table: Table, names: Sequence[str], batch: list[Row]) -> None:
    """Through the driver: SQLAlchemy's own parameter handling costs more than the insert."""
    columns = ", ".join(names)
    if not batch:
        return
    if connection.dialect.name == "sqlite":
        marks = f"({', '.join('?' * len(names))})"
        insertion = f"INSERT INTO {table.name} ({columns}) VALUES {marks}"
        whole = len(batch) - len(batch) % _STATEMENT_ROWS
        sqlite = connection.connection.cursor()
        # Several rows a statement: what a statement costs beside its rows is as much again.
        sqlite.executemany(
            insertion + f", {marks}" * (_STATEMENT_ROWS - 1),
            [
                tuple(chain.from_iterable(batch[start : start + _STATEMENT_ROWS]))
                for start in range(0, whole, _STATEMENT_ROWS)
            ],
        )
        sqlite.executemany(insertion, batch[whole:])
        return
    driver = cast("psycopg.Connection", connection.connection.driver_connection)
    copy_in = f"COPY {table.name} ({columns}) FROM STDIN".encode()
    with driver.cursor() as cursor, cursor.copy(copy_in) as copy:
        for row in batch:
            copy.write_row(row)


def join_same_entries(connection: Connection, staged: Staged) -> int:
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
    if staged.any_withdrawn:
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
        signal = EntrySignal(row.algorithm, row.value, row.variant, row.quality)
        labels = split_stored_labels(row.labels)
        if row.identity not in joined:
            parsed = ImportRow(
                0, (signal,), row.external_id, labels, row.source, Opinion(row.opinion), row.note,
                None if row.expire_time is None else from_us(row.expire_time),
            )  # fmt: skip
            joined[row.identity] = row.row // ROW_ORDINALS, parsed
            continue
        number, parsed = joined[row.identity]
        parsed = parsed._replace(
            signals=tuple(dict.fromkeys((*parsed.signals, signal))),
            labels=tuple(dict.fromkeys((*parsed.labels, *labels))),
        )
        joined[row.identity] = number, parsed
    connection.execute(delete(import_rows).where(mine))
    batch: list[Row] = []
    for number, parsed in joined.values():
        _check_joined(parsed)
        batch += stager.rows(number, parsed)
    _write(connection, stager, batch)


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
