"""Calls in flight: a stopping server waits for the last of them."""

import asyncio
from typing import Any

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

    async def ingest(self, events: Any) -> list[Any]:
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
