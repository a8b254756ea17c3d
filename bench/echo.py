"""A worker with two more methods: the cost of the server stack, and of the search alone in it.

Started by `bench.unary`.

`/featsvc.bench.Echo/Echo` takes and returns `google.protobuf.Empty`, through the same server,
interceptor and event loop as every other method. `Search` takes a `MatchRequest`, searches the
largest index for its PDQ signal, applies no rule, and returns Empty: the minimum cost of a `Match`.
Prints `serving on HOST:PORT`.
"""

from collections.abc import Sequence
from typing import Any
from unittest import mock

import grpc
import numpy as np
import uvloop
from featsvc_client.v1 import matching_pb2
from google.protobuf.empty_pb2 import Empty
from grpc import aio

from bench.command import Command
from bench.unary import ECHO, SEARCH
from featsvc import worker
from featsvc.config import load_config
from featsvc.matching.follower import Follower
from featsvc.processes import run_until_stopped
from featsvc.requests import Runtime
from featsvc.service import grpc_services
from featsvc.service.server import GrpcService

_EMPTY = Empty()


class Echo:
    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    async def echo(self, request: Empty, context: aio.ServicerContext[Any, Any]) -> Empty:
        return request

    async def search(
        self, request: matching_pb2.MatchRequest, context: aio.ServicerContext[Any, Any]
    ) -> Empty:
        query = np.frombuffer(bytes.fromhex(request.signal.value), np.uint8).reshape(1, -1)
        index = self._follower.snapshot._views[0].part.indexes["pdq"]
        index.engine.search(query, index.kind.default_threshold)
        return _EMPTY


def register(servicer: object, server: aio.Server) -> None:
    assert isinstance(servicer, Echo)
    handlers = {
        path.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(
            behaviour,
            request_deserializer=reads.FromString,
            response_serializer=Empty.SerializeToString,
        )
        for path, behaviour, reads in (
            (ECHO, servicer.echo, Empty),
            (SEARCH, servicer.search, matching_pb2.MatchRequest),
        )
    }
    service = ECHO.split("/")[1]
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))


def main(argv: Sequence[str] | None = None) -> None:
    command = Command("echo", __doc__ or "", takes="until it is stopped")
    command.parser.add_argument("data_dir", help="folder with a bank store and a segment")
    data_dir = command.parser.parse_args(argv).data_dir

    def with_echo(runtime: Runtime, *parts: Any, **more: Any) -> list[GrpcService]:
        echo = GrpcService(ECHO.split("/")[1], Echo(runtime.follower), register)
        return [*grpc_services(runtime, *parts, **more), echo]

    config = load_config(
        environ={}, overrides={"data_dir": data_dir, "server.listen": "127.0.0.1:0"}
    )
    spec = worker.WorkerSpec(config, 0, "unix:///nowhere")
    serving = worker.serving_worker(spec)
    with mock.patch("featsvc.worker.grpc_services", with_echo):
        uvloop.run(
            run_until_stopped(serving, lambda address: print(f"serving on {address}", flush=True))
        )


if __name__ == "__main__":
    main()
