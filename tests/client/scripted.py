"""A gRPC server of the whole contract whose answers a test chooses, for the tests of clients."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeAlias

import grpc
from featsvc_client import AsyncClient, Client
from google.protobuf.descriptor import MethodDescriptor

from featsvc.errors import FeatsvcError
from featsvc.service.status import code_of, status_of

ATTRIBUTES = {
    "screening": "ScreeningService",
    "hashing": "HashingService",
    "matching": "MatchingService",
    "features": "FeatureService",
    "banks": "BankService",
}
"""The attribute of a client, and the service."""

Outcome: TypeAlias = FeatsvcError | grpc.StatusCode | None
"""An error of featsvc with its details, a code without any, or an answer."""

FLAVOURS = ("blocking", "asyncio")


def methods() -> dict[str, MethodDescriptor]:
    """Every method, as "attribute.Method"."""
    found = {}
    for attribute, service in ATTRIBUTES.items():
        module = import_module(f"featsvc_client.v1.{attribute}_pb2")
        for method in module.DESCRIPTOR.services_by_name[service].methods:
            found[f"{attribute}.{method.name}"] = method
    return found


def request_of(name: str) -> Any:
    """An empty request of a method."""
    kind = methods()[name].input_type
    return getattr(import_module(f"featsvc_client.v1.{name.partition('.')[0]}_pb2"), kind.name)()


@dataclass
class Seen:
    """A call as the server sees it; without a deadline `time_remaining_s` is very long."""

    method: str
    time_remaining_s: float
    metadata: dict[str, Any]


@dataclass
class Scripted(grpc.GenericRpcHandler):
    """Serves every method: the next outcome of `script` each time, else an empty answer."""

    script: list[Outcome] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    address: str = ""

    def service(self, handler_call_details: Any) -> Any:
        path = handler_call_details.method
        _, service, name = path.split("/")
        attribute = next(a for a, s in ATTRIBUTES.items() if service.endswith(f".{s}"))
        method = methods()[f"{attribute}.{name}"]

        def answer(request: Any, context: Any) -> bytes:
            if method.client_streaming:
                next(request)
            self.seen.append(
                Seen(path, context.time_remaining(), dict(context.invocation_metadata()))
            )
            outcome = self.script.pop(0) if self.script else None
            if isinstance(outcome, FeatsvcError):
                status = status_of(outcome)
                context.set_trailing_metadata(
                    (("grpc-status-details-bin", status.SerializeToString()),)
                )
                context.abort(code_of(outcome), status.message)
            elif outcome is not None:
                context.abort(outcome, "as the test says")
            return b""

        def stream(requests: Any, context: Any) -> Iterator[bytes]:
            yield answer(requests, context)

        kind = "_".join(
            "stream" if streaming else "unary"
            for streaming in (method.client_streaming, method.server_streaming)
        )
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(stream if method.server_streaming else answer)


@contextmanager
def scripted(credentials: grpc.ServerCredentials | None = None) -> Iterator[Scripted]:
    """Serve on a free port."""
    handler = Scripted()
    with futures.ThreadPoolExecutor(max_workers=8) as pool:
        server = grpc.server(pool, handlers=[handler])
        port = (
            server.add_secure_port("127.0.0.1:0", credentials)
            if credentials
            else server.add_insecure_port("127.0.0.1:0")
        )
        handler.address = f"127.0.0.1:{port}"
        server.start()
        try:
            yield handler
        finally:
            server.stop(None).wait()


def ask(flavour: str, address: str, name: str, request: Any = None, **options: Any) -> Any:
    """Make a call with a client of its own; return the answer, or all answers of a stream.

    `name` is as of `methods`. `timeout` and `metadata` are the call's, other options the client's.
    """
    of_call = {key: options.pop(key) for key in ("timeout", "metadata") if key in options}
    request = request_of(name) if request is None else request
    attribute, method = name.split(".")
    descriptor = methods()[name]
    if flavour == "blocking":
        with Client(address, **options) as client:
            argument = iter([request]) if descriptor.client_streaming else request
            answer = getattr(getattr(client, attribute), method)(argument, **of_call)
            return list(answer) if descriptor.server_streaming else answer

    async def requests() -> AsyncIterator[Any]:
        yield request
        # Where a stream is ended from both sides at once, gRPC may lose the server's status.
        await asyncio.Event().wait()

    async def main() -> Any:
        async with AsyncClient(address, **options) as client:
            argument = requests() if descriptor.client_streaming else request
            call = getattr(getattr(client, attribute), method)(argument, **of_call)
            return [one async for one in call] if descriptor.server_streaming else await call

    return asyncio.run(main())
