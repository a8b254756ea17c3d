"""One channel, five services, two flavours.

`Client` and `AsyncClient` carry the generated stubs as attributes, so every call of the contract
is there with the contract's own messages; requests are built by hand as the contract says.
"""

import os
from types import TracebackType

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

# Content is at most 32 MiB by default, answers of a batch may be large; the server has the say.
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


def default_target() -> str:
    """`FEATSVC_SERVER`, else localhost:50051."""
    return os.environ.get("FEATSVC_SERVER") or DEFAULT_TARGET


class _Stubs:
    def __init__(self, channel: grpc.Channel | aio.Channel) -> None:
        self.screening = screening_pb2_grpc.ScreeningServiceStub(channel)
        self.hashing = hashing_pb2_grpc.HashingServiceStub(channel)
        self.matching = matching_pb2_grpc.MatchingServiceStub(channel)
        self.features = features_pb2_grpc.FeatureServiceStub(channel)
        self.banks = banks_pb2_grpc.BankServiceStub(channel)


class Client(_Stubs):
    """Blocking; a context manager. Calls raise `grpc.RpcError`, which `explain` reads."""

    def __init__(self, target: str | None = None) -> None:
        self.target = target or default_target()
        self.channel = grpc.insecure_channel(self.target, options=_OPTIONS)
        super().__init__(self.channel)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.channel.close()


class AsyncClient(_Stubs):
    """For asyncio; an async context manager. Calls raise `grpc.aio.AioRpcError`."""

    def __init__(self, target: str | None = None) -> None:
        self.target = target or default_target()
        self.channel = aio.insecure_channel(self.target, options=_OPTIONS)
        super().__init__(self.channel)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.channel.close()
