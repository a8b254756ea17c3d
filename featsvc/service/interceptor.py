"""The server interceptor: readiness, size of messages, statuses of errors, metrics.

A FeatsvcError becomes its status. Any other exception is a bug: the caller gets INTERNAL with an
incident number, and the log has the stack under that number. The text of the exception goes to
neither, as it may quote the request.
"""

from __future__ import annotations  # grpc types are generic for type checkers only

import asyncio
import contextlib
import logging
import secrets
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from featsvc import errors
from featsvc.service.metrics import Metrics
from featsvc.service.status import code_of, status_of

log = logging.getLogger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context = aio.ServicerContext[Any, Any]
Deserializer = Callable[[bytes], Any]


def _parse(deserialize: Deserializer, max_message_bytes: int) -> Deserializer:
    """Return a deserializer that returns an error where a message is too large or wrong.

    Where a deserializer raises, gRPC answers UNKNOWN.
    """

    def parse(data: bytes) -> Any:
        if len(data) > max_message_bytes:
            return errors.MessageTooLarge(
                f"request: a message of {len(data):,} bytes, the limit is {max_message_bytes:,} "
                "(media.max_content_bytes and 1 MiB); send less content, or fewer items, in one",
                metadata={"bytes": str(len(data)), "max_bytes": str(max_message_bytes)},
            )
        try:
            return deserialize(data)
        except DecodeError as exc:
            if "UTF-8" in str(exc):
                return errors.InvalidInput(
                    "request: a string field is not UTF-8; convert the text, or send it as bytes "
                    "in content.data",
                    reason="TEXT_NOT_UTF8",
                )
            return errors.InvalidInput("request: not a message of the type that this method takes")

    return parse


class _Call:
    """One call: counts it while it is in flight, and aborts it with the status of its error."""

    def __init__(self, interceptor: RequestInterceptor, method: str, context: Context) -> None:
        self._interceptor = interceptor
        self._method = method
        self._context = context
        self._started = time.perf_counter()
        self._parse_error: errors.FeatsvcError | None = None

    async def __aenter__(self) -> _Call:
        self._interceptor.in_flight += 1
        self._interceptor.idle.clear()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._interceptor.in_flight -= 1
        if not self._interceptor.in_flight:
            self._interceptor.idle.set()
        if exc is None:
            self._count("OK")
            return
        # A task of the servicer raises the parse error in a group.
        error = self._parse_error or exc
        if isinstance(error, asyncio.CancelledError | GeneratorExit | aio.AbortError):
            self._count("CANCELLED")
        elif isinstance(error, Exception):
            if not isinstance(error, errors.FeatsvcError):
                error = incident(self._method, error)
            code = code_of(error)
            self._count(code.name)
            status = status_of(error)
            details = (("grpc-status-details-bin", status.SerializeToString()),)
            await self._context.abort(code, status.message, details)

    def message(self, request: Any) -> Any:
        """Return the request. Raises the error that `_parse` returned in its place."""
        if isinstance(request, errors.FeatsvcError):
            self._parse_error = request
            raise request
        return request

    async def messages(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield the requests of a stream, as `message` does."""
        async for request in requests:
            yield self.message(request)

    def _count(self, code: str) -> None:
        metrics = self._interceptor.metrics
        metrics.requests.labels(self._method, code).inc()
        metrics.seconds.labels(self._method).observe(time.perf_counter() - self._started)


class RequestInterceptor(aio.ServerInterceptor):
    """Accepts calls of featsvc's services while `open`, and converts their errors to statuses."""

    def __init__(self, metrics: Metrics, max_message_bytes: int = sys.maxsize) -> None:
        self.open = False
        self.closed_because = "the server is starting: it warms up kernels and loads banks"
        self.in_flight = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.metrics = metrics
        self._max_message_bytes = max_message_bytes
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or not method.startswith("/featsvc."):
                return handler
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    async def wait_idle(self, timeout_s: float) -> None:
        """Wait until no call is in flight, or `timeout_s` have passed."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.idle.wait(), timeout_s)

    def _wrap(self, method: str, handler: Handler) -> Handler:
        """Return the handler with every call run in a `_Call`."""
        name = method.rpartition("/")[2]
        behaviour, make = next(
            (cast(Callable[..., Any], getattr(handler, kind)), make)
            for kind, make in (
                ("unary_unary", grpc.unary_unary_rpc_method_handler),
                ("unary_stream", grpc.unary_stream_rpc_method_handler),
                ("stream_unary", grpc.stream_unary_rpc_method_handler),
                ("stream_stream", grpc.stream_stream_rpc_method_handler),
            )
            if getattr(handler, kind)
        )

        def check() -> None:
            if not self.open:
                raise errors.Unavailable(self.closed_because, reason="NOT_SERVING")

        receive = _Call.messages if handler.request_streaming else _Call.message

        async def respond(request: Any, context: Context) -> Any:
            async with _Call(self, name, context) as call:
                check()
                return await behaviour(receive(call, request), context)

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            async with _Call(self, name, context) as call:
                check()
                # Closed here, not some time later: a call is in flight until its work has ended.
                async with contextlib.aclosing(
                    behaviour(receive(call, request), context)
                ) as answers:
                    async for message in answers:
                        yield message

        guarded: Any = stream if handler.response_streaming else respond
        return make(
            guarded,
            request_deserializer=_parse(
                cast(Deserializer, handler.request_deserializer), self._max_message_bytes
            ),
            response_serializer=handler.response_serializer,
        )


def incident(name: str, exc: Exception) -> errors.FeatsvcError:
    """Log the stack of an unexpected exception; return the error to answer with."""
    number = secrets.token_hex(4)
    frames = "".join(traceback.format_tb(exc.__traceback__))
    log.error("incident %s: %s in %s\n%s", number, type(exc).__name__, name, frames)
    return errors.FeatsvcError(
        f"internal error, incident {number}; the server's log has the stack under that number"
    )
