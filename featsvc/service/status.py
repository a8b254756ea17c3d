"""From an error to its gRPC status: one table, one function.

Details follow google.rpc: `ErrorInfo` always (a stable reason for programs), `BadRequest` where a
field is to blame, `RetryInfo` where trying again may help.
"""

import grpc
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
    errors.NotBuilt: grpc.StatusCode.UNIMPLEMENTED,
    errors.ConfigInvalid: grpc.StatusCode.FAILED_PRECONDITION,
    errors.DataCorrupt: grpc.StatusCode.DATA_LOSS,
    errors.FeatsvcError: grpc.StatusCode.INTERNAL,
}


def code_of(error: errors.FeatsvcError) -> grpc.StatusCode:
    """The code of the nearest class of the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def status_of(error: errors.FeatsvcError) -> status_pb2.Status:
    """The whole status with its details."""
    message = str(error)[:_MAX_MESSAGE_CHARS]
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    ]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=message
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, errors.Overloaded | errors.Unavailable):
        delay = Duration()
        delay.FromMilliseconds(error.retry_after_ms)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code_of(error).value[0], message=message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status
