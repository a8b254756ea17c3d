"""What the benches of account features share: a server, an event loop, definitions, events."""

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from bench.compare import Side
from featsvc.accounts import Definitions, Event, load_definitions
from featsvc.accounts.embedded import find_server

NOW_MS = 1_767_268_803_123
WINDOWS = ("1m", "1h", "24h", "7d", "90d")
STATES = 10
TIMEOUT_MS = 5000
"""On a busy machine a pinned server may wait long for its core, which is not measured here."""

Loop = asyncio.AbstractEventLoop


@contextmanager
def pinned_loop() -> Iterator[Loop]:
    """An event loop pinned to its own core.

    The scheduler would sometimes run client and server on one core and sometimes on two. That is a
    factor of two, as a wake-up across cores costs as much as the read.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    loop = uvloop.new_event_loop()
    try:
        yield loop
    finally:
        loop.close()
        os.sched_setaffinity(0, cores)


@contextmanager
def running_server(*options: str) -> Iterator[dict[str, str]]:
    """The URLs `unix` and `tcp` of a server on the last core."""
    other_core = (os.cpu_count() or 1) - 1
    with TemporaryDirectory(prefix="featsvc-bench-") as folder:
        path, port = Path(folder, "s"), free_port()
        command = [find_server(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--unixsocket", path, *options]
        process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, cwd=folder)
        os.sched_setaffinity(process.pid, {other_core})
        while not path.exists():
            time.sleep(0.01)
        try:
            yield {"unix": f"unix://{path}", "tcp": f"redis://127.0.0.1:{port}"}
        finally:
            process.terminate()
            process.wait(10)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def definitions_text(states: int = STATES, namespace: str = "bench") -> str:
    """States x five windows. Ten states are 50 windowed features in 41 fields."""
    lines = [
        f'namespace = "{namespace}"\n[entities]\naccount = "account"\n'
        '[events.act]\nkeys = ["account"]'
    ]
    for n in range(states):
        counted = f'agg = "count"\nwhere = {{ y{n} = 1 }}'
        value = f'agg = "sum"\nvalue = "x{n}"' if n % 2 else counted
        windows = ", ".join(f'"{w}"' for w in WINDOWS)
        lines.append(f'[features.f{n}]\non = "act"\n{value}\nwindows = [{windows}]')
    return "\n".join(lines)


def define(folder: Path, text: str) -> Definitions:
    path = folder / "features.toml"
    path.write_text(text)
    return load_definitions(path)


def act(number: int, account: int, age_ms: int, states: int = STATES) -> Event:
    """An event for `definitions_text(states)`."""
    attributes = {f"x{n}": 1.5 for n in range(1, states, 2)}
    attributes |= {f"y{n}": float((number + n) % 3 == 0) for n in range(0, states, 2)}
    return Event(f"e{number}", "act", NOW_MS - age_ms, {"account": f"a{account}"}, attributes)


def in_loop(loop: Loop, once: Callable[[], Awaitable[object]], repeats: int) -> Side:
    """`repeats` calls within one run of the loop, as in a service."""

    async def many() -> None:
        for _ in range(repeats):
            await once()

    return lambda: loop.run_until_complete(many())
