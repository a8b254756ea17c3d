"""Several workers on one port and an indexer, each killed and restarted."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from featsvc_client.v1 import matching_pb2, matching_pb2_grpc, types_pb2

from featsvc.banks.store import BankStore
from tests.banks.lists import list_file
from tests.integration.running import Running, featsvc, free_ports, own_connection, running
from tests.matching.rows import list_of, value
from tests.patience import PATIENCE_S, until

WORKERS = 3
KILLS = int(os.environ.get("TEST_SERVICE_KILLS", "4"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("workers")
    metrics = {"FEATSVC_METRICS_LISTEN": f"127.0.0.1:{free_ports(WORKERS)}"}
    with running(folder, "--workers", str(WORKERS), environ=metrics) as service:
        (service.data_dir / "metrics").write_text(metrics["FEATSVC_METRICS_LISTEN"])
        assert featsvc("bank", "create", "b", server=service.address).returncode == 0
        yield service
        assert service.process.poll() is None


def status_of_each(address: str) -> dict[int, matching_pb2.GetIndexStatusResponse]:
    """The status of every worker; the kernel distributes connections among them."""
    statuses: dict[int, matching_pb2.GetIndexStatusResponse] = {}

    def has_all() -> bool:
        with own_connection(address) as channel:
            matching = matching_pb2_grpc.MatchingServiceStub(channel)
            try:
                request = matching_pb2.GetIndexStatusRequest()
                status = matching.GetIndexStatus(request, timeout=PATIENCE_S)
            except grpc.RpcError as exc:
                # A connection to a worker that was just killed is lost with it.
                if exc.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            else:
                statuses[status.worker] = status
        return len(statuses) == WORKERS

    until(has_all)
    return statuses


def test_connections_reach_every_worker(service: Running) -> None:
    assert sorted(status_of_each(service.address)) == list(range(WORKERS))
    assert len(service.children("featsvc.worker")) == WORKERS


def test_a_change_reaches_every_worker(service: Running) -> None:
    store = BankStore(f"sqlite:///{service.data_dir / 'banks.db'}")
    revision = store.import_entries("b", list_file(list_of(range(5)))).revision
    store.close()

    def served_by_all() -> bool:
        return all(s.served_revision >= revision for s in status_of_each(service.address).values())

    until(served_by_all)
    for status in status_of_each(service.address).values():
        assert status.committed_revision == status.served_revision
        assert status.staleness.ToMilliseconds() == 0


def test_each_worker_has_its_own_metrics(service: Running) -> None:
    host, _, port = (service.data_dir / "metrics").read_text().rpartition(":")
    for worker in range(WORKERS):
        with urllib.request.urlopen(f"http://{host}:{int(port) + worker}/metrics") as page:
            assert f"featsvc_worker {worker}.0".encode() in page.read()


def test_a_killed_worker_restarts_while_the_others_answer(service: Running) -> None:
    request = matching_pb2.MatchRequest(
        signal=types_pb2.Signal(algorithm="pdq", value=value(1).hex())
    )
    stop = threading.Event()
    answered: list[float] = []
    lost: list[grpc.StatusCode] = []

    def traffic() -> None:
        with own_connection(service.address) as channel:
            matching = matching_pb2_grpc.MatchingServiceStub(channel)
            while not stop.is_set():
                try:
                    matching.Match(request, timeout=PATIENCE_S, wait_for_ready=True)
                    answered.append(time.monotonic())
                except grpc.RpcError as exc:
                    lost.append(exc.code())

    threads = [threading.Thread(target=traffic) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(answered) > 100)
        victim = service.children("featsvc.worker")[1]
        victim.kill()
        killed = time.monotonic()
        until(lambda: len(service.children("featsvc.worker")) == WORKERS)
        status_of_each(service.address)
        back = time.monotonic()
        until(lambda: answered[-1] > back)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    # Only requests in flight on the killed worker may be lost.
    assert len(lost) <= len(threads)
    assert set(lost) <= {grpc.StatusCode.UNAVAILABLE}
    assert any(killed <= t <= back for t in answered), "no request was answered meanwhile"
    assert victim.pid not in {child.pid for child in service.children("featsvc.worker")}
    assert "ended with code -9" in service.log


def test_a_killed_indexer_restarts(service: Running) -> None:
    until(lambda: service.children("featsvc.matching.indexer"))
    (first,) = service.children("featsvc.matching.indexer")
    first.kill()
    until(
        lambda: (
            [c.pid for c in service.children("featsvc.matching.indexer")] not in ([], [first.pid])
        )
    )


def test_a_port_in_use_is_reported(service: Running, tmp_path: Path) -> None:
    for workers in ("1", "2"):
        result = featsvc(
            *("serve", "--listen", service.address, "--workers", workers),
            *("--data-dir", str(tmp_path / workers)),
        )
        assert result.returncode == 1
        assert service.address in result.stderr
        assert "Traceback" not in result.stderr


def test_a_worker_that_cannot_start_is_reported(tmp_path: Path) -> None:
    wrong = tmp_path / "features.toml"
    wrong.write_text("namespace = 7\n")
    result = featsvc(
        *("serve", "--listen", "127.0.0.1:0", "--workers", "2", "--redis", "unix:///nowhere"),
        *("--features", str(wrong), "--data-dir", str(tmp_path / "data")),
    )
    assert result.returncode == 1
    assert "features.toml" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_service(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path / "data", "--workers", "2") as service:
        until(lambda: service.children("featsvc.matching.indexer"))
        every = psutil.Process(service.process.pid).children(recursive=True)
        assert len(every) == 4
        service.process.send_signal(number)
        code = 0 if number == signal.SIGTERM else -number
        assert service.process.wait(timeout=PATIENCE_S) == code
        assert psutil.wait_procs(every, timeout=PATIENCE_S)[1] == []


def test_workers_serve_the_content_of_the_store_after_any_kill(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "tests.integration.killed_workers", str(tmp_path), str(KILLS))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"kills {KILLS} " in done.stdout
