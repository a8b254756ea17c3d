"""The exception of a failed call, with the details that the server attached to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

STATUS_DETAILS_KEY = "grpc-status-details-bin"
"""The key of the trailing metadata that holds a serialized `google.rpc.Status`."""

MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"


class ServiceError(aio.AioRpcError):
    """A call that failed. Calls of `Client` and `AsyncClient` raise it.

    It is a `grpc.RpcError`, and has the methods of one: `code()`, `details()`,
    `trailing_metadata()` and so on. `reason` is a stable word for programs, such as
    "INVALID_SIGNAL"; it is empty if the server was not reached or is not featsvc. `message` is for
    people. `path` is the field of the request that is wrong; empty if none is. `retry_after_ms` is
    None if a retry does not help. `metadata` has further facts. docs/errors.md lists the reasons.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str = "",
        message: str = "",
        path: str = "",
        retry_after_ms: int | None = None,
        metadata: Mapping[str, str] | None = None,
        *,
        cause: grpc.RpcError | None = None,
    ) -> None:
        """Make an error. `cause` is what gRPC raised."""
        facts: Any = cause  # its type does not have all methods of its classes
        super().__init__(
            code,
            facts and facts.initial_metadata(),
            facts and facts.trailing_metadata(),
            (facts and facts.details()) or message,
            facts and facts.debug_error_string(),
        )
        self.reason = reason
        self.message = message
        self.path = path
        self.retry_after_ms = retry_after_ms
        self.metadata = dict(metadata or {})

    def __str__(self) -> str:
        return (
            f"{self.code().name} ({self.reason}): {self.message}" if self.reason else self.message
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restored, (type(self), self.__dict__.copy()))

    # The rest of grpc.Call: code that handles errors of blocking stubs asks for this class.
    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> float | None:
        return None

    def cancel(self) -> bool:
        return False

    def add_callback(self, callback: object) -> bool:
        return False


grpc.Call.register(ServiceError)


def _restored(kind: type[ServiceError], state: dict[str, Any]) -> ServiceError:
    """Return an error as it was pickled."""
    error = kind.__new__(kind)
    error.__dict__.update(state)
    return error


def explain(error: grpc.RpcError, target: str = "the server") -> ServiceError:
    """Return an error of gRPC, such as a plain stub raises, with its details.

    `target` is the server's name in the message. A ServiceError is returned as it is.
    """
    if isinstance(error, ServiceError):
        return error
    code = error.code()
    message = error.details() or code.name
    facts = _facts(error)
    if code is grpc.StatusCode.UNAVAILABLE and not facts:
        message = f"cannot reach {target}: {message}; is `featsvc serve` running there?"
    elif code is grpc.StatusCode.RESOURCE_EXHAUSTED and "message larger than max" in message:
        # gRPC itself, here or there, refused it. Its code is that of an overload, which passes.
        code, facts = grpc.StatusCode.INVALID_ARGUMENT, {"reason": MESSAGE_TOO_LARGE}
    return ServiceError(code, message=message, cause=error, **facts)


def _facts(error: grpc.RpcError) -> dict[str, Any]:
    """Return the arguments of a ServiceError that the details of an error hold, if it has any."""
    # As pairs: the mapping of aio has keys of its own in old versions of gRPC.
    pairs = cast("Iterable[tuple[str, bytes]]", error.trailing_metadata() or ())
    packed = dict(tuple(pairs)).get(STATUS_DETAILS_KEY, b"")
    facts: dict[str, Any] = {}
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    with suppress(DecodeError):  # a proxy may have cut them
        for detail in status_pb2.Status.FromString(packed).details:
            if detail.Unpack(info):
                facts.update(reason=info.reason, metadata=dict(info.metadata))
            elif detail.Unpack(bad) and bad.field_violations:
                facts["path"] = bad.field_violations[0].field
            elif detail.Unpack(retry):
                facts["retry_after_ms"] = retry.retry_delay.ToMilliseconds()
    return facts
