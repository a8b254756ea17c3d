"""A whole service: embedded Valkey, indexer and workers.

A single worker (`featsvc.worker`) runs in this process. Several run as processes that share one
port (SO_REUSEPORT); this process then supervises them and answers no requests.

Start: bind the port (health NOT_SERVING); warm the kernels, load the banks and start the embedded
Valkey in parallel; serve. The indexer starts last, as no request needs it. Stop: drain, then close
in reverse order.
"""

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import uvloop

from featsvc.accounts import EmbeddedValkey
from featsvc.addresses import split_address
from featsvc.config import Config
from featsvc.errors import ConfigInvalid
from featsvc.processes import Child, run_until_stopped
from featsvc.worker import WorkerSpec, log_to_stderr, segments_folder, serving_worker

# Segments are published atomically, so the indexer may be killed at any moment.
_INDEXER_STOP_S = 1.0
# After the grace period a worker closes its stores and threads.
_WORKER_CLOSE_S = 5.0


def run(config: Config, on_serving: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; call `on_serving` with HOST:PORT once health is SERVING.

    Raises ConfigInvalid where the configuration does not work on this machine, Unavailable where a
    worker does not start.
    """
    log_to_stderr()
    uvloop.run(run_until_stopped(serving(config), on_serving))


@contextlib.asynccontextmanager
async def serving(config: Config) -> AsyncIterator[str]:
    """Serve until the context exits, then drain; yield HOST:PORT."""
    data_dir = _data_dir(config)
    async with contextlib.AsyncExitStack() as stack:
        redis_url, start_valkey = config.redis.url, None
        if config.redis.url == "embedded":
            embedded = EmbeddedValkey(data_dir)
            stack.push_async_callback(embedded.stop)
            redis_url, start_valkey = embedded.url, embedded.start
        indexer = _indexer(config)
        # Pushed first, so that it stops after the workers and does not delay their drain.
        stack.push_async_callback(indexer.stop, _INDEXER_STOP_S)
        if config.server.workers == 1:
            spec = WorkerSpec(config, 0, redis_url)
            address = await stack.enter_async_context(serving_worker(spec, start_valkey))
        else:
            if start_valkey:
                await start_valkey()
            address = await stack.enter_async_context(_workers(config, redis_url))
        if config.banks.indexer:
            await indexer.start()
        yield address


@contextlib.asynccontextmanager
async def _workers(config: Config, redis_url: str) -> AsyncIterator[str]:
    """Run all workers as processes on one port; yield HOST:PORT once all of them serve."""
    with _reserved_port(config.server.listen) as address:
        server = msgspec.structs.replace(config.server, listen=address)
        config = msgspec.structs.replace(config, server=server)
        specs = (WorkerSpec(config, n, redis_url) for n in range(config.server.workers))
        workers = [
            Child(f"worker {s.number}", "featsvc.worker", stdin=msgspec.json.encode(s))
            for s in specs
        ]
        timeout_s = config.server.grace_period_s + _WORKER_CLOSE_S
        try:
            for worker in workers:
                await worker.start()
            await asyncio.gather(*(worker.ready() for worker in workers))
            # Python would collect all modules before it exits, which takes a second or two.
            gc.freeze()
            yield address
        finally:
            await asyncio.gather(*(worker.stop(timeout_s) for worker in workers))


@contextlib.contextmanager
def _reserved_port(listen: str) -> Iterator[str]:
    """Bind the port without listening, so that it stays reserved; yield HOST:PORT.

    Fails where another process listens, which the workers' SO_REUSEPORT would not detect.
    """
    host, port = split_address(listen)
    with contextlib.ExitStack() as stack:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            holder = stack.enter_context(socket.socket(family, kind, protocol))
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(address)
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
        # The URL contains a password, which a command line would show to every user.
        environ={"FEATSVC_BANKS_URL": config.banks_url},
    )


def _data_dir(config: Config) -> Path:
    path = Path(config.data_dir).resolve()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigInvalid(f"data_dir: cannot create {path}: {exc.strerror}") from exc
    if not os.access(path, os.W_OK):
        raise ConfigInvalid(f"data_dir: this user cannot write to {path}")
    return path
