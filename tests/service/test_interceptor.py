"""Calls in flight: a stopping server waits for the last of them. The size of messages."""

import asyncio
from typing import Any

import grpc
from featsvc_client import explain
from featsvc_client.v1 import features_pb2, features_pb2_grpc
from grpc import aio

from featsvc.service.features import FeatureServicer
from featsvc.service.interceptor import RequestInterceptor
from featsvc.service.metrics import Metrics
from tests.patience import PATIENCE_S


class BlockedStore:
    """Answers calls one at a time, when the test says so."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(0)
        self.entered = 0

    async def ingest(self, events: Any, *, backfill: Any = None) -> list[Any]:
        self.entered += 1
        await self.turns.acquire()
        return []


def test_idle_means_that_no_call_is_in_flight() -> None:
    async def main() -> None:
        store: Any = BlockedStore()
        interceptor = RequestInterceptor(Metrics())
        interceptor.open = True
        server = aio.server(interceptors=[interceptor])
        features_pb2_grpc.add_FeatureServiceServicer_to_server(FeatureServicer(store), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            await interceptor.wait_idle(60)
            async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub: Any = features_pb2_grpc.FeatureServiceStub(channel)
                request = features_pb2.IngestEventsRequest()
                calls = [asyncio.ensure_future(stub.IngestEvents(request)) for _ in range(2)]
                while store.entered < 2:
                    await asyncio.sleep(0.01)
                idle = asyncio.create_task(interceptor.wait_idle(60))
                store.turns.release()
                await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(0)
                assert not idle.done()
                store.turns.release()
                await asyncio.gather(*calls)
                await asyncio.wait_for(interceptor.idle.wait(), PATIENCE_S)
                await idle
        finally:
            await server.stop(None)

    asyncio.run(main())


class SizingServicer(FeatureServicer):
    """Answers every batch, and keeps the sizes of what arrives."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def IngestEvents(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.sizes.append(request.ByteSize())
        return features_pb2.IngestEventsResponse()

    async def IngestEventStream(self, requests: Any, context: Any) -> Any:  # noqa: N802
        async for request in requests:
            yield await self.IngestEvents(request, context)


def test_a_message_over_the_limit_is_refused_to_the_byte() -> None:
    """In calls and streams, with details, as a mistake of the caller; it is never parsed."""
    limit = 1000

    async def main() -> None:
        interceptor = RequestInterceptor(Metrics(), limit)
        interceptor.open = True
        server = aio.server(interceptors=[interceptor])
        servicer = SizingServicer()
        features_pb2_grpc.add_FeatureServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub: Any = features_pb2_grpc.FeatureServiceStub(channel)

                async def streamed(request: Any) -> None:
                    call = stub.IngestEventStream()
                    await call.write(request)
                    await call.read()

                for size in (limit - 1, limit, limit + 1, 2 * limit):
                    request = features_pb2.IngestEventsRequest(tag="x" * (size - 3))
                    assert request.ByteSize() == size
                    for send in (stub.IngestEvents, streamed):
                        servicer.sizes.clear()
                        error = None
                        try:
                            await send(request)
                        except grpc.RpcError as exc:
                            error = explain(exc)
                        assert servicer.sizes == ([size] if size <= limit else [])
                        assert (error is None) == (size <= limit)
                        if error is not None:
                            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
                            assert error.reason == "MESSAGE_TOO_LARGE"
                            assert error.retry_after_ms is None
                            assert error.metadata == {"bytes": str(size), "max_bytes": str(limit)}
        finally:
            await server.stop(None)

    asyncio.run(main())
