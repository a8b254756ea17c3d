"""FeatureService over real gRPC, with a real store where its content matters."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from featsvc_client.v1 import features_pb2, features_pb2_grpc, types_pb2
from grpc import aio

from featsvc.accounts import (
    EmbeddedValkey,
    Event,
    EventResult,
    EventStatus,
    FeatureStore,
    load_definitions,
)
from featsvc.service.features import FeatureServicer
from tests.patience import PATIENCE_MS

BATCH_BYTES = 2**19
BATCHES = 160
ACCOUNT = types_pb2.EntityRef(entity="account", id="a1")


async def serving(store: Any, body: Callable[[Any], Awaitable[None]]) -> None:
    """Run the body of a test with a stub of the service over `store`."""
    server = aio.server()
    features_pb2_grpc.add_FeatureServiceServicer_to_server(FeatureServicer(store), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await body(features_pb2_grpc.FeatureServiceStub(channel))
    await server.stop(None)


class SlowStore:
    """Applies nothing until `released` is set."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def ingest(self, events: Sequence[Event], *, backfill: object) -> list[EventResult]:
        await self.released.wait()
        return [EventResult(EventStatus.APPLIED)] * len(events)


@pytest.mark.slow
def test_a_slow_store_slows_the_sender_of_a_stream() -> None:
    """HTTP/2 flow control bounds the batches in flight."""
    store = SlowStore()
    sent = 0
    event = features_pb2.Event(
        event_id="e", attributes={"t": features_pb2.AttributeValue(text="x" * 200)}
    )

    async def batches() -> AsyncIterator[features_pb2.IngestEventsRequest]:
        nonlocal sent
        for number in range(BATCHES):
            yield features_pb2.IngestEventsRequest(
                events=[event] * (BATCH_BYTES // event.ByteSize()), tag=str(number)
            )
            sent += 1

    async def body(stub: Any) -> None:
        tags: list[str] = []

        async def read() -> None:
            async for answer in stub.IngestEventStream(batches()):
                tags.append(answer.tag)

        reading = asyncio.create_task(read())
        before = -1
        while sent != before:  # until the sender is blocked
            before = sent
            await asyncio.sleep(0.5)
        assert sent * BATCH_BYTES < 32 * 2**20 < BATCHES * BATCH_BYTES
        assert tags == []
        store.released.set()
        await reading
        assert tags == [str(number) for number in range(BATCHES)]

    asyncio.run(serving(store, body))


def test_every_feature_is_described(tmp_path: Path) -> None:
    definitions = load_definitions()

    async def body(stub: Any) -> None:
        listed: dict[str, features_pb2.FeatureDefinition] = {}
        token = ""
        while True:
            page = await stub.ListFeatures(
                features_pb2.ListFeaturesRequest(page_size=7, page_token=token)
            )
            assert len(page.features) <= 7
            listed |= {feature.name: feature for feature in page.features}
            token = page.next_page_token
            if not token:
                break
        assert list(listed) == [*definitions.features, *definitions.derived]
        assert all(feature.version and feature.aggregation for feature in listed.values())
        uploads = listed["uploads_1h"]
        assert (uploads.entity, uploads.aggregation) == ("account", "count")
        assert uploads.event_type == "upload"
        assert (uploads.window.seconds, uploads.bucket.seconds) == (3600, 300)
        assert not uploads.HasField("default")
        assert "upload_gate" in uploads.sets
        strikes = listed["strikes_lifetime"]
        assert strikes.HasField("default")
        assert not strikes.HasField("window")
        burst = listed["upload_burst"]
        assert (burst.aggregation, list(burst.sets)) == ("derived", ["upload_gate"])
        assert burst.expression == definitions.derived["upload_burst"].expression.text

    asyncio.run(serving(FeatureStore(f"unix://{tmp_path}/nobody", definitions), body))


@pytest.mark.parametrize("pages", [1, 2])
def test_the_last_full_page_has_no_token(tmp_path: Path, pages: int) -> None:
    path = tmp_path / "features.toml"
    features = "".join(
        f'[features.f{number}]\non = "e"\nagg = "count"\nwindows = ["1h"]\n' for number in range(4)
    )
    head = 'namespace = "n"\n[entities]\naccount = "account"\n[events.e]\nkeys = ["account"]\n'
    path.write_text(head + features)
    definitions = load_definitions(path)

    async def body(stub: Any) -> None:
        token = ""
        for page in range(1, pages + 1):
            request = features_pb2.ListFeaturesRequest(page_size=4 // pages, page_token=token)
            answer = await stub.ListFeatures(request)
            assert len(answer.features) == 4 // pages
            token = answer.next_page_token
            assert bool(token) is (page < pages)

    asyncio.run(serving(FeatureStore(f"unix://{tmp_path}/nobody", definitions), body))


def test_an_erased_entity_is_not_found(tmp_path: Path) -> None:
    async def body(stub: Any) -> None:
        event = features_pb2.Event(event_id="e1", type="upload", entities={"account": "a1"})
        event.time.GetCurrentTime()
        await stub.IngestEvents(features_pb2.IngestEventsRequest(events=[event]))
        read = features_pb2.GetFeaturesRequest(entities=[ACCOUNT])
        (freshness_us,) = (await stub.GetFeatures(read)).features.freshness_us
        assert 0 <= freshness_us < 60_000_000
        request = features_pb2.DeleteEntityRequest(entity=ACCOUNT)
        assert (await stub.DeleteEntity(request)).deleted
        assert not (await stub.DeleteEntity(request)).deleted
        table = (await stub.GetFeatures(read)).features
        assert list(table.freshness_us) == [-1]
        statuses = {status for column in table.columns for status in column.statuses}
        assert statuses == {features_pb2.FEATURE_STATUS_NOT_FOUND}

    async def with_a_store() -> None:
        valkey = EmbeddedValkey(tmp_path)
        await valkey.start()
        store = FeatureStore(valkey.url, load_definitions(), timeout_ms=PATIENCE_MS)
        await serving(store, body)
        await store.close()
        await valkey.stop()

    asyncio.run(with_a_store())
