"""The clients: one channel, and the generated stub of each service as an attribute.

Requests and answers are the messages of `featsvc_client.v1`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar, cast

import grpc
from grpc import aio

from featsvc_client import asynchronous, blocking
from featsvc_client.connection import (
    GrpcOptions,
    TlsOptions,
    Token,
    authorization,
    channel_credentials,
    channel_options,
    default_target,
)
from featsvc_client.policy import (
    DEFAULT_BANK_TIMEOUT_S,
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_TIMEOUT_S,
    Policy,
)
from featsvc_client.v1 import (
    banks_pb2_grpc,
    features_pb2_grpc,
    hashing_pb2_grpc,
    matching_pb2_grpc,
    screening_pb2_grpc,
)

_Blocking = TypeVar("_Blocking", bound="Client")
_Async = TypeVar("_Async", bound="AsyncClient")


class _Connection(ABC):
    """What both clients are made of."""

    def __init__(
        self,
        target: str | None = None,
        *,
        tls: TlsOptions | bool | None = None,
        token: Token | None = None,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        bank_timeout_s: float | None = DEFAULT_BANK_TIMEOUT_S,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        options: GrpcOptions = (),
    ) -> None:
        """Make a client; it connects with its first call. Raises ValueError for wrong arguments.

        - `target`: HOST:PORT, or any other target that gRPC knows. Default: the environment
          variable `FEATSVC_SERVER`, else localhost:50051.
        - `tls`: True for a server with a public certificate, else a `TlsOptions`. Default: the
          files of `FEATSVC_TLS_*`, else no TLS. False is no TLS whatever the environment says.
        - `token`: sent with each call as `authorization: Bearer TOKEN`; a function that returns it
          if it changes. Default: `FEATSVC_TOKEN`. Without TLS it is sent to this machine only.
        - `timeout_s`: deadline of unary calls that give no `timeout`, retries included, in seconds;
          None is none. A call with `timeout=float("inf")` has none. Streams have none by default.
        - `bank_timeout_s`: the same for the calls of `banks`.
        - `max_attempts`: how often a call is made at most; 1 never retries. `featsvc_client.policy`
          says which calls are.
        - `options`: of gRPC's channel, such as `("grpc.lb_policy_name", "round_robin")`.
        """
        self.target = target or default_target()
        credentials = channel_credentials(tls)
        policy = Policy(
            self.target,
            authorization(self.target, token, secure=credentials is not None),
            timeout_s=timeout_s,
            bank_timeout_s=bank_timeout_s,
            max_attempts=max_attempts,
        )
        self._open(credentials, channel_options(options), policy)

    @abstractmethod
    def _open(
        self, credentials: grpc.ChannelCredentials | None, options: GrpcOptions, policy: Policy
    ) -> None:
        """Open the channel and make the stubs."""


class Client(_Connection):
    """A blocking client and context manager. Its calls raise `ServiceError`, a `grpc.RpcError`.

    `channel` is gRPC's own: stubs that you make on it have no policy.
    """

    def _open(
        self, credentials: grpc.ChannelCredentials | None, options: GrpcOptions, policy: Policy
    ) -> None:
        self.channel = (
            grpc.secure_channel(self.target, credentials, options=options)
            if credentials
            else grpc.insecure_channel(self.target, options=options)
        )
        channel = cast("grpc.Channel", blocking.Channel(self.channel, policy))
        self.screening = screening_pb2_grpc.ScreeningServiceStub(channel)
        self.hashing = hashing_pb2_grpc.HashingServiceStub(channel)
        self.matching = matching_pb2_grpc.MatchingServiceStub(channel)
        self.features = features_pb2_grpc.FeatureServiceStub(channel)
        self.banks = banks_pb2_grpc.BankServiceStub(channel)

    def close(self) -> None:
        """End all calls and the connection."""
        self.channel.close()

    def __enter__(self: _Blocking) -> _Blocking:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Connection):
    """An asyncio client and async context manager, otherwise as `Client`.

    Its `ServiceError` is a `grpc.aio.AioRpcError`, too.
    """

    def _open(
        self, credentials: grpc.ChannelCredentials | None, options: GrpcOptions, policy: Policy
    ) -> None:
        self.channel = (
            aio.secure_channel(self.target, credentials, options=options)
            if credentials
            else aio.insecure_channel(self.target, options=options)
        )
        channel = cast("aio.Channel", asynchronous.Channel(self.channel, policy))
        self.screening = screening_pb2_grpc.ScreeningServiceStub(channel)
        self.hashing = hashing_pb2_grpc.HashingServiceStub(channel)
        self.matching = matching_pb2_grpc.MatchingServiceStub(channel)
        self.features = features_pb2_grpc.FeatureServiceStub(channel)
        self.banks = banks_pb2_grpc.BankServiceStub(channel)

    async def close(self) -> None:
        """End all calls and the connection."""
        await self.channel.close()

    async def __aenter__(self: _Async) -> _Async:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
