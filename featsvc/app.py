"""A whole service: what it has one of, and its workers.

There is one embedded Valkey, one indexer and one port, and one worker or several
(`featsvc.worker`). One worker runs in this process; several are processes of their own on one port
(SO_REUSEPORT), watched from here, and this process answers nothing.

Start: bind the port (health NOT_SERVING), then side by side warm the kernels, load the banks and
start the embedded Valkey, then open; the indexer starts last, it takes part in no request. Stop:
drain, then close in the reverse order.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import uvloop

from featsvc.accounts import EmbeddedValkey
from featsvc.config import Config
from featsvc.errors import ConfigInvalid
from featsvc.processes import Child, run_until_stopped
from featsvc.worker import WorkerSpec, log_to_stderr, segments_folder, working

# Segments are published whole or not at all, so an indexer may be killed at any moment.
_INDEXER_PATIENCE_S = 1.0
# Beyond the grace period a worker closes its stores and its threads.
_WORKER_PATIENCE_S = 5.0


def run(config: Config, on_serving: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `on_serving` gets HOST:PORT once health says SERVING.

    Raises ConfigInvalid where the configuration cannot work on this machine, Unavailable where a
    worker does not come up.
    """
    log_to_stderr()
    uvloop.run(run_until_stopped(serving(config), on_serving))


@contextlib.asynccontextmanager
async def serving(config: Config) -> AsyncIterator[str]:
    """Serve until the context is left, then drain; gives HOST:PORT."""
    data_dir = _data_dir(config)
    async with contextlib.AsyncExitStack() as stack:
        redis_url, beside = config.redis.url, None
        if config.redis.url == "embedded":
            embedded = EmbeddedValkey(data_dir)
            stack.push_async_callback(embedded.stop)
            redis_url, beside = embedded.url, embedded.start
        indexer = _indexer(config)
        # Stopped after the workers: a drain waits for nothing.
        stack.push_async_callback(indexer.stop, _INDEXER_PATIENCE_S)
        if config.server.workers == 1:
            spec = WorkerSpec(config, 0, redis_url)
            address = await stack.enter_async_context(working(spec, beside))
        else:
            if beside:
                await beside()
            address = await stack.enter_async_context(_workers(config, redis_url))
        if config.banks.indexer:
            await indexer.start()
        yield address


@contextlib.asynccontextmanager
async def _workers(config: Config, redis_url: str) -> AsyncIterator[str]:
    """All workers on one port, each a process; serving once all of them do."""
    with _reserved(config.server.listen) as address:
        server = msgspec.structs.replace(config.server, listen=address)
        config = msgspec.structs.replace(config, server=server)
        specs = (WorkerSpec(config, n, redis_url) for n in range(config.server.workers))
        workers = [
            Child(f"worker {s.number}", "featsvc.worker", stdin=msgspec.json.encode(s))
            for s in specs
        ]
        patience_s = config.server.grace_period_s + _WORKER_PATIENCE_S
        try:
            for worker in workers:
                await worker.start()
            await asyncio.gather(*(worker.ready() for worker in workers))
            yield address
        finally:
            await asyncio.gather(*(worker.stop(patience_s) for worker in workers))


@contextlib.contextmanager
def _reserved(listen: str) -> Iterator[str]:
    """HOST:PORT with a real port that stays ours: bound here without listening.

    It fails where another process listens, which the workers' SO_REUSEPORT would not notice.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit():
        raise ConfigInvalid(f"server.listen: {listen!r} is not HOST:PORT")
    with contextlib.ExitStack() as stack:
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(
                host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            holder = stack.enter_context(socket.socket(family, kind, protocol))
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(place)
        except OSError as exc:
            raise ConfigInvalid(
                f"server.listen: cannot bind {listen}; is another process listening there?"
            ) from exc
        yield f"{host}:{holder.getsockname()[1]}"


def _indexer(config: Config) -> Child:
    return Child(
        "indexer",
        "featsvc.matching.indexer",
        ["--segments", str(segments_folder(config))],
        # Its password is nobody's business who lists processes.
        environ={"FEATSVC_BANKS_URL": config.banks_url},
    )


def _data_dir(config: Config) -> Path:
    path = Path(config.data_dir).resolve()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigInvalid(f"data_dir: cannot create {path}: {exc.strerror}") from exc
    if not os.access(path, os.W_OK):
        raise ConfigInvalid(f"data_dir: {path} is not writable for this user")
    return path
