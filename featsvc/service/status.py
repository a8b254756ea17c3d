"""From an error to what a caller gets: one table, one function.

A unary call has a status, whose details follow google.rpc: `ErrorInfo` always (a stable reason
for programs), `BadRequest` where a field is to blame, `RetryInfo` where trying again may help. A
request of a stream has a `ScreenError`, which says the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from featsvc_client.v1 import screening_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from featsvc import errors

DOMAIN = "featsvc"
# Statuses travel as HTTP/2 headers, of which clients take 8 KiB by default.
_MAX_MESSAGE_CHARS = 1000

STATUS: dict[type[errors.FeatsvcError], grpc.StatusCode] = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.TimedOut: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.ConfigInvalid: grpc.StatusCode.FAILED_PRECONDITION,
    errors.DataCorrupt: grpc.StatusCode.DATA_LOSS,
    errors.FeatsvcError: grpc.StatusCode.INTERNAL,
}


def code_of(error: errors.FeatsvcError) -> grpc.StatusCode:
    """The code of the nearest class of the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


@dataclass(frozen=True, slots=True)
class _Facts:
    """`field` is empty where none is to blame, `retry_delay` None where a retry will not help."""

    code: int
    reason: str
    message: str
    field: str
    retry_delay: Duration | None
    metadata: Mapping[str, str]


def _facts_of(error: errors.FeatsvcError) -> _Facts:
    delay = None
    if isinstance(error, errors.Overloaded | errors.Unavailable):
        delay = Duration()
        delay.FromMilliseconds(error.retry_after_ms)
    message = str(error)[:_MAX_MESSAGE_CHARS]
    code = code_of(error).value[0]
    return _Facts(code, error.reason, message, error.field, delay, error.metadata)


def status_of(error: errors.FeatsvcError) -> status_pb2.Status:
    """The whole status with its details."""
    facts = _facts_of(error)
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=facts.reason, domain=DOMAIN, metadata=facts.metadata)
    ]
    if facts.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=facts.field, description=facts.message
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if facts.retry_delay is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=facts.retry_delay))
    status = status_pb2.Status(code=facts.code, message=facts.message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def screen_error(error: errors.FeatsvcError) -> screening_pb2.ScreenError:
    """The same for one request of a stream."""
    facts = _facts_of(error)
    return screening_pb2.ScreenError(
        code=facts.code,
        reason=facts.reason,
        message=facts.message,
        field=facts.field,
        retry_delay=facts.retry_delay,
        metadata=facts.metadata,
    )
