"""A worker with one more method, which does nothing: what the server stack itself costs.

    python -m bench.echo DATA_DIR

`/featsvc.bench.Echo/Echo` takes and gives `google.protobuf.Empty`, through the same server,
interceptor and event loop as every other method. Prints `serving on HOST:PORT`.
"""

import sys
from typing import Any
from unittest import mock

import grpc
import uvloop
from google.protobuf.empty_pb2 import Empty
from grpc import aio

from featsvc import worker
from featsvc.config import load_config
from featsvc.processes import run_until_stopped
from featsvc.service import mounts
from featsvc.service.server import Mount

METHOD = "/featsvc.bench.Echo/Echo"


class Echo:
    async def echo(self, request: Empty, context: aio.ServicerContext[Any, Any]) -> Empty:
        return request


def register(servicer: object, server: aio.Server) -> None:
    assert isinstance(servicer, Echo)
    handler = grpc.unary_unary_rpc_method_handler(
        servicer.echo,
        request_deserializer=Empty.FromString,
        response_serializer=Empty.SerializeToString,
    )
    _, service, method = METHOD.split("/")
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )


def main(data_dir: str) -> None:
    def with_echo(*parts: Any, **more: Any) -> list[Mount]:
        return [*mounts(*parts, **more), Mount(Echo(), register, METHOD.split("/")[1])]

    config = load_config(
        environ={}, overrides={"data_dir": data_dir, "server.listen": "127.0.0.1:0"}
    )
    spec = worker.WorkerSpec(config, 0, "unix:///nowhere")
    serving = worker.working(spec)
    with mock.patch("featsvc.worker.mounts", with_echo):
        uvloop.run(
            run_until_stopped(serving, lambda address: print(f"serving on {address}", flush=True))
        )


if __name__ == "__main__":
    main(sys.argv[1])
