"""`ServiceError` and `explain`, for errors that no server of ours sends, too."""

import pickle

import grpc
import pytest
from featsvc_client import Action, ServiceError, decide, explain
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from hypothesis import given
from hypothesis import strategies as st

codes = st.sampled_from([code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])


def raised(
    code: grpc.StatusCode, details: str | None, *metadata: tuple[str, bytes]
) -> aio.AioRpcError:
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(*metadata), details, "debug")


@given(codes, st.none() | st.text(max_size=50))
def test_an_error_without_details_keeps_its_code_and_text(
    code: grpc.StatusCode, details: str | None
) -> None:
    error = explain(raised(code, details), "here")
    assert (error.code(), error.details() or "") == (code, details or error.message)
    assert (error.reason, error.path, error.retry_after_ms, error.metadata) == ("", "", None, {})
    assert (details or code.name) in str(error)
    assert ("cannot reach here" in str(error)) == (code is grpc.StatusCode.UNAVAILABLE)
    assert explain(error) is error
    assert decide(error).action is Action.HOLD


@given(
    codes,
    *(st.text(max_size=20) for _ in range(3)),
    st.none() | st.integers(0, 10**6),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)
def test_an_error_is_pickled_with_all_it_says(
    code: grpc.StatusCode,
    reason: str,
    message: str,
    path: str,
    retry_after_ms: int | None,
    metadata: dict[str, str],
) -> None:
    error = ServiceError(code, reason, message, path, retry_after_ms, metadata)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)
    assert copy.__dict__ == error.__dict__
    assert (copy.code(), str(copy), repr(copy)) == (code, str(error), repr(error))


@pytest.mark.parametrize(
    "text",
    [
        "SERVER: Received message larger than max (50000000 vs. 4194304)",  # C-core today
        "Received message larger than max (50000000 vs. 4194304)",  # C-core 1.49
        "CLIENT: Sent message larger than max (50000000 vs. 4194304)",
        "Decompressed message larger than max",  # C-core, of a compressed one
        "grpc: received message larger than max (50000000 vs. 4194304)",  # a proxy in Go
    ],
)
def test_what_grpc_finds_too_large_is_never_later(text: str) -> None:
    error = explain(raised(grpc.StatusCode.RESOURCE_EXHAUSTED, text))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (error.reason, error.retry_after_ms) == ("MESSAGE_TOO_LARGE", None)
    assert text in str(error)


def test_details_of_a_newer_server_are_passed_over() -> None:
    status = status_pb2.Status(code=3, message="no")
    for detail in (
        error_details_pb2.Help(),
        error_details_pb2.BadRequest(),
        error_details_pb2.ErrorInfo(reason="NEW"),
    ):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    packed = status.SerializeToString()
    for metadata in (("grpc-status-details-bin", packed), ("x", b"y")):
        error = explain(raised(grpc.StatusCode.INVALID_ARGUMENT, "no", metadata))
        assert error.reason == ("NEW" if metadata[1] == packed else "")


def test_details_that_do_not_parse_are_passed_over() -> None:
    error = explain(
        raised(grpc.StatusCode.NOT_FOUND, "no", ("grpc-status-details-bin", b"\xff\xff"))
    )
    assert (error.code(), error.reason, str(error)) == (grpc.StatusCode.NOT_FOUND, "", "no")


def test_an_error_that_failed_says_that_it_is_over() -> None:
    error = ServiceError(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "no such bank")
    assert (error.is_active(), error.cancel(), error.add_callback(print)) == (False,) * 3
    assert error.time_remaining() is None
    assert error.details() == "no such bank"
