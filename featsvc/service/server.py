"""The gRPC server: bind, serve, drain, stop.

It binds before it serves. Health is NOT_SERVING and new requests get UNAVAILABLE until kernels are
warm and banks are loaded, and again from the stop signal on.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from featsvc.errors import ConfigInvalid
from featsvc.service.interceptor import RequestInterceptor
from featsvc.service.metrics import Metrics

# Room for the fields of a message beside its content.
_MESSAGE_OVERHEAD_BYTES = 2**20
# gRPC answers a message that is over its own limit with RESOURCE_EXHAUSTED and no details, as if a
# retry helped. So that limit is higher than ours, and bounds the memory that a message takes.
_TRANSPORT_FACTOR = 2
_CANCEL_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class GrpcService:
    """A service by its full name, its servicer, and the generated function that registers it."""

    name: str
    servicer: object
    register: Callable[[Any, aio.Server], None]  # takes a servicer of its own service only


class Server:
    """A gRPC server with health and reflection."""

    def __init__(
        self,
        services: Iterable[GrpcService],
        metrics: Metrics,
        *,
        max_content_bytes: int,
        reuse_port: bool = False,
    ) -> None:
        max_message_bytes = max_content_bytes + _MESSAGE_OVERHEAD_BYTES
        self._interceptor = RequestInterceptor(metrics, max_message_bytes)
        self._server = aio.server(
            interceptors=[self._interceptor],
            options=[
                ("grpc.max_receive_message_length", _TRANSPORT_FACTOR * max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # By default gRPC would let a second server share the port by accident.
                ("grpc.so_reuseport", int(reuse_port)),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ],
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._names = ["", health.SERVICE_NAME]
        for service in services:
            service.register(service.servicer, self._server)
            self._names.append(service.name)
        reflection.enable_server_reflection(
            [*self._names[1:], reflection.SERVICE_NAME], self._server
        )

    async def bind(self, host: str, port: int) -> str:
        """Bind and start; return HOST:PORT with the real port.

        Raises ConfigInvalid where the address cannot be bound.
        """
        if not self._interceptor.open:
            await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        try:
            bound_port = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as exc:
            raise ConfigInvalid(
                f"server.listen: cannot bind {host}:{port}; is another process listening there?"
            ) from exc
        await self._server.start()
        return f"{host}:{bound_port}"

    async def open(self) -> None:
        """Accept requests."""
        self._interceptor.open = True
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, grace_period_s: float) -> None:
        """Refuse new requests, finish those in flight, cancel them after the grace period."""
        self._interceptor.open = False
        self._interceptor.closed_because = "the server is stopping; send the request to another one"
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        # The port stays open meanwhile, so that a new request gets a clear answer.
        started = time.monotonic()
        await self._interceptor.wait_idle(grace_period_s)
        await self._server.stop(max(0.0, grace_period_s - (time.monotonic() - started)))
        # Cancelled calls interrupt what they run, before the stores close.
        await self._interceptor.wait_idle(_CANCEL_TIMEOUT_S)

    async def _set_health(self, status: int) -> None:
        for name in self._names:
            await self._health.set(name, status)
