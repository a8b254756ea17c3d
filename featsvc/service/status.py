"""Convert errors to gRPC statuses, by one table.

The details of a status follow google.rpc: always `ErrorInfo` with a stable reason for programs,
`BadRequest` where a field is at fault, `RetryInfo` where a retry may help. The `ScreenError` of a
request in a stream has the same content.
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
# A status is sent as HTTP/2 headers; clients accept 8 KiB of them by default.
_MAX_MESSAGE_CHARS = 1000

STATUS: dict[type[errors.FeatsvcError], grpc.StatusCode] = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.Refused: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.TimedOut: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.ConfigInvalid: grpc.StatusCode.FAILED_PRECONDITION,
    errors.DataCorrupt: grpc.StatusCode.DATA_LOSS,
    errors.FeatsvcError: grpc.StatusCode.INTERNAL,
}


def code_of(error: errors.FeatsvcError) -> grpc.StatusCode:
    """Return the code of the nearest class in the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


@dataclass(frozen=True, slots=True)
class _ErrorFields:
    """`field` is empty where none is at fault, `retry_delay` None where a retry does not help."""

    code: int
    reason: str
    message: str
    field: str
    retry_delay: Duration | None
    metadata: Mapping[str, str]


def _fields_of(error: errors.FeatsvcError) -> _ErrorFields:
    delay = None
    if isinstance(error, errors.Overloaded | errors.Unavailable):
        delay = Duration()
        delay.FromMilliseconds(error.retry_after_ms)
    message = str(error)[:_MAX_MESSAGE_CHARS]
    code = code_of(error).value[0]
    return _ErrorFields(code, error.reason, message, error.field, delay, error.metadata)


def status_of(error: errors.FeatsvcError) -> status_pb2.Status:
    """Return the status with its details."""
    fields = _fields_of(error)
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=fields.reason, domain=DOMAIN, metadata=fields.metadata)
    ]
    if fields.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=fields.field, description=fields.message
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if fields.retry_delay is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=fields.retry_delay))
    status = status_pb2.Status(code=fields.code, message=fields.message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def screen_error(error: errors.FeatsvcError) -> screening_pb2.ScreenError:
    """Return the error of one request in a stream."""
    fields = _fields_of(error)
    return screening_pb2.ScreenError(
        code=fields.code,
        reason=fields.reason,
        message=fields.message,
        field=fields.field,
        retry_delay=fields.retry_delay,
        metadata=fields.metadata,
    )
