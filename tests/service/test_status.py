"""The table from errors to gRPC statuses."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from featsvc import errors
from featsvc.service.status import STATUS, code_of, status_of


def tree(kind: type[errors.FeatsvcError]) -> list[type[errors.FeatsvcError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in tree(child))]


def details(status: status_pb2.Status, kind: type) -> list[object]:
    messages = []
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            messages.append(message)
    return messages


@pytest.mark.parametrize("kind", tree(errors.FeatsvcError))
def test_every_error_has_a_status_and_a_documented_reason(
    kind: type[errors.FeatsvcError],
) -> None:
    error = kind("what, where, what to do")
    status = status_of(error)
    assert status.code == code_of(error).value[0]
    assert code_of(error) not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN)
    (info,) = details(status, error_details_pb2.ErrorInfo)
    assert info == error_details_pb2.ErrorInfo(reason=kind.reason, domain="featsvc")


def test_no_row_of_the_table_is_shadowed() -> None:
    assert all(code_of(kind("")) is code for kind, code in STATUS.items())


def test_a_field_becomes_a_violation() -> None:
    status = status_of(errors.InvalidInput("entities: too many", field="entities"))
    (bad,) = details(status, error_details_pb2.BadRequest)
    assert 'field: "entities"' in str(bad)


def test_retry_advice_is_sent() -> None:
    status = status_of(errors.Overloaded("full", retry_after_ms=250))
    (retry,) = details(status, error_details_pb2.RetryInfo)
    assert "250000000" in str(retry)


def test_a_long_message_fits_the_headers() -> None:
    assert len(status_of(errors.InvalidInput("x" * 100_000, field="f")).SerializeToString()) < 4096
