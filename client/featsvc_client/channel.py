"""The clients: one channel, and the generated stub of each service as an attribute.

Requests and answers are the messages of `featsvc_client.v1`.
"""

import os
from typing import Self

import grpc
from grpc import aio

from featsvc_client.v1 import (
    banks_pb2_grpc,
    features_pb2_grpc,
    hashing_pb2_grpc,
    matching_pb2_grpc,
    screening_pb2_grpc,
)

DEFAULT_TARGET = "localhost:50051"

# No limit here, since gRPC's own of 4 MiB is too small for pictures: the server has one.
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


def default_target() -> str:
    """Return the environment variable `FEATSVC_SERVER`, or localhost:50051."""
    return os.environ.get("FEATSVC_SERVER") or DEFAULT_TARGET


class Client:
    """A blocking client and context manager. Calls raise `grpc.RpcError`; see `explain`.

    `target` is HOST:PORT, or any other target that gRPC knows; it defaults to `default_target()`.
    """

    def __init__(self, target: str | None = None) -> None:
        self.target = target or default_target()
        self.channel = grpc.insecure_channel(self.target, options=_OPTIONS)
        self.screening = screening_pb2_grpc.ScreeningServiceStub(self.channel)
        self.hashing = hashing_pb2_grpc.HashingServiceStub(self.channel)
        self.matching = matching_pb2_grpc.MatchingServiceStub(self.channel)
        self.features = features_pb2_grpc.FeatureServiceStub(self.channel)
        self.banks = banks_pb2_grpc.BankServiceStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()


class AsyncClient:
    """An asyncio client and async context manager. Calls raise `grpc.aio.AioRpcError`.

    `target` is as for `Client`.
    """

    def __init__(self, target: str | None = None) -> None:
        self.target = target or default_target()
        self.channel = aio.insecure_channel(self.target, options=_OPTIONS)
        self.screening = screening_pb2_grpc.ScreeningServiceStub(self.channel)
        self.hashing = hashing_pb2_grpc.HashingServiceStub(self.channel)
        self.matching = matching_pb2_grpc.MatchingServiceStub(self.channel)
        self.features = features_pb2_grpc.FeatureServiceStub(self.channel)
        self.banks = banks_pb2_grpc.BankServiceStub(self.channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
