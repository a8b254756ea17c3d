"""Mutated and heavy pictures through a service: python -m tests.fuzz.served_media [COUNT] [SEED]

Eight callers send them to Screen. The run is in parts; after each, the resident memory of the
service is noted. Exits 1 where

- memory after the last part is more than 5 % over that before, when each decoder had run,
- it ever grew by more than the estimates of the heaviest files that can be decoded at once,
- the service died, logged an incident or wrote anything else to stderr,
- a call failed: whatever the bytes, a picture has an outcome.
"""

import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil
from featsvc_client import Client
from featsvc_client.v1 import screening_pb2, types_pb2

from featsvc.errors import FeatsvcError
from featsvc.media import Limits, probe
from featsvc.requests.pool import BUSY_SLACK_BYTES, IDLE_S
from tests.fuzz.heavy import SIDE, heavy_files
from tests.fuzz.media import mutate, seed_files
from tests.integration.running import Running, hold, running
from tests.patience import until

CALLERS, THREADS, PARTS = 8, 2, 10
HEAVY_SHARE, WARM_UP = 0.02, 100
FLAT, SAME_BYTES = 1.05, 2**20
NOISE_BYTES = BUSY_SLACK_BYTES + 32 * 2**20
"""Freed memory that a busy worker keeps, contents and answers of the callers, Python itself."""


@dataclass
class Report:
    """What came of the files, and the memory of the service."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    resident_bytes: list[int] = field(default_factory=list)
    peak_bytes: int = 0
    estimate_bytes: int = 0


class Watch(threading.Thread):
    """Samples the resident memory of the service and its children every 10 ms."""

    def __init__(self, process: psutil.Process) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._over = threading.Event()
        self.peak_bytes = 0

    def resident_bytes(self) -> int:
        return int(self._process.memory_info().rss)

    def settled_bytes(self) -> int:
        """Return the resident memory once it stays, for longer than an idle worker waits."""
        readings = [self.resident_bytes()]

        def is_settled() -> bool:
            time.sleep(2 * IDLE_S)
            readings.append(self.resident_bytes())
            return abs(readings[-1] - readings[-2]) < SAME_BYTES

        until(is_settled, "memory did not settle")
        return readings[-1]

    def run(self) -> None:
        while not self._over.wait(0.01):
            self.peak_bytes = max(self.peak_bytes, self.resident_bytes())

    def stop(self) -> None:
        self._over.set()
        self.join()


def files(seed: int, count: int, side: int) -> Iterator[bytes]:
    """Yield mutated small files, and among them whole files that are heavy to decode."""
    rng = random.Random(seed)
    small, heavy = seed_files(), heavy_files(side)
    for _ in range(count):
        yield rng.choice(heavy) if rng.random() < HEAVY_SHARE else mutate(rng, small)


def estimate(content: bytes) -> int:
    """Return what the header says decoding takes; 0 where it is refused."""
    try:
        return probe(content, Limits()).peak_bytes
    except FeatsvcError:
        return 0


def _screen(client: Client, content: bytes) -> str:
    request = screening_pb2.ScreenRequest(content=types_pb2.Content(data=content))
    try:
        return types_pb2.Outcome.Name(client.screening.Screen(request).content_outcome)
    except grpc.RpcError as exc:
        return str(exc.code().name)


def _run_part(clients: list[Client], contents: list[bytes], report: Report) -> None:
    def work(pair: tuple[int, bytes]) -> str:
        number, content = pair
        return _screen(clients[number % CALLERS], content)

    with ThreadPoolExecutor(CALLERS) as pool:
        for outcome in pool.map(work, enumerate(contents)):
            report.outcomes[outcome] += 1
            if not outcome.startswith("OUTCOME_"):
                report.findings.append(f"a call failed: {outcome}")


def fuzz(
    count: int,
    seed: int,
    *,
    parts: int = PARTS,
    side: int = SIDE,
    note: Callable[[str], object] = print,
) -> Report:
    """Send `count` files in parts, with a pause after each; return what came of them.

    `side` is that of the heaviest pictures, in pixels.
    """
    report = Report()
    options, environ = ("--redis", "unix:///nowhere"), {"FEATSVC_SERVER_THREADS": str(THREADS)}
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), *options, environ=environ) as service,
    ):
        clients = [service.client() for _ in range(CALLERS)]
        hold(clients[0], "pdq", "md5")
        _run_part(
            clients, [*heavy_files(side), *seed_files(), *files(0, WARM_UP, side)] * 2, Report()
        )  # each decoder has run
        watch = Watch(psutil.Process(service.process.pid))
        before = watch.settled_bytes()
        note(f" before: {before >> 20} MiB")
        watch.start()
        sent = files(seed, count, side)
        for part in range(parts):
            contents = [next(sent) for _ in range(count // parts)]
            _run_part(clients, contents, report)
            report.resident_bytes.append(watch.settled_bytes())
            note(f"{(part + 1) * len(contents):7,} files: {report.resident_bytes[-1] >> 20} MiB")
        watch.stop()
        _judge(report, service, before, watch.peak_bytes, side)
        for client in clients:
            client.close()
    return report


def _judge(report: Report, service: Running, before: int, peak: int, side: int) -> None:
    service.check_healthy()
    if chatter := [line for line in service.log.splitlines() if not line.startswith(("{", "20"))]:
        report.findings.append(f"stderr: {chatter[0]}")
    report.estimate_bytes = THREADS * max(map(estimate, heavy_files(side)))
    report.peak_bytes = peak - before
    if report.peak_bytes > report.estimate_bytes + NOISE_BYTES:
        report.findings.append(
            f"memory grew by {report.peak_bytes >> 20} MiB, the estimate of {THREADS} decodes is "
            f"{report.estimate_bytes >> 20}"
        )
    if report.resident_bytes[-1] > FLAT * before:
        report.findings.append(f"memory is not flat: {before >> 20} to {report.resident_bytes}")


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    report = fuzz(count, seed)
    for outcome, number in report.outcomes.most_common():
        print(f"{number:7,}  {outcome}")
    print(
        f"memory: at most {report.peak_bytes >> 20} MiB more, estimate of {THREADS} decodes at "
        f"once {report.estimate_bytes >> 20} MiB"
    )
    for finding in report.findings:
        print(f"FOUND {finding}")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
