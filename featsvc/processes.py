"""Child processes that die with this one and are started again when they die alone, and the
signals that stop a service.
"""

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

_FIRST_BACKOFF_S = 0.05
_LONGEST_BACKOFF_S = 5.0
# Runs in the child and becomes the module: asks the kernel for a SIGTERM when its parent ends. A
# launcher, because a preexec_fn is not safe in a process with threads.
_LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

_log = logging.getLogger(__name__)


def dying_with_us(command: Sequence[str]) -> list[str]:
    """The command line that becomes `command` (its program an absolute path) and gets a SIGTERM
    when this process ends, however it ends."""
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]


class Child:
    """`python -m <module> <arguments>` in a fresh interpreter, supervised.

    `stdin` is what it reads there: secrets are not for a command line. Its stdout is for one line
    that says it is ready; its log goes to our stderr.
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
        """Start it, and again whenever it ends. Raises OSError where the machine refuses."""
        process = await self._spawn()
        self._supervisor = asyncio.create_task(self._supervise(process), name=f"watch-{self.name}")

    async def ready(self) -> str:
        """The first line that it printed. Raises Unavailable where it ended before that."""
        line = await asyncio.shield(self._announced)
        if not line:
            raise Unavailable(
                f"{self.name} ended while starting; the log above says why",
                reason="WORKER_START_FAILED",
            )
        return line

    async def stop(self, patience_s: float) -> None:
        """SIGTERM, and SIGKILL for one that outlives `patience_s`."""
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
            await asyncio.wait_for(process.wait(), patience_s)
        except TimeoutError:
            _log.warning("%s does not end within %g s; killed", self.name, patience_s)
            process.kill()
            await process.wait()

    async def _spawn(self) -> asyncio.subprocess.Process:
        process = self._process = await asyncio.create_subprocess_exec(
            *dying_with_us(self._command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=self._environ,
            # Not our group's: Ctrl-C must reach us first, so that we can stop it in order.
            start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None  # noqa: S101 (tells mypy)
        with contextlib.suppress(OSError):
            process.stdin.write(self._stdin)
            process.stdin.close()
        return process

    async def _supervise(self, process: asyncio.subprocess.Process) -> None:
        """Start it again whenever it ends; the wait doubles while it keeps failing."""
        backoff_s = _FIRST_BACKOFF_S
        while True:
            started = time.monotonic()
            assert process.stdout is not None  # noqa: S101 (tells mypy)
            line = (await process.stdout.readline()).decode().strip()
            if not self._announced.done():
                self._announced.set_result(line)
            elif line:
                _log.info("%s is back: %s", self.name, line)
            code = await process.wait()
            if time.monotonic() - started > _LONGEST_BACKOFF_S:
                backoff_s = _FIRST_BACKOFF_S
            _log.warning("%s ended with code %d; starting it again", self.name, code)
            await asyncio.sleep(backoff_s * random.uniform(1.0, 1.5))  # noqa: S311 - jitter
            backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)
            process = await self._spawn()


async def run_until_stopped(
    serving: contextlib.AbstractAsyncContextManager[T], on_serving: Callable[[T], None]
) -> None:
    """Enter `serving`, call `on_serving`, and leave it in order on SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    this_task = cast("asyncio.Task[None]", asyncio.current_task())

    def on_signal() -> None:
        # A second signal, or one while starting, does not wait for anything.
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
            _log.info("stopping: finishing what is in flight")
    except asyncio.CancelledError:
        _log.info("stopped at once")
