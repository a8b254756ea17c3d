"""First step of an import: write the rows of a file into temporary tables.

Nothing is locked while the file is read and parsed, which takes as long as its sender needs.
`merging` then plans what will change, and only that is written under the writers' lock. A dry run
ends with the plan.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, cast

import numpy as np
from sqlalchemy import Connection, Table

from featsvc.banks.interruption import check
from featsvc.banks.lists.formats.rows import ImportRow, bad_row
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.lists.stager import STAGED_COLUMNS, DetailsRow, StagedRow, Stager, WithdrawalRow
from featsvc.banks.results import (
    MAX_BAD_ROWS_KEPT,
    MAX_SOURCES_NAMED,
    BadRow,
    ImportOptions,
    ImportSummary,
)
from featsvc.banks.sql.database import temporary_tables
from featsvc.banks.sql.temporary import (
    cancelled_identities,
    import_details,
    import_rows,
    import_withdrawals,
    withdrawal_hits,
)
from featsvc.errors import InvalidInput
from featsvc.signals.algorithms import ALGORITHMS
from featsvc.signals.distance import HAMMING

if TYPE_CHECKING:
    # Not imported at run time: a store on SQLite starts 100 ms sooner.
    import psycopg

# A batch stays in the processor's cache.
_BATCH_ROWS = 250
_STATEMENT_ROWS = 50
_HAMMING = frozenset(a.name for a in ALGORITHMS.values() if a.distance is HAMMING)
_TABLES = (
    import_rows,
    import_details,
    import_withdrawals,
    cancelled_identities,
    withdrawal_hits,
)
_NEVER_MATCHED = frozenset(a.name for a in ALGORITHMS.values() if not a.matched)


def staging_table(connection: Connection) -> AbstractContextManager[None]:
    """Create the temporary tables, and drop them at the end."""
    return temporary_tables(connection, _TABLES)


@dataclass(frozen=True, slots=True)
class StagedRows:
    """The counts of one pass over the rows, and the stager that `joining` goes on with."""

    summary: ImportSummary
    stager: Stager


def stage(connection: Connection, file: ListFile, options: ImportOptions) -> StagedRows:
    """Write the good rows of a file into the staging tables."""
    bad_count = low_information = unstable = 0
    signals: Counter[str] = Counter()
    bad: list[BadRow] = []
    stager = Stager(options)
    numbered = enumerate(file, 1)
    while chunk := list(islice(numbered, _BATCH_ROWS)):
        check()
        batch: list[StagedRow] = []
        for number, row in chunk:
            if isinstance(row, ImportRow):
                if bad_count and not options.skip_bad:
                    continue
                try:
                    batch += stager.rows(number, row)
                    unstable += row.unstable_signals
                    continue
                except InvalidInput as exc:
                    rejected = bad_row(row.line, exc.field, str(exc), "")
            else:
                rejected = row
            bad_count += 1
            bad.append(rejected)
            file.reject(rejected)
        del bad[MAX_BAD_ROWS_KEPT:]
        stager.trim()
        good = (row for _, row in chunk if not isinstance(row, BadRow))
        low_information += _count_signals(good, signals)
        write(connection, stager, batch)
    sources = sorted(stager.sources | stager.withdrawn_sources)
    summary = ImportSummary(
        rows=file.rows_read,
        bad_rows=bad_count,
        bad=tuple(bad),
        low_information=low_information,
        unmatchable_signals=sum(signals[name] for name in _NEVER_MATCHED),
        unstable_signals=unstable,
        left_out=dict(file.left_out),
        signals=dict(signals),
        sources=tuple(sources[:MAX_SOURCES_NAMED]),
        source_count=len(sources),
    )
    return StagedRows(summary, stager)


def stage_rows(connection: Connection, rows: Iterable[ImportRow]) -> StagedRows:
    """Write rows that are not from a file into the staging tables."""
    stager = Stager(ImportOptions())
    batch: list[StagedRow] = []
    for number, row in enumerate(rows, 1):
        batch += stager.rows(number, row)
    write(connection, stager, batch)
    return StagedRows(ImportSummary(rows=len(batch)), stager)


def _count_signals(rows: Iterable[ImportRow], signals: Counter[str]) -> int:
    """Count the signals by algorithm; return how many are of low information."""
    hamming: dict[str, list[bytes]] = defaultdict(list)
    for row in rows:
        for signal in row.signals:
            algorithm = signal.algorithm
            if algorithm in _HAMMING:
                hamming[algorithm].append(signal.value)
            else:
                signals[algorithm] += 1
    signals.update({algorithm: len(values) for algorithm, values in hamming.items()})
    return sum(map(_low_information, hamming.values()))


def _low_information(values: Sequence[bytes]) -> int:
    """Count values of plain content: few or nearly all bits set, or a pattern that repeats."""
    size = len(values[0])
    rows = np.frombuffer(b"".join(values), np.uint8).reshape(-1, size)
    ones = np.bitwise_count(rows).sum(axis=1, dtype=np.int64)
    uneven = (ones < size * 2) | (ones > size * 6)
    half = size // 2
    return int((uneven | (rows[:, :half] == rows[:, half : 2 * half]).all(axis=1)).sum())


def write(connection: Connection, stager: Stager, batch: list[StagedRow]) -> None:
    """Write staged rows, the new details that they refer to, and withdrawn rows."""
    _insert(connection, import_details, DetailsRow._fields, stager.details)
    stager.details.clear()
    _insert(connection, import_withdrawals, WithdrawalRow._fields, stager.withdrawals)
    stager.withdrawals.clear()
    _insert(connection, import_rows, STAGED_COLUMNS, batch)


def _insert(
    connection: Connection,
    table: Table,
    names: Sequence[str],
    batch: Sequence[tuple[object, ...]],
) -> None:
    """Insert with the driver: SQLAlchemy's handling of parameters takes longer than the insert."""
    columns = ", ".join(names)
    if not batch:
        return
    if connection.dialect.name == "sqlite":
        marks = f"({', '.join('?' * len(names))})"
        insertion = f"INSERT INTO {table.name} ({columns}) VALUES {marks}"
        whole = len(batch) - len(batch) % _STATEMENT_ROWS
        sqlite = connection.connection.cursor()
        # Several rows in a statement: a statement itself costs as much as its rows.
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
