"""What both clients give to the generated stubs in place of a channel of gRPC.

A stub asks its channel for an object per method. Ours wrap those of gRPC and add the policy, for a
few microseconds a call, where an interceptor of gRPC costs tens. Their signatures are gRPC's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from featsvc_client.errors import ServiceError, explain
from featsvc_client.policy import Policy, chosen_timeout

_OPTIONS = ("timeout", "metadata", "credentials", "wait_for_ready", "compression")


class Method:
    """One method of a service: gRPC's object for it, and how its calls follow the policy."""

    def __init__(self, inner: Any, name: str, policy: Policy, *, streaming: bool) -> None:
        self._inner = inner
        self._policy = policy
        self._timeout_s = policy.default_timeout_s(name, streaming)

    def _options(self, args: tuple[Any, ...], kw: Mapping[str, Any]) -> dict[str, Any]:
        """Return all arguments but a positional request by name, with the policy's timeout."""
        options = {**kw}
        if len(args) > 1:
            options.update(zip(_OPTIONS, args[1:]))
        options["timeout"] = chosen_timeout(options.get("timeout"), self._timeout_s)
        options["metadata"] = self._policy.metadata(options.get("metadata"))
        return options

    def _start(self, call: Any, args: tuple[Any, ...], kw: Mapping[str, Any]) -> Any:
        """Start a call that is not made again."""
        return call(*args[:1], **self._options(args, kw))


class Call:
    """A call that has started: what gRPC returned for it, with our errors."""

    def __init__(self, inner: Any, policy: Policy) -> None:
        self._inner = inner
        self._policy = policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _explain(self, error: grpc.RpcError) -> ServiceError:
        return explain(error, self._policy.target)


class Channel:
    """A channel of gRPC, for stubs whose calls follow a policy. Subclasses name the methods."""

    unary_unary_method: type[Method]
    unary_stream_method: type[Method]
    stream_unary_method: type[Method]
    stream_stream_method: type[Method]

    def __init__(self, channel: Any, policy: Policy) -> None:
        self._channel = channel
        self._policy = policy

    def unary_unary(self, name: str, **codecs: Any) -> Method:
        inner = self._channel.unary_unary(name, **codecs)
        return self.unary_unary_method(inner, name, self._policy, streaming=False)

    def unary_stream(self, name: str, **codecs: Any) -> Method:
        inner = self._channel.unary_stream(name, **codecs)
        return self.unary_stream_method(inner, name, self._policy, streaming=True)

    def stream_unary(self, name: str, **codecs: Any) -> Method:
        inner = self._channel.stream_unary(name, **codecs)
        return self.stream_unary_method(inner, name, self._policy, streaming=True)

    def stream_stream(self, name: str, **codecs: Any) -> Method:
        inner = self._channel.stream_stream(name, **codecs)
        return self.stream_stream_method(inner, name, self._policy, streaming=True)
