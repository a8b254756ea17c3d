"""One worker: builds the gRPC server and everything that answers its requests.

A single worker runs in the process of the service. Several run as `python -m featsvc.worker`: each
reads its `WorkerSpec` as JSON from stdin and prints `serving on HOST:PORT`.
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
from featsvc.addresses import split_address
from featsvc.banks.store import BankStore
from featsvc.banks.tally import MatchTally
from featsvc.config import Config
from featsvc.embedding import BatchingOptions, Embedder, OnnxEmbedder, read_models
from featsvc.embedding import warm as warm_embedding
from featsvc.errors import ConfigInvalid, FeatsvcError, Unavailable
from featsvc.hashing.warm import warm as warm_hashing
from featsvc.matching.follower import Follower
from featsvc.processes import run_until_stopped
from featsvc.requests import Runtime, WorkPool
from featsvc.service import grpc_services
from featsvc.service.metrics import Metrics
from featsvc.service.server import Server

_STORE_RETRY_S = 1.0

log = logging.getLogger("featsvc.worker")


class WorkerSpec(msgspec.Struct, frozen=True):
    """Worker `number`, from 0, of `config.server.workers`.

    `redis_url` is the URL to connect to, where `config.redis.url` may say "embedded".
    """

    config: Config
    number: int
    redis_url: str


def segments_folder(config: Config) -> Path:
    """Return the folder where the indexer publishes segments and workers map them."""
    return Path(config.data_dir).resolve() / "segments"


@contextlib.asynccontextmanager
async def serving_worker(
    spec: WorkerSpec, start_redis: Callable[[], Awaitable[object]] | None = None
) -> AsyncIterator[str]:
    """Serve until the context exits, then drain within the grace period; yield HOST:PORT.

    `start_redis` runs while kernels warm up and banks load; serving begins when all are done.
    Raises ConfigInvalid where the configuration does not work on this machine.
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
        runtime = Runtime(
            pool=pool,
            follower=follower,
            features=features,
            embedder=embedder,
            limits=config.media,
            tally=tally,
        )
        server = Server(
            grpc_services(runtime, store, metrics, worker=spec.number),
            metrics,
            max_content_bytes=config.media.max_content_bytes,
            reuse_port=config.server.workers > 1,
        )
        # Pushed last: nothing above closes while a request is in flight.
        stack.push_async_callback(server.drain, config.server.grace_period_s)
        if config.metrics.listen:
            stack.callback(_serve_metrics(spec, metrics, follower, pool))

        async def prepare() -> None:
            await asyncio.gather(
                asyncio.to_thread(_warm),
                _load_banks(follower),
                _prepare_features(features, start_redis),
            )
            if config.features.stream:
                await stack.enter_async_context(_consuming(spec.redis_url, features, config))
            tally.start()
            # Long-lived objects: a full collection would scan them for 100 ms while requests wait.
            gc.freeze()
            await server.open()

        host, port = split_address(config.server.listen)
        if config.server.workers > 1:
            # Binds last, to take no connections from workers that already serve.
            await prepare()
            address = await server.bind(host, port)
        else:
            address = await server.bind(host, port)
            await prepare()
        yield address


def _core_share(config: Config) -> int:
    """Return the default number of threads of a pool: an equal share of the cores."""
    return max(1, (os.cpu_count() or 1) // config.server.workers)


def _embedder(config: Config) -> Embedder:
    """Load the built-in models and those of the models file."""
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
    """Run every kernel and decoder once before the first request."""
    warm_hashing()
    warm_embedding()
    warm_accounts()


async def _load_banks(follower: Follower) -> None:
    """Load the first snapshot; retry while the store is unavailable."""
    warned = False
    while True:
        try:
            return await asyncio.to_thread(follower.start)
        except Unavailable as exc:
            if not warned:
                log.warning("not serving until the banks are loaded: %s", exc)
            warned = True
            await asyncio.sleep(_STORE_RETRY_S)


async def _prepare_features(
    features: FeatureStore, start_redis: Callable[[], Awaitable[object]] | None
) -> None:
    """Start Redis if it is the worker's own, and register the definitions."""
    if start_redis:
        await start_redis()
    with contextlib.suppress(Unavailable):  # then the first call registers
        await features.register()


@contextlib.asynccontextmanager
async def _consuming(redis_url: str, features: FeatureStore, config: Config) -> AsyncIterator[None]:
    """Apply the events of a Redis Stream; unfinished ones are delivered again."""
    consumer = StreamConsumer(
        redis_url,
        features,
        stream=config.features.stream,
        group=config.features.stream_group,
        max_tries=config.features.stream_max_tries,
    )
    task = asyncio.create_task(consumer.run(), name="stream-consumer")
    task.add_done_callback(_log_failure)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _log_failure(consumer: "asyncio.Task[None]") -> None:
    if not consumer.cancelled() and (exc := consumer.exception()):
        log.error("events of the stream are no longer applied", exc_info=exc)


def _serve_metrics(
    spec: WorkerSpec, metrics: Metrics, follower: Follower, pool: WorkPool
) -> Callable[[], None]:
    """Serve /metrics for Prometheus; return the function that stops it."""
    host, first_port = split_address(spec.config.metrics.listen)
    port = first_port + spec.number
    metrics.pending.set_function(lambda: pool.pending)
    metrics.served_revision.set_function(lambda: follower.status().served_revision)
    metrics.staleness.set_function(lambda: follower.status().staleness_ms / 1000)
    metrics.set_aside.set_function(
        lambda: sum(cause.signals for cause in follower.status().set_aside)
    )
    try:
        server, thread = prometheus_client.start_http_server(
            port, host.strip("[]"), metrics.registry
        )
    except OSError as exc:
        raise ConfigInvalid(
            f"metrics.listen: cannot bind port {port} for worker {spec.number}: {exc}"
        ) from exc

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return close


def log_to_stderr(prefix: str = "") -> None:
    """Log to stderr, with `prefix` before the name of the logger."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format=f"%(asctime)s %(levelname)s {prefix}%(name)s: %(message)s",
    )
    # At INFO it lists its own plugins.
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)


def main() -> None:
    """Run the worker whose spec is on stdin."""
    spec = msgspec.json.decode(sys.stdin.buffer.read(), type=WorkerSpec)
    log_to_stderr(f"worker {spec.number} ")
    try:
        uvloop.run(
            run_until_stopped(
                serving_worker(spec),
                lambda address: print(f"serving on {address}", flush=True),  # noqa: T201
            )
        )
    except FeatsvcError as exc:
        log.error("%s", exc)
        sys.exit(1)


if __name__ == "__main__":
    main()
