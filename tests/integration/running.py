"""A real `featsvc serve` in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from featsvc_client import Client
from featsvc_client.v1 import matching_pb2

START_TIMEOUT_S = 120


@dataclass
class Running:
    address: str
    process: subprocess.Popen[str]
    data_dir: Path

    def client(self) -> Client:
        return Client(self.address)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    @property
    def log(self) -> str:
        return (self.data_dir / "log").read_text()


@contextmanager
def running(
    data_dir: Path, *options: str, environ: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Serve on a free port until the context is left."""
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
            env={**os.environ, **(environ or {})},
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("serving on "), (data_dir / "log").read_text()
        yield Running(line.split()[-1], process, data_dir)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=30)
        process.stdout.close()


def featsvc(*arguments: str, server: str = "", stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    environ = {**os.environ, "COLUMNS": "200"}
    if server:
        environ["FEATSVC_SERVER"] = server
    return subprocess.run(
        [sys.executable, "-m", "featsvc", *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        env=environ,
        check=False,
        timeout=120,
    )


def served_revision(client: Client) -> int:
    status = client.matching.GetIndexStatus(matching_pb2.GetIndexStatusRequest())
    return int(status.served_revision)
