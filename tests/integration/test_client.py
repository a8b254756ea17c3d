"""The clients against a real server: both flavours, and errors with their details."""

import asyncio

import grpc
import pytest
from featsvc_client import AsyncClient, Client, ServiceError, explain
from featsvc_client.v1 import hashing_pb2, matching_pb2, types_pb2

from tests.integration.running import Running

REQUEST = matching_pb2.MatchRequest(signal=types_pb2.Signal(algorithm="pdq", value="abc"))


def test_both_flavours_answer(server: Running) -> None:
    request = hashing_pb2.ListAlgorithmsRequest()
    with Client(server.address) as client:
        blocking = client.hashing.ListAlgorithms(request)

    async def ask() -> hashing_pb2.ListAlgorithmsResponse:
        async with AsyncClient(server.address) as client:
            response: hashing_pb2.ListAlgorithmsResponse = await client.hashing.ListAlgorithms(
                request
            )
            return response

    assert asyncio.run(ask()) == blocking
    assert "pdq" in [a.name for a in blocking.algorithms]


def test_algorithms_are_described_by_name(server: Running) -> None:
    """Also sizes, and models that are not served, which the whole list leaves out."""
    names = ["PHASH-16", "sscd@1", "text", "pdqf@1", "md5", "photodna"]
    with Client(server.address) as client:
        described = client.hashing.ListAlgorithms(
            hashing_pb2.ListAlgorithmsRequest(algorithms=names)
        ).algorithms
        with pytest.raises(grpc.RpcError) as caught:
            client.hashing.ListAlgorithms(hashing_pb2.ListAlgorithmsRequest(algorithms=["pqd"]))
    assert [a.name for a in described] == ["phash-16", *names[1:-1], "pdna"]
    assert [a.default_threshold for a in described] == [32, 0.05, 0.4, 0.135, 0, 0]
    assert [a.dimensions for a in described] == [0, 0, 0, 256, 0, 0]
    assert [hashing_pb2.Algorithm.Input.Name(a.input) for a in described] == [
        *("INPUT_PICTURE", "INPUT_PICTURE", "INPUT_TEXT"),
        *("INPUT_PICTURE", "INPUT_BYTES", "INPUT_NONE"),
    ]
    assert explain(caught.value).reason == "UNKNOWN_ALGORITHM"


def test_an_error_carries_reason_field_and_message(server: Running) -> None:
    with Client(server.address) as client, pytest.raises(grpc.RpcError) as caught:
        client.matching.Match(REQUEST)
    error = explain(caught.value)
    assert isinstance(error, ServiceError)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (error.reason, error.path) == ("INVALID_SIGNAL", "signal.value")
    assert error.retry_after_ms is None
    assert str(error).startswith("INVALID_ARGUMENT (INVALID_SIGNAL): ")


def test_errors_of_the_async_client_are_explained_alike(server: Running) -> None:
    async def ask() -> ServiceError:
        async with AsyncClient(server.address) as client:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.matching.Match(REQUEST)
            return explain(caught.value)

    assert asyncio.run(ask()).reason == "INVALID_SIGNAL"


def test_a_server_that_is_not_there_is_named() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(grpc.RpcError) as caught:
        client.matching.Match(REQUEST)
    error = explain(caught.value, client.target)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "127.0.0.1:1" in str(error)


def test_the_environment_names_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATSVC_SERVER", "example.invalid:1")
    with Client() as client:
        assert client.target == "example.invalid:1"
