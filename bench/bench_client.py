"""The cost of the client: calls of `Client` and `AsyncClient` compared with a plain stub.

    make bench ARGS="-k client"

The call is the shortest that a real service answers, so that what the client adds (deadline,
retries, token, errors) is as visible as it gets.
"""

import asyncio
from collections.abc import Iterator

import pytest
from featsvc_client import AsyncClient, Client
from featsvc_client.v1 import hashing_pb2, hashing_pb2_grpc

from bench.compare import Compare
from bench.size import pick
from tests.integration.running import Running, running

REQUEST = hashing_pb2.ListAlgorithmsRequest(algorithms=["md5"])
CALLS = pick(50, smoke=2)
"""Of one event loop's run."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("bench")) as service:
        yield service


def bench_client_blocking(compare: Compare, server: Running) -> None:
    with Client(server.address) as client:
        plain = hashing_pb2_grpc.HashingServiceStub(client.channel)
        compare(
            "one blocking call",
            lambda: client.hashing.ListAlgorithms(REQUEST),
            {"a plain stub": lambda: plain.ListAlgorithms(REQUEST)},
        )


def bench_client_asyncio(compare: Compare, server: Running) -> None:
    with asyncio.Runner() as runner:

        async def connect() -> AsyncClient:
            return AsyncClient(server.address)

        client = runner.run(connect())
        plain = hashing_pb2_grpc.HashingServiceStub(client.channel)

        async def calls(stub: "hashing_pb2_grpc.HashingServiceAsyncStub") -> None:
            for _ in range(CALLS):
                await stub.ListAlgorithms(REQUEST)

        compare(
            f"one of {CALLS} asyncio calls",
            lambda: runner.run(calls(client.hashing)),
            {"a plain stub": lambda: runner.run(calls(plain))},
            operations=CALLS,
        )
        runner.run(client.close())
