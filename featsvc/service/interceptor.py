"""The one interceptor: readiness, errors to statuses, metrics.

An error of ours becomes its status. Anything else is a bug: the caller gets INTERNAL with an
incident number, the log gets the same number with the place it happened. The exception's own
text is left out of both, since it may quote what the caller sent.
"""

from __future__ import annotations  # grpc types are generic for type checkers only

import asyncio
import contextlib
import logging
import secrets
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
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


Parse = Callable[[bytes], Any]


def _parse(parse: Parse) -> Parse:
    """The same, but what is no message comes out as the error to answer with: grpc itself would
    say UNKNOWN."""

    def parsed(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError as exc:
            if "UTF-8" in str(exc):
                return errors.InvalidInput(
                    "request: a string field holds bytes that are not UTF-8; convert the text, or "
                    "send it as bytes in content.data",
                    reason="TEXT_NOT_UTF8",
                )
            return errors.InvalidInput("request: is not the message that this method takes")

    return parsed


class _Readable:
    """A request, or a stream of them, that raises what `_parse` gave in a message's place.

    `error` is that one, since a servicer's own tasks may raise it in another guise.
    """

    def __init__(self, request: Any) -> None:
        self._request = request
        self.error: errors.FeatsvcError | None = None

    @property
    def only(self) -> Any:
        return self._check(self._request)

    @property
    async def whole(self) -> AsyncIterator[Any]:
        async for request in self._request:
            yield self._check(request)

    def _check(self, request: Any) -> Any:
        if isinstance(request, errors.FeatsvcError):
            self.error = request
            raise request
        return request


class Gate(aio.ServerInterceptor):
    """Lets requests of ours in while `open`, and turns what they raise into statuses."""

    def __init__(self, metrics: Metrics) -> None:
        self.open = False
        self.closed_because = "starting: kernels are warming up and banks are loading"
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._metrics = metrics
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
        """Until no request is in flight, or the time is up."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)

    def _enter(self) -> None:
        self._in_flight += 1
        self._idle.clear()

    def _leave(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()

    def _wrap(self, method: str, handler: Handler) -> Handler:
        """The same handler, guarded. Handlers live as long as the server, so wrap once."""
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

        async def answer(request: Any, context: Context) -> Any:
            started = time.perf_counter()
            requests = _Readable(request)
            try:
                check()
                request = requests.whole if handler.request_streaming else requests.only
                self._enter()
                try:
                    result = await behaviour(request, context)
                finally:
                    self._leave()
            except BaseException as exc:
                await self._fail(name, started, requests.error or exc, context)
                raise
            self._count(name, started, "OK")
            return result

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            started = time.perf_counter()
            requests = _Readable(request)
            try:
                check()
                request = requests.whole if handler.request_streaming else requests.only
                self._enter()
                try:
                    async for message in behaviour(request, context):
                        yield message
                finally:
                    self._leave()
            except BaseException as exc:
                await self._fail(name, started, requests.error or exc, context)
                raise
            self._count(name, started, "OK")

        guarded: Any = stream if handler.response_streaming else answer
        return make(
            guarded,
            request_deserializer=_parse(cast(Parse, handler.request_deserializer)),
            response_serializer=handler.response_serializer,
        )

    async def _fail(self, name: str, started: float, exc: BaseException, context: Context) -> None:
        """Abort with the status of `exc`; return only where grpc must see `exc` itself."""
        if isinstance(exc, asyncio.CancelledError | GeneratorExit | aio.AbortError):
            self._count(name, started, "CANCELLED")
            return
        if not isinstance(exc, errors.FeatsvcError):
            if not isinstance(exc, Exception):
                return
            exc = incident(name, exc)
        self._count(name, started, code_of(exc).name)
        status = status_of(exc)
        details = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(code_of(exc), status.message, details)

    def _count(self, name: str, started: float, code: str) -> None:
        self._metrics.requests.labels(name, code).inc()
        self._metrics.seconds.labels(name).observe(time.perf_counter() - started)


def incident(name: str, exc: Exception) -> errors.FeatsvcError:
    """A bug as the error to answer with; its place goes to the log under the same number."""
    number = secrets.token_hex(4)
    frames = "".join(traceback.format_tb(exc.__traceback__))
    log.error("incident %s: %s in %s\n%s", number, type(exc).__name__, name, frames)
    return errors.FeatsvcError(
        f"internal error, incident {number}; the server's log has the place under that number"
    )
