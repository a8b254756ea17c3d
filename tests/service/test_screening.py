"""A failed request of a stream has the same error as a failed unary call."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from featsvc_client import explain
from featsvc_client.v1 import screening_pb2, screening_pb2_grpc, types_pb2
from grpc import aio

from featsvc import errors
from featsvc.service.interceptor import RequestInterceptor
from featsvc.service.metrics import Metrics
from featsvc.service.screening import ScreeningServicer
from tests.service.test_status import tree

REQUEST = screening_pb2.ScreenRequest(request_id="r", content=types_pb2.Content(data=b"x"))


def full_error(kind: type[errors.FeatsvcError]) -> errors.FeatsvcError:
    """An error of the class with every field set."""
    if issubclass(kind, errors.Overloaded | errors.Unavailable):
        return kind("full; wait", retry_after_ms=1250)
    return kind("x" * 2000, field="content.data", metadata={"limit": "7"})


class Failing(ScreeningServicer):
    """Every request fails with the same error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def _screen(self, request: screening_pb2.ScreenRequest) -> screening_pb2.ScreenResponse:
        raise self.error


def fail_both(error: Exception) -> tuple[Any, screening_pb2.ScreenError]:
    """The errors of Screen and ScreenStream."""

    async def requests() -> AsyncIterator[screening_pb2.ScreenRequest]:
        yield REQUEST
        yield REQUEST

    async def main() -> tuple[Any, screening_pb2.ScreenError]:
        interceptor = RequestInterceptor(Metrics())
        interceptor.open = True
        server = aio.server(interceptors=[interceptor])
        screening_pb2_grpc.add_ScreeningServiceServicer_to_server(Failing(error), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = screening_pb2_grpc.ScreeningServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                await stub.Screen(REQUEST)
            first, second = [answer async for answer in stub.ScreenStream(requests())]
        await server.stop(None)
        assert (first.request_id, first.WhichOneof("result")) == ("r", "error")
        assert second.WhichOneof("result") == "error", "the stream went on"
        return explain(caught.value), first.error

    return asyncio.run(main())


@pytest.mark.parametrize("kind", tree(errors.FeatsvcError))
def test_an_error_of_a_stream_equals_that_of_a_call(kind: type[errors.FeatsvcError]) -> None:
    unary, streamed = fail_both(full_error(kind))
    assert streamed.code == unary.code().value[0]
    assert (streamed.reason, streamed.message) == (unary.reason, unary.message)
    assert (streamed.field, dict(streamed.metadata)) == (unary.path, unary.metadata)
    delay = streamed.retry_delay.ToMilliseconds() if streamed.HasField("retry_delay") else None
    assert delay == unary.retry_after_ms
    retried = issubclass(kind, errors.Overloaded | errors.Unavailable)
    assert streamed.HasField("retry_delay") == retried
    assert retried or (streamed.field, len(streamed.message)) == ("content.data", 1000)


def test_a_bug_is_an_incident_of_its_request_only() -> None:
    unary, streamed = fail_both(ZeroDivisionError("secret"))
    assert streamed.code == unary.code().value[0] == grpc.StatusCode.INTERNAL.value[0]
    for message in (unary.message, streamed.message):
        assert message.startswith("internal error, incident ")
        assert "secret" not in message
