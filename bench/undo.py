"""Undo at any size: rollback, replacement, their dry runs and diff, with 1 and half of the entries
changed, and what an urgent withdrawal by another process waits meanwhile; also beside an import.

Times are of the store, without gRPC: by touched entry, and p50, p99 and maximum of the withdrawals
that another process made meanwhile, one every 50 ms, in another bank of the same store.
"""

import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from bench.command import Command
from bench.size import pick
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.results import ImportOptions
from featsvc.banks.store import BankStore
from tests.banks.databases import postgres_server

SIZES = pick((10_000, 100_000, 1_000_000), smoke=(1_000,))
EVERY_S = 0.05
LINES = 4_000


def chunks(hashes: Sequence[bytes]) -> Iterator[bytes]:
    for start in range(0, len(hashes), LINES):
        yield b"".join(b"%s\n" % value.hex().encode() for value in hashes[start : start + LINES])


def import_hashes(
    store: BankStore, hashes: Sequence[bytes], *, replace: bool = False, dry_run: bool = False
) -> None:
    options = ImportOptions(replace=replace, dry_run=dry_run, allow_withdrawn=len(hashes))
    store.import_entries("b", ListFile(chunks(hashes), name="list.txt", format="pdq-text"), options)


def withdraw_one_by_one(url: str, end: Connection) -> None:
    """From each message to the next withdraw an entry every 50 ms; send how long each took."""
    store = BankStore(url)
    numbers = iter(range(1_000_000))
    while end.recv():
        waits: list[float] = []
        while not waits or not end.poll(EVERY_S):
            lines = b"%064x\n" % next(numbers)
            store.import_entries("urgent", ListFile([lines], name="one.txt", format="pdq-text"))
            newest = store.list_entries("urgent").entries[-1].id
            started = time.perf_counter()
            store.withdraw_entries("urgent", [newest])
            waits.append(time.perf_counter() - started)
        end.recv()
        end.send(waits)
    store.close()


@contextmanager
def urgent(url: str) -> Iterator[Connection]:
    """Start the other process."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=withdraw_one_by_one, args=(url, theirs)
    )
    process.start()
    theirs.close()
    yield ours
    ours.send(False)
    process.join()


def measure(other: Connection, name: str, touched: int, change: Callable[[], object]) -> None:
    other.send(True)
    started = time.perf_counter()
    change()
    took_s = time.perf_counter() - started
    other.send(None)
    waits: list[float] = other.recv()
    p50, p99 = np.percentile(waits, (50, 99)) * 1000
    print(
        f"{name:<34} {took_s:>8.3f} s {took_s / touched * 1e6:>12,.1f} µs"
        f" {p50:>7.0f} {p99:>6.0f} {max(waits) * 1000:>6.0f} ms",
        flush=True,
    )


def undo(url: str, size: int) -> None:
    """Print a line for each operation on a bank of `size` entries."""
    rng = random.Random(size)
    hashes = [rng.randbytes(32) for _ in range(size + size // 2)]
    store = BankStore(url)
    store.create_bank("b")
    store.create_bank("urgent")
    with urgent(url) as other:
        measure(other, f"import {size:,}", size, lambda: import_hashes(store, hashes[:size]))
        imported = store.list_revisions("b").revisions[0].revision
        for number, changed in (
            (1, [*hashes[1:size], hashes[size]]),
            (size // 2, hashes[size // 2 :]),
        ):
            operations: dict[str, Callable[[], object]] = {
                "replace, dry run": partial(
                    import_hashes, store, changed, replace=True, dry_run=True
                ),
                "replace": partial(import_hashes, store, changed, replace=True),
                "diff": partial(store.diff_revisions, "b", imported),
                "rollback, dry run": partial(store.rollback_bank, "b", imported, dry_run=True),
                "rollback": partial(store.rollback_bank, "b", imported),
            }
            for kind, operation in operations.items():
                # One is withdrawn for each that is added.
                measure(other, f"{number:,} of {size:,}: {kind}", 2 * number, operation)
    store.close()


def main(argv: Sequence[str] | None = None) -> None:
    command = Command("undo", __doc__ or "", takes="about 15 minutes")
    command.parser.add_argument("--only", choices=("sqlite", "postgresql"))
    only = command.begin(argv).only
    columns = f"{'':<34} {'time':>10} {'an entry':>15} {'p50':>7} {'p99':>6} {'max':>6}"
    if only != "postgresql":
        print(f"SQLite\n{columns}")
        for size in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                undo(f"sqlite:///{Path(folder) / 'banks.db'}", size)
    if only != "sqlite":
        print(f"PostgreSQL\n{columns}")
        with postgres_server() as server:
            for size in SIZES:
                undo(server.create_database(), size)


if __name__ == "__main__":
    main()
