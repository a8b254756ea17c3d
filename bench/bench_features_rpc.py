"""Unary `GetFeatures` compared with an empty echo on the same server: the cost of reading.

    make bench ARGS="-k features_rpc"

The server has its own process and core; Valkey and the load generator share another. The generator
is in Python and may limit the calls per second, so the CPU time of the server per call is recorded
too: its ratio says what one core of server can do.
"""

import asyncio
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc
import psutil
import pytest
import uvloop
from featsvc_client.v1 import features_pb2, features_pb2_grpc, types_pb2
from grpc import aio

from bench.bench_accounts_memory import running_valkey
from bench.compare import Compare
from bench.size import pick
from featsvc.accounts import Event, FeatureStore, load_definitions
from featsvc.accounts import warm as warm_accounts
from featsvc.accounts.events import clock_ms
from featsvc.service.features import FeatureServicer
from featsvc.service.metrics import Metrics
from featsvc.service.server import GrpcService, Server

ECHO = "/featsvc.bench.Echo/Echo"
GET = "/featsvc.v1.FeatureService/GetFeatures"
CALLS = pick(2000, smoke=10)
AT_ONCE = 64
ACCOUNTS = pick(100, smoke=2)
EVENTS_PER_ACCOUNT = pick(200, smoke=4)


class Echo:
    async def echo(self, request: bytes, context: object) -> bytes:
        return request


def register_echo(servicer: Any, server: aio.Server) -> None:
    handler: Any = grpc.unary_unary_rpc_method_handler(
        servicer.echo, request_deserializer=bytes, response_serializer=bytes
    )
    handlers = grpc.method_handlers_generic_handler("featsvc.bench.Echo", {"Echo": handler})
    server.add_generic_rpc_handlers((handlers,))


async def serve(url: str) -> None:
    """Serve both methods with the same interceptor until standard input ends."""
    warm_accounts()
    store = FeatureStore(url, load_definitions(), timeout_ms=5000)
    metrics = Metrics()
    services = [
        GrpcService(
            "featsvc.v1.FeatureService",
            FeatureServicer(store),
            features_pb2_grpc.add_FeatureServiceServicer_to_server,
        ),
        GrpcService("featsvc.bench.Echo", Echo(), register_echo),
    ]
    server = Server(services, metrics, max_content_bytes=2**20)
    print(await server.bind("127.0.0.1", 0), flush=True)
    await server.open()
    await asyncio.to_thread(sys.stdin.read)
    await server.drain(1.0)
    await store.close()


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = uvloop.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with running_valkey() as url:
        yield url


@pytest.fixture(scope="module")
def server(valkey: str, loop: asyncio.AbstractEventLoop) -> Iterator[tuple[str, psutil.Process]]:
    """The address and process of a server whose accounts have 200 events each."""
    loop.run_until_complete(fill(valkey))
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # inherited by every thread of the server
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.bench_features_rpc", valkey],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    os.sched_setaffinity(0, {max(cores)})
    assert process.stdin
    assert process.stdout
    yield process.stdout.readline().strip(), psutil.Process(process.pid)
    process.stdin.close()
    process.wait(10)
    process.stdout.close()
    os.sched_setaffinity(0, cores)


async def fill(url: str) -> None:
    store = FeatureStore(url, load_definitions(), timeout_ms=5000)
    now_ms = clock_ms()
    for account in range(ACCOUNTS):
        events = [
            Event(
                f"e{n}",
                ("upload", "message", "login", "match")[n % 4],
                now_ms - n * n * 60_000,
                {"account": f"a{account}", "ip": f"192.0.2.{account}", "device": f"d{account}"},
                {"bytes": 9.0, "target": f"t{n % 30}", "success": True},
            )
            for n in range(EVENTS_PER_ACCOUNT)
        ]
        await store.ingest(events)
    await store.close()


def requests(method: str) -> list[bytes]:
    """One request per call, serialised in advance to keep the generator cheap."""
    if method == ECHO:
        return [b""] * CALLS
    selection = features_pb2.FeatureSelection(set="upload_gate")
    return [
        features_pb2.GetFeaturesRequest(
            entities=[types_pb2.EntityRef(entity="account", id=f"a{n % ACCOUNTS}")],
            selection=selection,
        ).SerializeToString()
        for n in range(CALLS)
    ]


def bench_features_rpc(
    compare: Compare, loop: asyncio.AbstractEventLoop, server: tuple[str, psutil.Process]
) -> None:
    """Unary calls, 64 at a time; GetFeatures reads the ten features of `upload_gate`."""
    address, process = server
    spent_s: dict[str, list[float]] = {GET: [], ECHO: []}

    async def load(method: str, packed: list[bytes]) -> None:
        async with aio.insecure_channel(address) as channel:
            call: Any = channel.unary_unary(method)
            await call(packed[0])
            before = process.cpu_times()
            waiting = iter(packed)

            async def one_after_another() -> None:
                for request in waiting:
                    await call(request)

            await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
            after = process.cpu_times()
            spent_s[method].append(after.user + after.system - before.user - before.system)

    sides = {
        method: partial(
            lambda packed, method: loop.run_until_complete(load(method, packed)),
            requests(method),
            method,
        )
        for method in spent_s
    }
    case = compare(
        f"one GetFeatures, {AT_ONCE} at a time",
        sides[GET],
        {"an empty echo": sides[ECHO]},
        operations=CALLS,
        rounds=15,
    )
    for name, method in (("GetFeatures", GET), ("the echo", ECHO)):
        spent_us = statistics.median(spent_s[method]) / CALLS * 1e6
        case.notes[f"CPU of the server, {name}"] = f"{spent_us:.1f} µs"


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
