"""What one service asks of an idle PostgreSQL, by the length of the log: followers of two workers
and an indexer, as separate processes, while nobody changes anything.

Rows are those that the server read, by its own count (`pg_stat_database`); CPU is that of the
service's processes and of the server's.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg

from bench.command import Command
from bench.size import pick
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.store import BankStore
from featsvc.matching.follower import Follower
from featsvc.matching.indexer import Indexer
from tests.banks.databases import postgres_server

WORKERS = 2
ENTRIES = pick(20_000, smoke=100)
REVISIONS = pick((10, 1_000, 20_000, 100_000), smoke=(10, 50))
SECONDS = pick(30, smoke=2)
SETTLING_S = pick(25, smoke=1)
"""A server's process reports what it has read up to 10 s later."""
_LENGTHEN = """
INSERT INTO revisions
SELECT number, commit_time, bank_id, action, actor, reason, '', file_name, file_sha256, 0, 0, 0,
  (SELECT next_version FROM head), number
FROM revisions, generate_series((SELECT revision FROM head) + 1, %s) AS number
WHERE revision = (SELECT revision FROM head)
"""
_READ = """
SELECT tup_returned + tup_fetched FROM pg_stat_database WHERE datname = current_database()
"""


def follow(url: str, folder: Path) -> None:
    """Be the follower of a worker, until the process is ended."""
    follower = Follower(BankStore(url), poll_interval_ms=100, segments=folder)
    follower.start()
    time.sleep(1_000_000)


def lengthen(connection: psycopg.Connection, revisions: int) -> None:
    with connection.transaction():
        connection.execute(_LENGTHEN, (revisions,))
        connection.execute("UPDATE head SET revision = %s, change = %s", (revisions, revisions))


@contextmanager
def service(url: str, folder: Path) -> Iterator[list[psutil.Process]]:
    """Run followers and an indexer; yield their processes."""
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=follow, args=(url, folder)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    indexer = subprocess.Popen(
        [sys.executable, "-m", "featsvc.matching.indexer", f"--segments={folder}"],
        env=os.environ | {"FEATSVC_BANKS_URL": url},
    )
    try:
        yield [psutil.Process(pid) for pid in (indexer.pid, *(w.pid for w in workers))]
    finally:
        indexer.terminate()
        indexer.wait()
        for worker in workers:
            worker.terminate()
            worker.join()


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def servers(connection: psycopg.Connection) -> list[psutil.Process]:
    """Return the server's processes that answer clients, but for this connection's."""
    found = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()"
    )
    return [psutil.Process(pid) for (pid,) in found]


def measure(url: str, folder: Path, revisions: int) -> None:
    """Print a line: rows and CPU a second."""
    plain = url.replace("+psycopg", "", 1)
    with psycopg.connect(plain, autocommit=True) as connection:
        lengthen(connection, revisions)
        with service(url, folder) as ours:
            while len(servers(connection)) < len(ours):
                time.sleep(0.1)
            time.sleep(SETTLING_S)
            theirs = servers(connection)
            (before,) = connection.execute(_READ).fetchone() or (0,)
            own, server, started = cpu_s(ours), cpu_s(theirs), time.monotonic()
            time.sleep(SECONDS)
            (after,) = connection.execute(_READ).fetchone() or (0,)
            took = time.monotonic() - started
            own, server = cpu_s(ours) - own, cpu_s(theirs) - server
    print(
        f"{revisions:>9,} {(after - before) / took:>12,.0f} {1000 * own / took:>10,.1f} ms"
        f" {1000 * server / took:>10,.1f} ms",
        flush=True,
    )


def main(argv: Sequence[str] | None = None) -> None:
    command = Command("idle_store", __doc__ or "", takes="about 5 minutes")
    command.begin(argv)
    print(f"{'revisions':>9} {'rows/s':>12} {'service/s':>13} {'server/s':>13}")
    with postgres_server() as server, tempfile.TemporaryDirectory() as folder:
        url, segments = server.create_database(), Path(folder) / "segments"
        store = BankStore(url)
        store.create_bank("b")
        hashes = b"".join(b"%064x\n" % (2**200 + number) for number in range(ENTRIES))
        store.import_entries("b", ListFile([hashes], name="list.txt", format="pdq-text"))
        Indexer(store, segments).build()
        store.close()
        for revisions in REVISIONS:
            measure(url, segments, revisions)


if __name__ == "__main__":
    main()
