"""The cost of the client: a call of a plain stub compared with one of `Client` and `AsyncClient`.

    make bench ARGS="-k client"

The call is the shortest that a real service answers, so that what the client adds (deadline,
retries, token, errors) is as visible as it gets.
"""

import asyncio
from collections.abc import Iterator

import pytest
from featsvc_client import AsyncClient, Client
from featsvc_client.v1 import hashing_pb2, hashing_pb2_grpc
from pytest_benchmark.fixture import BenchmarkFixture

from tests.integration.running import Running, running

REQUEST = hashing_pb2.ListAlgorithmsRequest(algorithms=["md5"])
CALLS = 50
"""Of one round."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("bench")) as service:
        yield service


@pytest.mark.parametrize("how", ["plain stub", "Client"])
def bench_client_blocking(benchmark: BenchmarkFixture, server: Running, how: str) -> None:
    benchmark.group = f"client: {CALLS} blocking calls"
    with Client(server.address) as client:
        plain = hashing_pb2_grpc.HashingServiceStub(client.channel)
        call = (plain if how == "plain stub" else client.hashing).ListAlgorithms

        def calls() -> None:
            for _ in range(CALLS):
                call(REQUEST)

        calls()
        benchmark(calls)


@pytest.mark.parametrize("how", ["plain stub", "AsyncClient"])
def bench_client_asyncio(benchmark: BenchmarkFixture, server: Running, how: str) -> None:
    benchmark.group = f"client: {CALLS} asyncio calls"
    with asyncio.Runner() as runner:

        async def connect() -> AsyncClient:
            return AsyncClient(server.address)

        client = runner.run(connect())
        plain = hashing_pb2_grpc.HashingServiceStub(client.channel)
        call = (plain if how == "plain stub" else client.hashing).ListAlgorithms

        async def calls() -> None:
            for _ in range(CALLS):
                await call(REQUEST)

        runner.run(calls())
        benchmark(lambda: runner.run(calls()))
        runner.run(client.close())
