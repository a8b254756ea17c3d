"""One real Valkey server per session, emptied before each test."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis

from featsvc.accounts.definitions import Definitions, load_definitions
from featsvc.accounts.embedded import find_server
from tests.patience import PATIENCE_S, until


@pytest.fixture(scope="session")
def valkey_socket() -> Iterator[Path]:
    """Path of the unix socket of a server without persistence."""
    with TemporaryDirectory(prefix="featsvc-test-") as folder:
        path = Path(folder, "s")
        process = subprocess.Popen(
            [find_server(), "--port", "0", "--unixsocket", path, "--save", ""],
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )
        try:
            until(lambda: _answers(path), "the test server did not start")
            yield path
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)


def _answers(path: Path) -> bool:
    try:
        with redis.Redis(unix_socket_path=str(path)) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture
def server(valkey_socket: Path) -> Iterator[redis.Redis]:
    """redis-py's client of the emptied server."""
    with redis.Redis(unix_socket_path=str(valkey_socket)) as client:
        client.flushall()
        yield client


@pytest.fixture
def url(valkey_socket: Path, server: redis.Redis) -> str:
    """URL of the emptied server."""
    return f"unix://{valkey_socket}"


@pytest.fixture(scope="session")
def shipped() -> Definitions:
    return load_definitions()
