"""One real Valkey server per session, emptied before each test."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis

from featsvc.accounts.definitions import Definitions, load_definitions
from tests.accounts.cases import Clock
from tests.accounts.stores import open_store, running_valkey


@pytest.fixture(scope="session")
def valkey_socket() -> Iterator[Path]:
    """Path of the unix socket of a server without persistence."""
    with TemporaryDirectory(prefix="featsvc-test-") as folder, running_valkey(Path(folder)):
        yield Path(folder, "s")


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


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def play(url: str, tmp_path: Path, clock: Clock) -> Callable[..., None]:
    """Run a body with one store for each definition file, on one emptied server."""

    def run(body: Callable[..., Awaitable[None]], *tomls: str) -> None:
        async def main() -> None:
            async with AsyncExitStack() as stack:
                stores = []
                for n, text in enumerate(tomls):
                    path = tmp_path / f"{n}.toml"
                    path.write_text(text)
                    store = open_store(url, load_definitions(path), clock=clock)
                    stores.append(await stack.enter_async_context(store))
                await body(*stores)

        asyncio.run(main())

    return run
