"""A service of two workers with 1 M entries under 500 `Match` a second: delay of a change, cost of
a rebuild, memory shared by workers, time of a restart.

A change adds one entry and withdraws another. Its delay is the time from the acknowledged commit
until the last worker reports, over gRPC, that it serves the revision. Request times are those of
h2load, on the side of the client. A restart takes from `featsvc serve` to the first `Match`.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import numpy as np
import psutil
from featsvc_client.v1 import matching_pb2, matching_pb2_grpc

from bench.command import Command, progress, say
from bench.size import pick
from bench.unary import MATCH, fill, framed, query
from featsvc.banks.results import ImportOptions
from featsvc.banks.store import BankStore
from featsvc.matching.indexer import Indexer
from tests.banks.lists import list_file
from tests.integration.running import Running, running

WORKERS = 2
CHANGES = pick(200, smoke=2)
ROUNDS = pick(5, smoke=1)
RATE = pick(500, smoke=40)
"""Requests a second."""
STATUS = matching_pb2.GetIndexStatusRequest()


@contextlib.contextmanager
def traffic(address: str, folder: Path) -> Iterator[Path]:
    """Send requests until the context exits; yield the log of h2load."""
    body, log = folder / "body", folder / "log.tsv"
    body.write_bytes(framed(query(99)))
    log.unlink(missing_ok=True)
    command = ["h2load", "-c", "4", "-m", "8", "-t", "1", "--rps", str(RATE // 4), "-D", "600"]
    headers = ("-H", "content-type: application/grpc", "-H", "te: trailers")
    files = ("-d", str(body), "--log-file", str(log))
    process = subprocess.Popen(
        [*command, *files, *headers, f"http://{address}{MATCH}"], stdout=subprocess.DEVNULL
    )
    try:
        time.sleep(pick(2.0, smoke=0.5))
        yield log
    finally:
        process.terminate()
        process.wait()


def p99_ms(times_us: list[int]) -> float:
    return float(np.percentile(times_us, 99)) / 1000


def times_of(log: Path) -> list[int]:
    """Microseconds of answered requests; the last line may be incomplete."""
    rows = [line.split() for line in log.read_text().splitlines()[:-1]]
    return [int(row[2]) for row in rows if len(row) == 3 and row[1] == "200"]


@contextlib.contextmanager
def each_worker(address: str) -> Iterator[list[matching_pb2_grpc.MatchingServiceStub]]:
    """One connection to every worker."""
    with contextlib.ExitStack() as stack:
        stubs: dict[int, matching_pb2_grpc.MatchingServiceStub] = {}
        while len(stubs) < WORKERS:
            options = [("grpc.use_local_subchannel_pool", 1)]
            channel = stack.enter_context(grpc.insecure_channel(address, options=options))
            stub = matching_pb2_grpc.MatchingServiceStub(channel)
            stubs.setdefault(stub.GetIndexStatus(STATUS).worker, stub)
        yield list(stubs.values())


def visible(service: Running, store: BankStore) -> list[float]:
    """Milliseconds from each commit until every worker serves it."""
    waits = []
    with each_worker(service.address) as stubs, progress("changes", CHANGES) as step:
        for number in range(CHANGES):
            time.sleep(0.03 + 0.1 * (number * 0.618 % 1))
            file = list_file(b"%064x,\n" % (number + 1))
            revision = store.import_entries(
                "small", file, ImportOptions(replace=True, allow_withdrawn=10**9)
            ).revision
            committed = time.perf_counter()
            left = list(stubs)
            while left:
                left = [s for s in left if s.GetIndexStatus(STATUS).served_revision < revision]
                time.sleep(0.002)
            waits.append((time.perf_counter() - committed) * 1000)
            step()
    return waits


def beside_rebuilds(service: Running, scratch: Path, folder: Path) -> str:
    """The p99 with and without a rebuild, in alternating runs of the same length."""
    pairs = []
    with progress("pairs of rounds with and without a rebuild", ROUNDS) as step:
        for _ in range(ROUNDS):
            with traffic(service.address, scratch) as log:
                started = time.monotonic()
                rebuild = [sys.executable, "-m", "bench.live", "--only-rebuild", str(folder)]
                subprocess.run(rebuild, check=True)
                took_s = time.monotonic() - started
                beside = p99_ms(times_of(log))
            with traffic(service.address, scratch) as log:
                time.sleep(pick(took_s, smoke=0.5))
                pairs.append((p99_ms(times_of(log)), beside))
            step()
    ratios = [beside / alone for alone, beside in pairs]
    alone_ms, beside_ms = (np.median(side) for side in zip(*pairs, strict=True))
    return (
        f"x {np.median(ratios):.2f} (median of {ROUNDS} pairs, {min(ratios):.2f} to "
        f"{max(ratios):.2f}); {alone_ms:.1f} ms alone, {beside_ms:.1f} ms beside"
    )


def mapped_mb(service: Running) -> dict[str, float]:
    """PSS and RSS of the segment pages of all workers, in MiB."""
    total = {"pss": 0, "rss": 0}
    for child in psutil.Process(service.process.pid).children():
        if "featsvc.worker" in child.cmdline():
            for page in child.memory_maps():
                if "/segment-" in page.path:
                    total["pss"] += page.pss
                    total["rss"] += page.rss
    return {kind: size / 2**20 for kind, size in total.items()}


def restart(folder: Path) -> float:
    """Seconds from the command to the first answer of one worker."""
    started = time.perf_counter()
    with running(folder, "--redis", "unix:///nowhere") as service, service.client() as client:
        client.matching.Match(matching_pb2.MatchRequest.FromString(query(1)))
        return time.perf_counter() - started


def main(argv: Sequence[str] | None = None) -> None:
    command = Command("live", __doc__ or "", takes="about 6 minutes", tools=("h2load",))
    command.parser.add_argument(
        "folder", nargs="?", type=Path, help="keeps the bank for a next run"
    )
    command.parser.add_argument("--only-rebuild", action="store_true", help=argparse.SUPPRESS)
    if "--only-rebuild" in (sys.argv if argv is None else argv):
        rebuild(command.parser.parse_args(argv).folder)
        return
    arguments = command.begin(argv)
    with tempfile.TemporaryDirectory() as name:
        folder: Path = arguments.folder or Path(name)
        if not (folder / "segments").exists():
            fill(folder)
        say("restarting")
        took_s = [round(restart(folder), 2) for _ in range(pick(3, smoke=1))]
        print(f"restart to first answer: {took_s} s")
        store = BankStore(f"sqlite:///{folder / 'banks.db'}")
        if "small" not in [bank.id for bank in store.list_banks().banks]:
            store.create_bank("small")
        # This command starts the rebuilds, at known times.
        environ = {"FEATSVC_BANKS_INDEXER": "false"}
        with running(folder, "--workers", str(WORKERS), environ=environ) as service:
            with traffic(service.address, Path(name)):
                waits = visible(service, store)
                p50, p99 = np.percentile(waits, (50, 99))
                print(f"visible in every worker: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
            print(f"request p99 beside a rebuild: {beside_rebuilds(service, Path(name), folder)}")
            print("segment pages of the workers, MB:", mapped_mb(service))
        store.close()


def rebuild(folder: Path) -> None:
    """Build a full segment at the niceness of the indexer."""
    os.nice(10)
    store = BankStore(f"sqlite:///{folder / 'banks.db'}")
    Indexer(store, folder / "segments").build()
    store.close()


if __name__ == "__main__":
    main()
