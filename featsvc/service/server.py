"""Life of the gRPC server: bind, warm up, serve, drain, stop.

Bound before it is open, health says NOT_SERVING until kernels are warm and banks are loaded; until
then, and from the stop signal on, a new request is refused with UNAVAILABLE.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from featsvc.errors import ConfigInvalid
from featsvc.service.interceptor import Gate
from featsvc.service.metrics import Metrics

log = logging.getLogger(__name__)

# A message holds the content and little else.
_MESSAGE_OVERHEAD_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Mount:
    """A servicer, the generated function that registers it, and its full name."""

    servicer: object
    register: Callable[[object, aio.Server], None]
    name: str


class Server:
    """One gRPC server in one event loop."""

    def __init__(
        self,
        mounts: Iterable[Mount],
        metrics: Metrics,
        *,
        max_content_bytes: int,
        reuse_port: bool = False,
    ) -> None:
        self._gate = Gate(metrics)
        self._server = aio.server(
            interceptors=[self._gate],
            options=[
                ("grpc.max_receive_message_length", max_content_bytes + _MESSAGE_OVERHEAD_BYTES),
                ("grpc.max_send_message_length", -1),
                # Off, a second server on the same port fails instead of sharing it by accident.
                ("grpc.so_reuseport", int(reuse_port)),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ],
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._names = ["", health.SERVICE_NAME]
        for mount in mounts:
            mount.register(mount.servicer, self._server)
            self._names.append(mount.name)
        reflection.enable_server_reflection(
            [*self._names[1:], reflection.SERVICE_NAME], self._server
        )

    async def bind(self, listen: str) -> str:
        """Bind and start, serving if it is open. Returns HOST:PORT with the real port.

        Raises ConfigInvalid where the address cannot be bound.
        """
        if not self._gate.open:
            await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        host, colon, port = listen.rpartition(":")
        if not colon or not port.isdigit():
            raise ConfigInvalid(f"server.listen: {listen!r} is not HOST:PORT")
        try:
            bound = self._server.add_insecure_port(listen)
        except RuntimeError as exc:
            raise ConfigInvalid(
                f"server.listen: cannot bind {listen}; is another process listening there?"
            ) from exc
        await self._server.start()
        return f"{host}:{bound}"

    async def open(self) -> None:
        """Let requests in."""
        self._gate.open = True
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, grace_period_s: float) -> None:
        """Refuse what is new, finish what is in flight, cancel what outlives the grace period."""
        self._gate.open = False
        self._gate.closed_because = "stopping: this server takes no new requests"
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        # While requests are in flight the port stays open: a new one gets a clear answer.
        started = time.monotonic()
        await self._gate.wait_idle(grace_period_s)
        await self._server.stop(max(0.0, grace_period_s - (time.monotonic() - started)))

    async def _set_health(self, status: int) -> None:
        for name in self._names:
            await self._health.set(name, status)
