"""Every operation of the bank store on PostgreSQL, in stores that were never analysed and after it.

A store holds so many entries in several banks, filled by imports of 4,000 rows; half of them are in
one, whose pages are read. All other operations are on a new bank of 20,000 entries, so their times
should not grow with the store, nor differ between the columns. Times are of the store, without
gRPC: the median of three where an operation can be repeated, and in parentheses the longest that a
withdrawal by another process, one every 50 ms, in another bank, waited meanwhile.
"""

import statistics
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

import psycopg

from bench.command import Command, progress
from bench.size import pick
from bench.undo import urgent
from featsvc.banks.store import BankStore
from tests.banks.databases import PostgresServer, postgres_server
from tests.banks.operations import Operation, Operations, fill

SIZES = pick((10_000, 100_000, 400_000), smoke=(1_500,))
TOUCHED = pick(20_000, smoke=1_500)
OTHERS = 4
ROUNDS = pick(3, smoke=1)
STATES = ("unanalysed", "analysed")


class Measured(NamedTuple):
    took_s: float
    waited_s: float


Column = dict[str, Measured]


def measure(other: Connection, operation: Operation) -> Measured:
    took_s, waited_s = [], 0.0
    for _ in range(ROUNDS if operation.repeats else 1):
        operation.prepare()
        other.send(True)
        started = time.perf_counter()
        operation.run()
        took_s.append(time.perf_counter() - started)
        other.send(None)
        waited_s = max(waited_s, *other.recv())
    return Measured(statistics.median(took_s), waited_s)


def measure_all(store: BankStore, other: Connection, bank: str, size: int) -> Column:
    """Make every operation on a new bank."""
    column = {}
    every = Operations(store, bank, TOUCHED, "large", size // 2).every()
    with progress(f"{size:,} entries, {bank}", len(every)) as step:
        for operation in every:
            column[operation.name] = measure(other, operation)
            step()
    return column


def columns_of(server: PostgresServer, size: int) -> list[Column]:
    """Measure a store of `size` entries before and after ANALYZE."""
    url = server.create_database()
    store = BankStore(url)
    fill(store, "large", size // 2)
    for number in range(OTHERS):
        fill(store, f"other{number}", size // 2 // OTHERS)
    store.create_bank("urgent")
    columns = []
    with urgent(url) as other:
        for state in STATES:
            if state == "analysed":
                run(url, "ANALYZE")
            columns.append(measure_all(store, other, state, size))
            if state == "unanalysed" and run(
                url, "SELECT 1 FROM pg_stats WHERE tablename = 'entries'"
            ):
                raise SystemExit("the store was analysed meanwhile")
    store.close()
    return columns


def run(url: str, statement: str) -> int:
    """Execute a statement; return the number of rows it found."""
    address = url.replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(address, autocommit=True) as connection:
        return connection.execute(statement.encode()).rowcount


def main(argv: Sequence[str] | None = None) -> None:
    command = Command("store_plans", __doc__ or "", takes="about 5 minutes")
    command.parser.add_argument("--entries", type=int, nargs="+", default=SIZES)
    sizes = command.begin(argv).entries
    columns: list[Column] = []
    with postgres_server() as server:
        run(server.create_database(), "ALTER SYSTEM SET autovacuum = off")
        run(server.create_database(), "SELECT pg_reload_conf()")
        for size in sizes:
            columns += columns_of(server, size)
    print(f"{'entries of the store':<28}" + "".join(f"{size:>36,}" for size in sizes))
    print(f"{'':<28}" + "".join(f"{state:>18}" for state in STATES) * len(sizes))
    for name in columns[0]:
        cells = (f"{c[name].took_s:>10.3f} s ({c[name].waited_s:.2f})" for c in columns)
        print(f"{name:<28}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
