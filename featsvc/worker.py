"""One worker: the gRPC server and everything that answers its requests, wired together.

A service of one worker is this in its own process. One of several runs `python -m featsvc.worker`
for each, which reads its `WorkerSpec` as JSON from stdin and prints `serving on HOST:PORT`.
"""

import asyncio
import contextlib
import gc
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import prometheus_client
import uvloop

from featsvc.accounts import FeatureStore, StreamConsumer, load_definitions
from featsvc.accounts import warm as warm_accounts
from featsvc.banks.store import BankStore
from featsvc.banks.tally import MatchTally
from featsvc.config import Config
from featsvc.embedding import BatchingOptions, Embedder, OnnxEmbedder, read_models
from featsvc.embedding import warm as warm_embedding
from featsvc.errors import ConfigInvalid, FeatsvcError, Unavailable
from featsvc.hashing.warm import warm as warm_hashing
from featsvc.matching.follower import Follower
from featsvc.media import Limits
from featsvc.processes import run_until_stopped
from featsvc.requests import Runtime, WorkPool
from featsvc.service import mounts
from featsvc.service.metrics import Metrics
from featsvc.service.server import Server

_STORE_RETRY_S = 1.0

log = logging.getLogger("featsvc.worker")


class WorkerSpec(msgspec.Struct, frozen=True):
    """Worker `number` (from 0) of those that `config` asks for; `redis_url` is what it means by
    its `redis.url`, the embedded one included."""

    config: Config
    number: int
    redis_url: str


def segments_folder(config: Config) -> Path:
    """Where the indexer publishes and workers map from."""
    return Path(config.data_dir).resolve() / "segments"


@contextlib.asynccontextmanager
async def working(
    spec: WorkerSpec, beside: Callable[[], Awaitable[object]] | None = None
) -> AsyncIterator[str]:
    """Serve until the context is left, then drain within the grace period; gives HOST:PORT.

    `beside` runs while kernels warm up and banks load; serving begins when all are done. Raises
    ConfigInvalid where the configuration cannot work on this machine.
    """
    config = spec.config
    definitions = load_definitions(Path(config.features.file) if config.features.file else None)
    metrics = Metrics(spec.number)
    async with contextlib.AsyncExitStack() as stack:
        features = FeatureStore(spec.redis_url, definitions, timeout_ms=config.redis.timeout_ms)
        stack.push_async_callback(features.close)
        store = BankStore(config.banks_url)
        stack.callback(store.close)
        follower = Follower(
            store,
            poll_interval_ms=config.banks.poll_interval_ms,
            segments=segments_folder(config),
        )
        stack.callback(follower.stop)
        embedder = _embedder(config)
        stack.callback(embedder.close)
        tally = MatchTally(store)
        stack.callback(tally.stop)
        pool = WorkPool(config.server.threads or _core_share(config), config.server.max_queue)
        stack.callback(pool.close)
        limits = Limits(**msgspec.structs.asdict(config.media))
        server = Server(
            mounts(
                Runtime(
                    pool=pool,
                    follower=follower,
                    features=features,
                    embedder=embedder,
                    limits=limits,
                    tally=tally,
                ),
                store,
                metrics,
                worker=spec.number,
            ),
            metrics,
            max_content_bytes=config.media.max_content_bytes,
            reuse_port=config.server.workers > 1,
        )
        # Left first: nothing above closes while a request is in flight.
        stack.push_async_callback(server.drain, config.server.grace_period_s)
        if config.metrics.listen:
            stack.callback(_expose(config.metrics.listen, spec.number, metrics, follower, pool))

        async def prepare() -> None:
            await asyncio.gather(
                asyncio.to_thread(_warm), _load_banks(follower), *([beside()] if beside else [])
            )
            if config.features.stream:
                await stack.enter_async_context(_consuming(spec.redis_url, features, config))
            tally.start()
            # What is here stays: a full collection would walk it for 100 ms while requests wait.
            gc.freeze()
            await server.open()

        if config.server.workers > 1:
            # Bound, it would take connections from those of its siblings that serve already.
            await prepare()
            address = await server.bind(config.server.listen)
        else:
            address = await server.bind(config.server.listen)
            await prepare()
        yield address


def _core_share(config: Config) -> int:
    """Threads of a pool where nothing is configured: the cores shared out among the workers."""
    return max(1, (os.cpu_count() or 1) // config.server.workers)


def _embedder(config: Config) -> Embedder:
    """The built-in models and those of the models file, loaded and checked."""
    embed = config.embed
    specs = read_models(Path(embed.models_file)) if embed.models_file else ()
    options = BatchingOptions(
        threads=embed.threads or _core_share(config),
        max_batch=embed.max_batch,
        max_wait_ms=embed.max_wait_ms,
        max_latency_ms=embed.max_latency_ms,
    )
    return Embedder([OnnxEmbedder(spec) for spec in specs], options)


def _warm() -> None:
    """Run every kernel and decoder once, so that no request waits for it."""
    warm_hashing()
    warm_embedding()
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


@contextlib.asynccontextmanager
async def _consuming(redis_url: str, features: FeatureStore, config: Config) -> AsyncIterator[None]:
    """Apply the events of a Redis Stream; what is half done when it ends is delivered again."""
    consumer = StreamConsumer(
        redis_url,
        features,
        stream=config.features.stream,
        group=config.features.stream_group,
        max_tries=config.features.stream_max_tries,
    )
    task = asyncio.create_task(consumer.run(), name="stream-consumer")
    task.add_done_callback(_tell_of_its_end)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _tell_of_its_end(consumer: "asyncio.Task[None]") -> None:
    if not consumer.cancelled() and (exc := consumer.exception()):
        log.error("events of the stream are no longer applied", exc_info=exc)


def _expose(
    listen: str, worker: int, metrics: Metrics, follower: Follower, pool: WorkPool
) -> Callable[[], None]:
    """Serve /metrics for Prometheus on the port of `listen` + `worker`; returns what stops it."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit():
        raise ConfigInvalid(f"metrics.listen: {listen!r} is not HOST:PORT")
    metrics.pending.set_function(lambda: pool.pending)
    metrics.served_revision.set_function(lambda: follower.status().served_revision)
    metrics.staleness.set_function(lambda: follower.status().staleness_ms / 1000)
    try:
        server, thread = prometheus_client.start_http_server(
            int(port) + worker if int(port) else 0, host or "127.0.0.1", metrics.registry
        )
    except OSError as exc:
        raise ConfigInvalid(
            f"metrics.listen: cannot bind port {int(port) + worker} for worker {worker}: "
            f"{exc.strerror}"
        ) from exc

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return close


def log_to_stderr(who: str = "") -> None:
    """The log of this process; `who` tells it from its siblings."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format=f"%(asctime)s %(levelname)s {who}%(name)s: %(message)s",
    )


def main() -> None:
    """Be the worker that stdin describes."""
    spec = msgspec.json.decode(sys.stdin.buffer.read(), type=WorkerSpec)
    log_to_stderr(f"worker {spec.number} ")
    try:
        uvloop.run(
            run_until_stopped(
                working(spec),
                lambda address: print(f"serving on {address}", flush=True),  # noqa: T201
            )
        )
    except FeatsvcError as exc:
        log.error("%s", exc)
        sys.exit(1)


if __name__ == "__main__":
    main()
