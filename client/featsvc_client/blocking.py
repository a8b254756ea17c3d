"""The calls of the blocking client: those of gRPC, with deadline, retries, token and errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import grpc

from featsvc_client import methods
from featsvc_client.errors import explain
from featsvc_client.policy import deadline_of, timeout_until


class _Call(methods.Call):
    """A future, or an iterator of answers."""

    def __iter__(self) -> _Call:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._inner)
        except grpc.RpcError as exc:
            raise self._explain(exc) from None

    def result(self, timeout: float | None = None) -> Any:
        try:
            return self._inner.result(timeout)
        except grpc.RpcError as exc:
            raise self._explain(exc) from None

    def exception(self, timeout: float | None = None) -> Any:
        exc = self._inner.exception(timeout)
        return self._explain(exc) if isinstance(exc, grpc.RpcError) else exc

    def add_done_callback(self, callback: Callable[[_Call], object]) -> None:
        self._inner.add_done_callback(lambda _: callback(self))


class _UnaryUnary(methods.Method):
    def __call__(self, *args: Any, **kw: Any) -> Any:
        return self._repeat(self._inner, args, kw)

    def with_call(self, *args: Any, **kw: Any) -> Any:
        return self._repeat(self._inner.with_call, args, kw)

    def future(self, *args: Any, **kw: Any) -> _Call:
        # Not made again: nobody may be waiting for it.
        return _Call(self._start(self._inner.future, args, kw), self._policy)

    def _repeat(self, call: Any, args: tuple[Any, ...], kw: Mapping[str, Any]) -> Any:
        policy = self._policy
        options = self._options(args, kw)
        deadline = deadline_of(options["timeout"])
        attempt = 1
        while True:
            try:
                answer = call(*args[:1], **options)
            except grpc.RpcError as exc:
                error = explain(exc, policy.target)
                request = args[0] if args else kw["request"]
                delay_s = policy.delay_s(error, request, attempt, deadline)
                if delay_s is None:
                    raise error from None
            else:
                policy.budget.earn()
                return answer
            time.sleep(delay_s)
            attempt += 1
            options["timeout"] = timeout_until(deadline)


class _StreamUnary(methods.Method):
    def __call__(self, *args: Any, **kw: Any) -> Any:
        return self._once(self._inner, args, kw)

    def with_call(self, *args: Any, **kw: Any) -> Any:
        return self._once(self._inner.with_call, args, kw)

    def future(self, *args: Any, **kw: Any) -> _Call:
        return _Call(self._start(self._inner.future, args, kw), self._policy)

    def _once(self, call: Any, args: tuple[Any, ...], kw: Mapping[str, Any]) -> Any:
        try:
            return self._start(call, args, kw)
        except grpc.RpcError as exc:
            raise explain(exc, self._policy.target) from None


class _Stream(methods.Method):
    def __call__(self, *args: Any, **kw: Any) -> _Call:
        return _Call(self._start(self._inner, args, kw), self._policy)


class Channel(methods.Channel):
    unary_unary_method = _UnaryUnary
    unary_stream_method = _Stream
    stream_unary_method = _StreamUnary
    stream_stream_method = _Stream
