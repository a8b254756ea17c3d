"""The calls of the asyncio client: those of gRPC, with deadline, retries, token and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

import grpc

from featsvc_client import methods
from featsvc_client.errors import ServiceError
from featsvc_client.policy import Policy, deadline_of, timeout_until


class _Call(methods.Call):
    """A call with a stream of requests, of answers, or of both."""

    _answers: AsyncIterator[Any] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._answers is None:
            self._answers = self._iterate()
        return self._answers

    async def _iterate(self) -> AsyncIterator[Any]:
        try:
            async for answer in self._inner:
                yield answer
        except grpc.RpcError as exc:
            raise self._explain(exc) from None

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            return (yield from self._inner.__await__())
        except grpc.RpcError as exc:
            raise self._explain(exc) from None

    async def read(self) -> Any:
        try:
            return await self._inner.read()
        except grpc.RpcError as exc:
            raise self._explain(exc) from None

    async def write(self, request: Any) -> None:
        try:
            await self._inner.write(request)
        except grpc.RpcError as exc:
            raise self._explain(exc) from None


class _UnaryCall(methods.Call):
    """A call with one request and one answer. It is made again while it is awaited.

    What is not defined here, such as `code()`, is that of the last try.
    """

    _retries: asyncio.Task[Any] | None = None

    def __init__(
        self, method: _UnaryUnary, args: tuple[Any, ...], options: dict[str, Any], policy: Policy
    ) -> None:
        self._method = method
        self._args = args
        self._options = options
        self._deadline = deadline_of(options["timeout"])
        super().__init__(method.start(args, options), policy)

    def __await__(self) -> Generator[Any, None, Any]:
        if self._retries is None:
            try:
                answer = yield from self._inner.__await__()
            except grpc.RpcError as exc:
                # Who else awaits this call waits for the same tries.
                if self._retries is None:
                    self._retries = asyncio.ensure_future(self._repeat(self._explain(exc)))
            else:
                self._policy.budget.earn()
                return answer
        return (yield from self._retries.__await__())

    def cancel(self) -> bool:
        pending = self._retries is not None and self._retries.cancel()
        return bool(self._inner.cancel()) or pending

    async def _repeat(self, error: ServiceError) -> Any:
        request = self._args[0] if self._args else self._options["request"]
        attempt = 1
        while True:
            delay_s = self._policy.delay_s(error, request, attempt, self._deadline)
            if delay_s is None:
                raise error
            await asyncio.sleep(delay_s)
            attempt += 1
            self._options["timeout"] = timeout_until(self._deadline)
            self._inner = self._method.start(self._args, self._options)
            try:
                answer = await self._inner
            except grpc.RpcError as exc:
                error = self._explain(exc)
            else:
                self._policy.budget.earn()
                return answer


class _UnaryUnary(methods.Method):
    def __call__(self, *args: Any, **kw: Any) -> _UnaryCall:
        return _UnaryCall(self, args[:1], self._options(args, kw), self._policy)

    def start(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Make one try of a call."""
        return self._inner(*args, **options)


class _Stream(methods.Method):
    def __call__(self, *args: Any, **kw: Any) -> _Call:
        return _Call(self._start(self._inner, args, kw), self._policy)


class Channel(methods.Channel):
    unary_unary_method = _UnaryUnary
    unary_stream_method = _Stream
    stream_unary_method = _Stream
    stream_stream_method = _Stream
