"""Failures: stores that die, signals, full queues."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
from featsvc_client import Client, explain
from featsvc_client.v1 import (
    features_pb2,
    hashing_pb2,
    matching_pb2,
    screening_pb2,
    types_pb2,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image

from featsvc.banks.store import BankStore
from tests.banks.lists import ids, list_file
from tests.integration.running import (
    Running,
    failure,
    featsvc,
    free_ports,
    hold,
    holding,
    patient_client,
    running,
)
from tests.patience import PATIENCE_S, until
from tests.photographs import jpeg, photograph

SERVING = health_pb2.HealthCheckResponse.SERVING


def screen(client: Client, data: bytes, account: str) -> screening_pb2.ScreenResponse:
    request = screening_pb2.ScreenRequest(
        content=types_pb2.Content(data=data),
        entities=[types_pb2.EntityRef(entity="account", id=account)],
    )
    response: screening_pb2.ScreenResponse = client.screening.Screen(request, timeout=PATIENCE_S)
    return response


def valkey_of(service: Running) -> psutil.Process:
    for child in psutil.Process(service.process.pid).children(recursive=True):
        if "server" in child.name():
            return child
    raise AssertionError("no embedded Valkey runs")


def test_killed_valkey_degrades_features_and_fails_no_request(data_dir: Path) -> None:
    content = photograph("rocket.jpg").read_bytes()
    with running(data_dir) as service, service.client() as client:
        outcomes: list[int] = []
        failures: list[str] = []
        stop = threading.Event()

        def upload() -> None:
            with service.client() as own:
                while not stop.is_set():
                    try:
                        outcomes.append(screen(own, content, "a1").features_outcome)
                    except grpc.RpcError as exc:
                        failures.append(str(explain(exc)))

        threads = [threading.Thread(target=upload) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            until(lambda: types_pb2.OUTCOME_OK in outcomes)
            first = valkey_of(service)
            first.kill()
            until(lambda: types_pb2.OUTCOME_DEGRADED in outcomes)
            count = len(outcomes)
            until(lambda: types_pb2.OUTCOME_OK in outcomes[count:])
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failures == []
        assert set(outcomes) == {types_pb2.OUTCOME_OK, types_pb2.OUTCOME_DEGRADED}
        assert screen(client, content, "a1").features_outcome == types_pb2.OUTCOME_OK
        assert valkey_of(service).pid != first.pid


def test_events_survive_a_killed_valkey(data_dir: Path) -> None:
    with running(data_dir) as service, service.client() as client:
        event = features_pb2.Event(event_id="e1", type="upload", entities={"account": "a1"})
        event.time.GetCurrentTime()
        client.features.IngestEvents(features_pb2.IngestEventsRequest(events=[event]))
        time.sleep(1.1)  # the append-only file is synced every second
        valkey_of(service).kill()
        request = features_pb2.GetFeaturesRequest(
            entities=[types_pb2.EntityRef(entity="account", id="a1")],
            selection=features_pb2.FeatureSelection(features=["uploads_1h"]),
        )
        codes: list[grpc.StatusCode] = []
        values: list[float] = []

        def is_read() -> bool:
            try:
                answer = client.features.GetFeatures(request, timeout=PATIENCE_S)
                values.extend(answer.features.columns[0].values)
            except grpc.RpcError as exc:
                codes.append(exc.code())
            return bool(values)

        until(is_read)
        assert values == [1.0]
        assert set(codes) <= {grpc.StatusCode.UNAVAILABLE}


def test_the_service_starts_and_serves_without_redis(data_dir: Path) -> None:
    nowhere = f"unix://{data_dir}/no.sock"
    with running(data_dir, "--redis", nowhere) as service, service.client() as client:
        with holding(client, "pdq"):
            response = screen(client, photograph("rocket.jpg").read_bytes(), "a1")
        assert response.features_outcome == types_pb2.OUTCOME_DEGRADED
        assert response.features_outcome_reason
        statuses = {s for c in response.features.columns for s in c.statuses}
        assert statuses == {features_pb2.FEATURE_STATUS_DEGRADED}
        assert response.content_outcome == types_pb2.OUTCOME_OK


def metric(name: str, port: int) -> float:
    """A metric of the service."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
        (value,) = re.findall(rf"^{name} (.+)$", answer.read().decode(), re.MULTILINE)
    return float(value)


def work_pending(metrics_port: int) -> int:
    """Requests that run or wait for a thread, by the metrics of the service."""
    return int(metric("featsvc_work_pending", metrics_port))


@contextmanager
def slow_screens(data_dir: Path, grace_period_s: float) -> Iterator[tuple[Running, list[Any]]]:
    """A service that runs eight requests, each of which takes a second or more."""
    with Image.open(photograph("retina.jpg")) as image:
        large = jpeg(image.resize((6000, 6000)))
    metrics = free_ports()
    environ = {
        "FEATSVC_METRICS_LISTEN": f"127.0.0.1:{metrics}",
        "FEATSVC_SERVER_GRACE_PERIOD_S": str(grace_period_s),
    }
    request = screening_pb2.ScreenRequest(
        content=types_pb2.Content(data=large),
        algorithms=["whash", "whash_db4"],  # slow at this size
    )
    with running(data_dir, environ=environ) as service, service.client() as client:
        hold(client, *request.algorithms)
        requests = [client.screening.Screen.future(request) for _ in range(8)]

        def have_arrived() -> bool:
            # In this order a request that ends in between is missed, never counted twice.
            return sum(r.done() for r in requests) + work_pending(metrics) >= len(requests)

        until(have_arrived, "the requests did not arrive")
        yield service, requests


def test_sigterm_finishes_requests_in_flight_and_refuses_new_ones(data_dir: Path) -> None:
    with slow_screens(data_dir, 2 * PATIENCE_S) as (service, requests):
        service.process.send_signal(signal.SIGTERM)
        with service.client() as late:

            def is_refused() -> bool:
                try:
                    late.hashing.ListAlgorithms(hashing_pb2.ListAlgorithmsRequest())
                except grpc.RpcError as exc:
                    return explain(exc).reason == "NOT_SERVING"
                return False

            until(is_refused)
        assert not all(request.done() for request in requests)
        answers = [request.result() for request in requests]
        assert all(a.content_outcome == types_pb2.OUTCOME_OK for a in answers)
        # In less than the grace period: nothing waits for its end.
        assert service.process.wait(timeout=PATIENCE_S) == 0


def test_requests_are_cancelled_after_the_grace_period(data_dir: Path) -> None:
    with slow_screens(data_dir, 0.1) as (service, requests):
        service.process.send_signal(signal.SIGTERM)
        # A thread finishes its running job, but nothing waits for its result.
        assert service.process.wait(timeout=PATIENCE_S) == 0
        codes = [request.code() for request in requests]
        assert grpc.StatusCode.UNAVAILABLE in codes
        assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


def test_a_killed_service_leaves_no_process(data_dir: Path) -> None:
    with running(data_dir) as service:
        valkey = valkey_of(service)
        service.process.kill()
        service.process.wait()
        assert psutil.wait_procs([valkey], timeout=PATIENCE_S)[1] == []


def test_a_port_in_use_is_reported(server: Running, data_dir: Path) -> None:
    result = featsvc("serve", "--listen", server.address, "--data-dir", str(data_dir))
    assert result.returncode == 1
    assert server.address in result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_configuration_is_reported(data_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "featsvc.toml"
    config.write_text("[server]\nlisten_on = 'x'\n")
    result = featsvc("serve", "--config", str(config), "--data-dir", str(data_dir))
    assert result.returncode == 1
    assert "listen_on" in result.stderr
    assert str(config) in result.stderr


def test_health_of_the_server_and_of_a_service(server: Running) -> None:
    with grpc.insecure_channel(server.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", "featsvc.v1.ScreeningService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == SERVING


def test_health_is_not_serving_while_banks_cannot_be_loaded(data_dir: Path) -> None:
    data_dir.mkdir()
    environ = {**os.environ, "FEATSVC_BANKS_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none"}
    with (data_dir / "log").open("w+") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "featsvc", "serve", "--listen", "127.0.0.1:0"),
                *("--data-dir", str(data_dir)),
            ],
            env=environ,
            stderr=log,
            stdout=subprocess.DEVNULL,
        )
        try:
            port = _listening_port(process.pid)
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                health: Any = health_pb2_grpc.HealthStub(channel)
                answer = health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
            with patient_client(f"127.0.0.1:{port}") as client:
                assert failure(lambda: screen(client, b"x", "a1")).reason == "NOT_SERVING"
            process.terminate()
            assert process.wait(timeout=PATIENCE_S) == 0
        finally:
            process.kill()
            process.wait()


def test_signals_that_are_not_searched_are_said(data_dir: Path) -> None:
    """By GetIndexStatus, `doctor` and the metrics; the service starts and matches the others."""
    data_dir.mkdir()
    path = data_dir / "banks.db"
    store = BankStore(f"sqlite:///{path}")
    store.create_bank("b")
    store.import_entries("b", list_file(f"{1:064x},\n{2:064x},\n"))
    damaged, whole = sorted(ids(store))
    store.close()
    with sqlite3.connect(path) as raw:
        raw.execute(
            "UPDATE entry_signals SET value = x'00' "
            "WHERE version = (SELECT min(version) FROM entry_signals)"
        )
    raw.close()
    port = free_ports()
    environ = {"FEATSVC_METRICS_LISTEN": f"127.0.0.1:{port}"}
    with running(data_dir, environ=environ) as service, service.client() as client:
        query = matching_pb2.MatchRequest(
            signal=types_pb2.Signal(algorithm="pdq", value=f"{2:064x}")
        )
        answer = client.matching.Match(query)
        (match,) = answer.matches
        assert match.entry == f"banks/b/entries/{whole}"
        assert answer.searched.algorithms[0].set_aside_signals == 1
        status = client.matching.GetIndexStatus(matching_pb2.GetIndexStatusRequest())
        (told,) = status.set_aside
        assert (told.algorithm, told.reason, told.signals) == ("pdq", "WRONG_LENGTH", 1)
        assert list(told.entries) == [f"banks/b/entries/{damaged}"]
        assert status.failure == ""
        assert metric("featsvc_set_aside_signals", port) == 1
        doctor = featsvc("doctor", "--server", service.address)
        assert doctor.returncode == 0
        assert f"of pdq: WRONG_LENGTH, such as {told.entries[0]}" in doctor.stdout
        path.rename(data_dir / "away.db")

        def failure_told() -> str:
            request = matching_pb2.GetIndexStatusRequest()
            failed: str = client.matching.GetIndexStatus(request).failure
            return failed

        until(failure_told)
        assert "banks.db is gone" in failure_told()
        assert "banks.db is gone" in featsvc("doctor", "--server", service.address).stdout


def _listening_port(pid: int) -> int:
    ports: list[int] = []

    def listens() -> bool:
        for connection in psutil.Process(pid).net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                ports.append(int(connection.laddr.port))
        return bool(ports)

    until(listens, "the service did not listen")
    return ports[0]
