"""A real `featsvc serve` in its own process, and helpers for its tests."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import pytest
from featsvc_client import Client, ServiceError, explain
from featsvc_client.v1 import banks_pb2, matching_pb2

from featsvc.signals.algorithms import get_algorithm
from tests.patience import PATIENCE_MS, PATIENCE_S

# Limits of the service that a busy machine must not reach.
PATIENT = {
    "FEATSVC_MEDIA_MAX_DECODE_MS": str(PATIENCE_MS),
    "FEATSVC_REDIS_TIMEOUT_MS": str(PATIENCE_MS),
    "FEATSVC_EMBED_MAX_LATENCY_MS": "60000",  # the most it may be
}


@dataclass
class Running:
    """A service that serves at `address`."""

    address: str
    process: subprocess.Popen[str]
    data_dir: Path

    def client(self) -> Client:
        """A client that reports every failure, and waits as long as tests do."""
        return patient_client(self.address)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_S)

    @property
    def log(self) -> str:
        return (self.data_dir / "log").read_text()

    def children(self, module: str) -> list[psutil.Process]:
        """The child processes that run `python -m MODULE`."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # also raised for a zombie
                if module in child.cmdline():
                    found.append(child)
        return found

    def check_healthy(self) -> None:
        """Assert that the service still runs and has logged no bug."""
        assert self.process.poll() is None, "the service died"
        assert "incident" not in self.log


@contextmanager
def running(
    data_dir: Path,
    *options: str,
    environ: Mapping[str, str] | None = None,
    preexec_fn: Callable[[], None] | None = None,
) -> Iterator[Running]:
    """Serve on a free port until the context exits."""
    data_dir.mkdir(exist_ok=True)
    with (data_dir / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "featsvc", "serve", "--listen", "127.0.0.1:0"),
                *("--data-dir", str(data_dir), *options),
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **PATIENT, **(environ or {})},
            preexec_fn=preexec_fn,  # noqa: PLW1509 - one system call, before threads matter
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("serving on "), (data_dir / "log").read_text()
        yield Running(line.split()[-1], process, data_dir)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=PATIENCE_S)
        process.stdout.close()


def featsvc(
    *arguments: str, server: str = "", stdin: str = "", environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    environ = {**os.environ, "COLUMNS": "200", **(environ or {})}
    if server:
        environ["FEATSVC_SERVER"] = server
    return subprocess.run(
        [sys.executable, "-m", "featsvc", *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        env=environ,
        check=False,
    )


def patient_client(address: str) -> Client:
    return Client(address, timeout_s=PATIENCE_S, bank_timeout_s=PATIENCE_S, max_attempts=1)


def hold(client: Client, *algorithms: str) -> str:
    """Make a bank with a signal of each of the algorithms: without it, nothing is searched."""
    name = client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id="held")).name
    entry = banks_pb2.Entry(external_id="held")
    for algorithm in algorithms:
        value = "0" + "5" * (get_algorithm(algorithm).hex_digits - 1)
        entry.signals.add(algorithm=algorithm, value=value)
    client.banks.AddEntries(banks_pb2.AddEntriesRequest(parent=name, entries=[entry]))
    return str(name)


@contextmanager
def holding(client: Client, *algorithms: str) -> Iterator[str]:
    """The same, and delete the bank at the end."""
    name = hold(client, *algorithms)
    yield name
    client.banks.DeleteBank(banks_pb2.DeleteBankRequest(name=name, force=True))


def failure(call: Callable[[], object]) -> ServiceError:
    """The error of a call that must fail, of a client or of a plain stub."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return explain(caught.value)


@contextmanager
def own_connection(address: str) -> Iterator[grpc.Channel]:
    """A channel with its own connection: channels of one process share one otherwise."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options=options) as channel:
        yield channel


def free_ports(count: int = 1) -> int:
    """The first of `count` consecutive free ports."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = int(probe.getsockname()[1])
        with suppress(OSError):
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first


def served_revision(client: Client) -> int:
    status = client.matching.GetIndexStatus(matching_pb2.GetIndexStatusRequest())
    return int(status.served_revision)
