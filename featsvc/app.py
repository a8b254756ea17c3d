"""The one place where the parts are wired together.

Start: bind the port (health NOT_SERVING), then side by side warm the kernels, load the banks and
start the embedded Valkey, then open. Stop: drain, then close in the reverse order.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
import prometheus_client
import uvloop

from featsvc.accounts import EmbeddedValkey, FeatureStore, load_definitions
from featsvc.accounts import warm as warm_accounts
from featsvc.banks.store import BankStore
from featsvc.config import Config
from featsvc.embedding import BatchingOptions, Embedder, OnnxEmbedder, read_models
from featsvc.errors import ConfigInvalid, Unavailable
from featsvc.hashing.warm import warm as warm_hashing
from featsvc.matching.follower import Follower
from featsvc.media import Limits
from featsvc.screening import Screener, WorkPool
from featsvc.service import mounts
from featsvc.service.metrics import Metrics
from featsvc.service.server import Server

_STORE_RETRY_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """A service that is serving. `address` is HOST:PORT."""

    address: str
    embedded: EmbeddedValkey | None


@contextlib.asynccontextmanager
async def serving(config: Config) -> AsyncIterator[Running]:
    """Serve until the context is left, then drain within the grace period.

    Raises ConfigInvalid where the configuration cannot work on this machine.
    """
    definitions = load_definitions(Path(config.features.file) if config.features.file else None)
    data_dir = _data_dir(config)
    metrics = Metrics()
    async with contextlib.AsyncExitStack() as stack:
        embedded = None
        if config.redis.url == "embedded":
            embedded = EmbeddedValkey(data_dir)
            stack.push_async_callback(embedded.stop)
        features = FeatureStore(
            embedded.url if embedded else config.redis.url,
            definitions,
            timeout_ms=config.redis.timeout_ms,
        )
        stack.push_async_callback(features.close)
        store = BankStore(config.banks_url)
        stack.callback(store.close)
        follower = Follower(store, poll_interval_ms=config.banks.poll_interval_ms)
        stack.callback(follower.stop)
        embedder = _embedder(config)
        stack.callback(embedder.close)
        pool = WorkPool(config.server.threads, config.server.max_queue)
        stack.callback(pool.close)
        server = Server(
            mounts(
                Screener(
                    pool,
                    follower,
                    features,
                    embedder,
                    Limits(**msgspec.structs.asdict(config.media)),
                ),
                follower,
                features,
                store,
                metrics,
            ),
            metrics,
            max_content_bytes=config.media.max_content_bytes,
        )
        # Left first: nothing above closes while a request is in flight.
        stack.push_async_callback(server.drain, config.server.grace_period_s)
        address = await server.bind(config.server.listen)
        if config.metrics.listen:
            stack.callback(_expose(config.metrics.listen, metrics, follower, pool))
        await asyncio.gather(
            asyncio.to_thread(_warm),
            _load_banks(follower),
            *([embedded.start()] if embedded else []),
        )
        await server.open()
        yield Running(address, embedded)


def run(config: Config, on_serving: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `on_serving` gets HOST:PORT once health says SERVING."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    uvloop.run(_serve(config, on_serving))


async def _serve(config: Config, on_serving: Callable[[str], None]) -> None:
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
        async with serving(config) as running:
            started = True
            on_serving(running.address)
            await stop.wait()
            log.info("stopping: finishing what is in flight")
    except asyncio.CancelledError:
        log.info("stopped at once")


def _warm() -> None:
    """Run every kernel and decoder once, so that no request waits for it."""
    warm_hashing()
    warm_accounts()


async def _load_banks(follower: Follower) -> None:
    """Load the first snapshot; while the store is away, keep trying."""
    told = False
    while True:
        try:
            return await asyncio.to_thread(follower.start)
        except Unavailable as exc:
            if not told:
                log.warning("not serving until the banks are loaded: %s", exc)
            told = True
            await asyncio.sleep(_STORE_RETRY_S)


def _embedder(config: Config) -> Embedder:
    """The built-in models and those of the models file, loaded, checked and warm."""
    embed = config.embed
    specs = read_models(Path(embed.models_file)) if embed.models_file else ()
    options = BatchingOptions(
        threads=embed.threads or len(os.sched_getaffinity(0)),
        max_batch=embed.max_batch,
        max_wait_ms=embed.max_wait_ms,
        max_latency_ms=embed.max_latency_ms,
    )
    return Embedder([OnnxEmbedder(spec) for spec in specs], options)


def _data_dir(config: Config) -> Path:
    path = Path(config.data_dir).resolve()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigInvalid(f"data_dir: cannot create {path}: {exc.strerror}") from exc
    if not os.access(path, os.W_OK):
        raise ConfigInvalid(f"data_dir: {path} is not writable for this user")
    return path


def _expose(
    listen: str, metrics: Metrics, follower: Follower, pool: WorkPool
) -> Callable[[], None]:
    """Serve /metrics for Prometheus; returns what stops it."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit():
        raise ConfigInvalid(f"metrics.listen: {listen!r} is not HOST:PORT")
    metrics.pending.set_function(lambda: pool.pending)
    metrics.served_revision.set_function(lambda: follower.status().served_revision)
    metrics.staleness.set_function(lambda: follower.status().staleness_ms / 1000)
    try:
        server, thread = prometheus_client.start_http_server(
            int(port), host or "127.0.0.1", metrics.registry
        )
    except OSError as exc:
        raise ConfigInvalid(f"metrics.listen: cannot bind {listen}: {exc.strerror}") from exc

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return close
