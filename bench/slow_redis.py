"""Reads of features, 50 a second with a budget of 250 ms, while Redis or the event loop is slow.

A relay between the store and the server delays what the server sends, the handshake included.
Failures must be 0. The rows beside bulk readers compare small reads with the same reads alone.
"""

import asyncio
import itertools
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import redis
import uvloop

from bench.command import Command
from bench.size import pick
from featsvc.accounts import EntityRef, Event, FeatureStore, load_definitions
from featsvc.accounts.events import clock_ms
from featsvc.accounts.topology import connect
from featsvc.errors import FeatsvcError
from tests.accounts.relays import relaying
from tests.accounts.stores import running_valkey

BUDGET_MS = 250
INTERVAL_S = 0.02
READS = pick(500, smoke=20)
EVERY_S = pick(2.0, smoke=0.2)
"""Between two disturbances."""
BULK_READERS = 4
BULK = pick(1000, smoke=10)
FIELDS = 100

Read = Callable[[], Coroutine[None, None, object]]


async def measure(name: str, read: Read, disturb: Callable[[], Awaitable[None]] | None) -> None:
    """Print a line: the times and failures of `READS` reads, disturbed every `EVERY_S`."""
    took_ms: list[float] = []
    failures: list[str] = []

    async def one() -> None:
        started = time.perf_counter()
        try:
            await read()
            took_ms.append((time.perf_counter() - started) * 1000)
        except FeatsvcError as exc:
            failures.append(str(exc))

    async def disturbances() -> None:
        while disturb:
            await disturb()
            await asyncio.sleep(EVERY_S)

    disturbing = asyncio.create_task(disturbances())
    async with asyncio.TaskGroup() as reads:
        for _ in range(READS):
            reads.create_task(one())
            await asyncio.sleep(INTERVAL_S)
    disturbing.cancel()
    p50, p99 = np.percentile(took_ms, (50, 99)) if took_ms else (np.nan, np.nan)
    print(
        f"{name:<42} {len(failures):>4} of {READS} failed   p50 {p50:6.1f}   p99 {p99:6.1f} ms",
        *sorted(set(failures)),
        flush=True,
    )


@asynccontextmanager
async def small_read(url: str) -> AsyncIterator[Read]:
    """Yield a read of all shipped features of one account."""
    store = FeatureStore(url, load_definitions(), timeout_ms=BUDGET_MS)
    try:
        yield lambda: store.get([EntityRef("account", "a1")])
    finally:
        await store.close()


async def fill(url: str) -> None:
    store = FeatureStore(url, load_definitions())
    events = [Event(f"e{n}", "upload", clock_ms(), {"account": "a1"}) for n in range(100)]
    await store.ingest(events)
    await store.close()


async def stopped(url: str, process: int) -> None:
    async def stop() -> None:
        os.kill(process, signal.SIGSTOP)
        try:
            await asyncio.sleep(0.2)
        finally:
            os.kill(process, signal.SIGCONT)

    async with small_read(url) as read:
        await measure("Redis is stopped for 200 ms", read, stop)


async def delayed(socket: Path, path: Path) -> None:
    """Each reply reaches the client 100 ms later."""

    async def later(number: int, sent: bytes, data: bytes) -> AsyncIterator[bytes]:
        await asyncio.sleep(0.1)
        yield data

    async with relaying(socket, path, later), small_read(f"unix://{path}") as read:
        await measure("each reply is 100 ms late", read, None)


async def blocked(url: str) -> None:
    """Each tenth read finds the loop blocked as soon as it is sent."""
    numbers = itertools.count()
    async with small_read(url) as small:

        async def read() -> None:
            call = asyncio.create_task(small())
            if next(numbers) % 10 == 0:
                for _ in range(10):  # turns of the loop, in which the read is sent
                    await asyncio.sleep(0)
                time.sleep(0.3)
            await call

        await measure("the event loop is blocked for 300 ms", read, None)


async def beside_bulk(url: str, socket: Path) -> None:
    """Other processes do the bulk reads in practice, but here one pipeliner sends them all."""
    with redis.Redis(unix_socket_path=str(socket)) as client:
        client.hset("bulk", mapping={b"%d" % n: bytes(300) for n in range(FIELDS)})
    topology = connect(url, timeout_ms=BUDGET_MS)
    fields = [b"%d" % n for n in range(FIELDS)]
    calls = failed = 0

    async def bulk() -> None:
        nonlocal calls, failed
        while True:
            calls += 1
            try:
                await topology.execute([b"bulk"] * BULK, [("HMGET", b"bulk", *fields)] * BULK)
            except FeatsvcError:
                failed += 1
            await asyncio.sleep(0)

    async def read() -> None:
        await topology.execute([b"bulk"], [("HMGET", b"bulk", *fields[:10])])

    await measure("10 fields alone", read, None)
    readers = [asyncio.create_task(bulk()) for _ in range(BULK_READERS)]
    await measure(f"beside {BULK_READERS} readers of {BULK} x {FIELDS}", read, None)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    await topology.close()
    print(f"{'':<42} {failed:>4} of {calls} bulk reads failed")


async def everything(folder: Path) -> None:
    with running_valkey(folder) as url:
        socket = folder / "s"
        with redis.Redis(unix_socket_path=str(socket)) as client:
            process = client.info("server")["process_id"]
        await fill(url)
        await stopped(url, process)
        await delayed(socket, folder / "relay")
        await blocked(url)
        await beside_bulk(url, socket)


def main(argv: Sequence[str] | None = None) -> None:
    command = Command("slow_redis", __doc__ or "", takes="about a minute")
    command.begin(argv)
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(everything(Path(folder)))


if __name__ == "__main__":
    main()
