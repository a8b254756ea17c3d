"""A session that holds the lock of the bank store's writers, as an open psql does: what reads and
writes of a service see, beside the same reads without it.

Four readers list entries, banks and the log over gRPC, without a pause. Meanwhile twelve writers
add entries, each call with a deadline of 5 s.
"""

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg
from featsvc_client import Client, ServiceError
from featsvc_client.v1 import banks_pb2 as pb

from bench.command import Command
from bench.size import pick
from bench.undo import import_hashes
from featsvc.banks.store import BankStore
from tests.banks.databases import postgres_server
from tests.integration.running import running

HELD_S = pick(60.0, smoke=1.0)
ENTRIES = pick(20_000, smoke=500)
READERS, WRITERS = 4, 12
DEADLINE_S = pick(5.0, smoke=0.5)


def read_on(client: Client, stopping: threading.Event) -> list[float]:
    """Read until `stopping` is set; return how long each call took."""
    calls: list[Callable[[], object]] = [
        lambda: client.banks.ListEntries(pb.ListEntriesRequest(parent="banks/b", page_size=100)),
        lambda: client.banks.ListBanks(pb.ListBanksRequest()),
        lambda: client.banks.ListRevisions(pb.ListRevisionsRequest(parent="banks/b")),
    ]
    took_s = []
    while not stopping.is_set():
        for call in calls:
            started = time.perf_counter()
            call()
            took_s.append(time.perf_counter() - started)
    return took_s


def write_on(client: Client, stopping: threading.Event) -> list[tuple[str, float]]:
    """Add entries until `stopping` is set; return the outcome of each call and its time."""
    signal = pb.EntrySignal(algorithm="pdq", value="ab" * 32)
    request = pb.AddEntriesRequest(parent="banks/b", entries=[pb.Entry(signals=[signal])])
    outcomes = []
    while not stopping.is_set():
        started = time.perf_counter()
        try:
            client.banks.AddEntries(request, timeout=DEADLINE_S)
            outcome = "OK"
        except ServiceError as exc:
            outcome = exc.code().name
        outcomes.append((outcome, time.perf_counter() - started))
    return outcomes


def measure(address: str, name: str, *, write: bool) -> None:
    stopping = threading.Event()
    with Client(address, max_attempts=1) as client, ThreadPoolExecutor(READERS + WRITERS) as pool:
        readers = [pool.submit(read_on, client, stopping) for _ in range(READERS)]
        writers = [pool.submit(write_on, client, stopping) for _ in range(WRITERS if write else 0)]
        time.sleep(HELD_S)
        stopping.set()
        reads = np.concatenate([reader.result() for reader in readers]) * 1000
        written = [outcome for writer in writers for outcome in writer.result()]
    p50, p99 = np.percentile(reads, (50, 99))
    print(f"{name:<34} {len(reads):>7,} reads   p50 {p50:.1f}   p99 {p99:.1f} ms", flush=True)
    if written:
        counts = Counter(outcome for outcome, _ in written)
        longest = max(took_s for _, took_s in written)
        outcomes = ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common())
        print(f"{'':<34} {len(written):>7,} writes  {outcomes}; the longest {longest:.2f} s")


@contextmanager
def held(url: str) -> Iterator[None]:
    """Hold the lock that every writer takes first."""
    with psycopg.connect(url.replace("+psycopg", "", 1)) as psql:
        psql.execute("SELECT * FROM head FOR UPDATE")
        yield


def main(argv: Sequence[str] | None = None) -> None:
    command = Command("held_lock", __doc__ or "", takes="about 4 minutes")
    command.begin(argv)
    rng = np.random.default_rng(1)
    with postgres_server() as server, tempfile.TemporaryDirectory() as folder:
        url = server.create_database()
        store = BankStore(url)
        store.create_bank("b")
        import_hashes(store, [rng.bytes(32) for _ in range(ENTRIES)])
        store.close()
        environ = {"FEATSVC_BANKS_URL": url, "FEATSVC_BANKS_INDEXER": "false"}
        with running(Path(folder), "--redis", "unix:///nowhere", environ=environ) as service:
            measure(service.address, "warm", write=False)
            measure(service.address, "reads alone", write=False)
            with held(url):
                measure(service.address, "lock held, writers wait", write=True)
            measure(service.address, "lock free, writers write", write=True)


if __name__ == "__main__":
    main()
