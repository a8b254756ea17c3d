"""Definitions and stores for tests."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import redis

from featsvc.accounts import Definitions, FeatureStore, load_definitions
from featsvc.accounts.embedded import find_server
from tests.patience import PATIENCE_MS, PATIENCE_S, until

NOW_MS = 1_767_268_800_000
"""2026-01-01 12:00 UTC, the end of a bucket of every ring but that of days."""

T = TypeVar("T")


def define(folder: Path, text: str) -> Definitions:
    """Write definitions to a file and load them."""
    path = folder / "features.toml"
    path.write_text(text)
    return load_definitions(path)


@contextmanager
def running_valkey(folder: Path, *, port: int = 0) -> Iterator[str]:
    """Run a Valkey without persistence at `port`, or at the socket `folder`/s; yield its URL."""
    address = ("--bind", "127.0.0.1") if port else ("--unixsocket", str(folder / "s"))
    url = f"redis://127.0.0.1:{port}/0" if port else f"unix://{folder / 's'}"
    process = subprocess.Popen(
        [find_server(), "--port", str(port), *address, "--save", ""],
        stdout=subprocess.DEVNULL,
        cwd=folder,
    )

    def answers() -> bool:
        with suppress(redis.ConnectionError), redis.Redis.from_url(url) as client:
            return bool(client.ping())
        return False

    try:
        until(answers, "the test server did not start")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


@asynccontextmanager
async def open_store(
    url: str, definitions: Definitions, *, timeout_ms: int = PATIENCE_MS, **options: Any
) -> AsyncIterator[FeatureStore]:
    """Open a store with a timeout for a busy machine."""
    store = FeatureStore(url, definitions, timeout_ms=timeout_ms, **options)
    try:
        yield store
    finally:
        await store.close()


def run(
    url: str,
    definitions: Definitions,
    body: Callable[[FeatureStore], Awaitable[T]],
    *,
    now_ms: int = NOW_MS,
) -> T:
    """Run the body of a test with a store whose clock always shows `now_ms`."""

    async def main() -> T:
        async with open_store(url, definitions, clock=lambda: now_ms) as store:
            return await body(store)

    return asyncio.run(main())
