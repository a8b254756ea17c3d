"""Kill workers and the indexer of a service at random moments. Run by `test_workers`, or by hand:

    python -m tests.integration.killed_workers FOLDER KILLS

Lists replace each other meanwhile, so that kills hit snapshot swaps, builds and compactions. After
each kill, every worker must answer from the exact content of the store.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import psutil
from featsvc_client.v1 import matching_pb2, matching_pb2_grpc, types_pb2

from featsvc.banks.results import ImportOptions
from featsvc.banks.store import BankStore
from tests.banks.lists import list_file
from tests.integration.running import own_connection, running
from tests.matching.rows import list_of, value
from tests.patience import PATIENCE_S

WORKERS = 2
_NUMBERS = range(600)
_EXACTLY = types_pb2.MatchOptions(
    thresholds=[types_pb2.ThresholdOverride(algorithm="pdq", threshold=0)]
)


@contextlib.contextmanager
def indexing(folder: Path, url: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the real indexer so that it builds a segment of every change."""
    arguments = ("--compact-entries", "1", "--segments", str(folder / "segments"))
    process = subprocess.Popen(
        [sys.executable, "-m", "featsvc.matching.indexer", *arguments],
        env={**os.environ, "FEATSVC_BANKS_URL": url},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def served_by_each(address: str, revision: int) -> list[set[int]]:
    """The numbers that each worker matches at `revision`; waits for restarted workers."""
    request = matching_pb2.MatchBatchRequest(
        algorithm="pdq", signals=b"".join(map(value, _NUMBERS)), options=_EXACTLY
    )
    served: dict[int, set[int]] = {}
    deadline = time.monotonic() + PATIENCE_S
    while len(served) < WORKERS:
        assert time.monotonic() < deadline, f"only workers {sorted(served)} serve {revision}"
        # The kernel distributes new connections among the workers.
        with own_connection(address) as channel:
            matching = matching_pb2_grpc.MatchingServiceStub(channel)
            try:
                worker = matching.GetIndexStatus(
                    matching_pb2.GetIndexStatusRequest(), timeout=PATIENCE_S
                ).worker
                answer = matching.MatchBatch(request, timeout=PATIENCE_S)
            except grpc.RpcError as exc:
                # A connection to a worker that was just killed is lost with it.
                if exc.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                continue
        if answer.watermark.revision == revision:
            served[worker] = set(np.flatnonzero(np.diff(answer.offsets)).tolist())
        time.sleep(0.01)
    return [served[number] for number in sorted(served)]


def main(folder: Path, kills: int) -> None:
    rng = random.Random(4)
    url = f"sqlite:///{folder / 'banks.db'}"
    environ = {"FEATSVC_BANKS_INDEXER": "false"}
    options = ("--workers", str(WORKERS), "--redis", "unix:///nowhere")
    store = BankStore(url)
    store.create_bank("b")
    killed = 0
    with running(folder, *options, environ=environ) as service, contextlib.ExitStack() as stack:
        indexer = stack.enter_context(indexing(folder, url))
        while killed < kills:
            low, high = sorted(rng.sample(_NUMBERS, 2))
            numbers = set(range(low, high))
            file = list_file(list_of(numbers))
            revision = store.import_entries(
                "b", file, ImportOptions(replace=True, allow_withdrawn=10**9)
            ).revision
            time.sleep(rng.uniform(0, 0.6))
            if rng.random() < 0.4:
                assert indexer.poll() is None, "the indexer ended by itself"
                indexer.kill()
                indexer = stack.enter_context(indexing(folder, url))
            else:
                with contextlib.suppress(psutil.NoSuchProcess):
                    rng.choice(service.children("featsvc.worker")).send_signal(signal.SIGKILL)
            killed += 1
            for worker, served in enumerate(served_by_each(service.address, revision)):
                assert served == numbers, f"kill {killed}: worker {worker}"
            corrupt = list((folder / "segments").glob("corrupt-*"))
            assert not corrupt, "a published segment failed its checks"
        segments = len(list((folder / "segments").glob("segment-*")))
    store.close()
    print(f"kills {killed} revision {revision} segments left {segments}")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
