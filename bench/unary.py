"""Unary `Match` with 1 M entries compared with an empty echo on the same server, by h2load.

4 connections x 8 streams, both methods in alternating rounds. Prints requests a second, and CPU
time of the server per request, which depends less on how busy the machine is. The ratios are
medians of the rounds.
"""

import random
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil
from featsvc_client.v1 import matching_pb2, types_pb2

from bench.command import Command, progress, say
from bench.size import pick
from featsvc.banks.records import BankSettings
from featsvc.banks.store import BankStore
from featsvc.matching.indexer import Indexer
from tests.banks.lists import list_file

ENTRIES = pick(1_000_000, smoke=2_000)
REQUESTS = pick(10_000, smoke=20)
ROUNDS = pick(7, smoke=1)
ECHO = "/featsvc.bench.Echo/Echo"
SEARCH = "/featsvc.bench.Echo/Search"
"""Methods that bench/echo.py adds; that module is slow to import."""
MATCH = "/featsvc.v1.MatchingService/Match"


def fill(folder: Path, query_variants: tuple[str, ...] = ()) -> None:
    """Create a store and a segment of random PDQ signals."""
    say(f"importing {ENTRIES:,} entries, and building their segment")
    folder.mkdir(parents=True, exist_ok=True)
    store = BankStore(f"sqlite:///{folder / 'banks.db'}")
    store.create_bank("b", BankSettings(query_variants=query_variants))
    rng = random.Random(1)
    file = list_file(b"")
    file._chunks = (
        b"".join(b"%064x\n" % rng.getrandbits(256) for _ in range(1000))
        for _ in range(ENTRIES // 1000)
    )
    file.format = "pdq-text"
    store.import_entries("b", file)
    Indexer(store, folder / "segments").build()
    store.close()


def framed(message: bytes) -> bytes:
    """The message as the body of a gRPC request."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def query(seed: int) -> bytes:
    """A query: with seed 1 it equals the first entry of the bank, otherwise no entry."""
    text = f"{random.Random(seed).getrandbits(256):064x}"
    request = matching_pb2.MatchRequest(signal=types_pb2.Signal(algorithm="pdq", value=text))
    return request.SerializeToString()


def load(address: str, method: str, body: Path, server: psutil.Process) -> tuple[float, float]:
    """Return requests a second, and microseconds of the server's CPU time per request."""
    before = server.cpu_times()
    command = ("h2load", "-n", str(REQUESTS), "-c", "4", "-m", "8", "-t", "1", "-d", str(body))
    headers = ("-H", "content-type: application/grpc", "-H", "te: trailers")
    done = subprocess.run(
        [*command, *headers, f"http://{address}{method}"],
        capture_output=True,
        text=True,
        check=True,
    )
    after = server.cpu_times()
    assert f"{REQUESTS} succeeded" in done.stdout, done.stdout
    rate = re.search(r"([\d.]+) req/s", done.stdout)
    assert rate is not None
    cpu_s = after.user + after.system - before.user - before.system
    return float(rate[1]), cpu_s / REQUESTS * 1e6


def main(argv: Sequence[str] | None = None) -> None:
    command = Command("unary", __doc__ or "", takes="about 2 minutes", tools=("h2load",))
    command.parser.add_argument(
        "folder", nargs="?", type=Path, help="keeps the bank for a next run"
    )
    arguments = command.begin(argv)
    with tempfile.TemporaryDirectory() as name:
        folder: Path = arguments.folder or Path(name)
        if not (folder / "segments").exists():
            fill(folder)
        calls = {
            "echo": (ECHO, b""),
            # The search alone, the lower bound of `Match`.
            "search": (SEARCH, query(99)),
            "no match": (MATCH, query(99)),
            "a match": (MATCH, query(1)),
        }
        seen: dict[str, list[tuple[float, float]]] = {call: [] for call in calls}
        server = subprocess.Popen(
            [sys.executable, "-m", "bench.echo", str(folder)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[-1]
            body = Path(name) / "body"
            with progress("rounds", ROUNDS) as step:
                for _ in range(ROUNDS):
                    for call, (method, message) in calls.items():
                        body.write_bytes(framed(message))
                        seen[call].append(load(address, method, body, psutil.Process(server.pid)))
                    step()
        finally:
            server.terminate()
            server.wait()
        for call, rounds in seen.items():
            rate, cpu_us = (statistics.median(column) for column in zip(*rounds, strict=True))
            turns = zip(rounds, seen["echo"], strict=True)
            ratio = statistics.median(mine[0] / echo[0] for mine, echo in turns)
            cpu = statistics.median(e[1] for e in seen["echo"]) / cpu_us
            print(
                f"{call:9} {rate:7.0f} requests/s  x {ratio:.2f} of echo   "
                f"{cpu_us:5.0f} us of CPU  x {cpu:.2f}"
            )


if __name__ == "__main__":
    main()
