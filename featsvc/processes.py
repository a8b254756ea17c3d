"""Supervised child processes, and stopping on a signal."""

import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast

from featsvc.errors import Unavailable

T = TypeVar("T")

_MIN_BACKOFF_S = 0.05
_MAX_BACKOFF_S = 5.0
# Asks the kernel for SIGTERM when its parent ends, then becomes the command. A `preexec_fn` is
# unsafe in a process with threads.
_LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

_log = logging.getLogger(__name__)


def stopped_with_parent(command: Sequence[str]) -> list[str]:
    """Return a command line that runs `command` and gets SIGTERM when this process ends.

    The program must be an absolute path. Linux only; elsewhere the child runs on.
    """
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]


class Child:
    """Runs `python -m MODULE ARGUMENTS` and starts it again whenever it ends.

    The child reads `stdin` (a command line would expose secrets), prints one line to stdout when it
    is ready, and logs to this process's stderr.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str] = (),
        *,
        stdin: bytes = b"",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._command = [sys.executable, "-m", module, *arguments]
        self._stdin = stdin
        self._environ = {**os.environ, **(environ or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._announced: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Start the process and supervise it. Raises OSError where it cannot be started."""
        process = await self._spawn()
        self._supervisor = asyncio.create_task(self._supervise(process), name=f"watch-{self.name}")

    async def ready(self) -> str:
        """Wait for the first line of output. Raises Unavailable where the process ends before."""
        line = await asyncio.shield(self._announced)
        if not line:
            raise Unavailable(
                f"{self.name} ended while starting; see the log above",
                reason="WORKER_START_FAILED",
            )
        return line

    async def stop(self, timeout_s: float) -> None:
        """Send SIGTERM, and SIGKILL after `timeout_s`."""
        if self._supervisor:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), timeout_s)
        except TimeoutError:
            _log.warning("%s did not end within %g s; killing it", self.name, timeout_s)
            process.kill()
            await process.wait()

    async def _spawn(self) -> asyncio.subprocess.Process:
        process = self._process = await asyncio.create_subprocess_exec(
            *stopped_with_parent(self._command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=self._environ,
            # Ctrl-C must reach this process only, which then stops the child in order.
            start_new_session=True,
        )
        assert process.stdin is not None  # noqa: S101 (tells mypy)
        with contextlib.suppress(OSError):
            process.stdin.write(self._stdin)
            process.stdin.close()
        return process

    async def _supervise(self, process: asyncio.subprocess.Process) -> None:
        """Restart the process whenever it ends; the delay doubles while it fails quickly."""
        backoff_s = _MIN_BACKOFF_S
        while True:
            started = time.monotonic()
            assert process.stdout is not None  # noqa: S101 (tells mypy)
            line = (await process.stdout.readline()).decode().strip()
            if not self._announced.done():
                self._announced.set_result(line)
            elif line:
                _log.info("%s restarted: %s", self.name, line)
            code = await process.wait()
            if time.monotonic() - started > _MAX_BACKOFF_S:
                backoff_s = _MIN_BACKOFF_S
            _log.warning("%s ended with code %d; restarting it", self.name, code)
            await asyncio.sleep(backoff_s * random.uniform(1.0, 1.5))  # noqa: S311 - jitter
            backoff_s = min(backoff_s * 2, _MAX_BACKOFF_S)
            process = await self._spawn()


async def run_until_stopped(
    serving: contextlib.AbstractAsyncContextManager[T], on_serving: Callable[[T], None]
) -> None:
    """Enter `serving`, call `on_serving` with its value, and exit it on SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    this_task = cast("asyncio.Task[None]", asyncio.current_task())

    def on_signal() -> None:
        # A second signal, or one during the start, stops at once.
        if stop.is_set() or not started:
            this_task.cancel()
        stop.set()

    started = False
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        async with serving as running:
            started = True
            on_serving(running)
            await stop.wait()
            _log.info("stopping: finishing requests in flight")
    except asyncio.CancelledError:
        _log.info("stopped at once")
