"""The details that the server attaches to the error of a call."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

import grpc
from google.rpc import error_details_pb2, status_pb2


@dataclass(eq=False)
class ServiceError(Exception):
    """A call that failed.

    `code` is the gRPC code. `reason` is a stable word for programs, such as "INVALID_SIGNAL"; it is
    empty if the server was not reached. `path` is the field of the request that is wrong; empty if
    none is. `retry_after_ms` is None if a retry does not help. `metadata` has further facts.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    path: str = ""
    retry_after_ms: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.code.name} ({self.reason}): {self.message}" if self.reason else self.message


def explain(error: grpc.RpcError, target: str = "the server") -> ServiceError:
    """Return an error with its details. `target` is the server's name in the message."""
    code = error.code()
    message = error.details() or code.name
    reason, path, retry_after_ms, metadata = "", "", None, {}
    trailing = dict(cast("Iterable[tuple[str, bytes]]", error.trailing_metadata() or ()))
    if packed := trailing.get("grpc-status-details-bin"):
        for detail in status_pb2.Status.FromString(packed).details:
            info = error_details_pb2.ErrorInfo()
            bad = error_details_pb2.BadRequest()
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                path = bad.field_violations[0].field
            elif detail.Unpack(retry):
                retry_after_ms = retry.retry_delay.ToMilliseconds()
    if code is grpc.StatusCode.UNAVAILABLE and not reason:
        message = f"cannot reach {target}: {message}; is `featsvc serve` running there?"
    return ServiceError(code, reason, message, path, retry_after_ms, metadata)
