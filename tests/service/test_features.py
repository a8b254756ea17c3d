"""FeatureService over real gRPC, with a real store where its content matters."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from featsvc_client import explain
from featsvc_client.v1 import features_pb2, features_pb2_grpc, types_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import RpcError, aio

from featsvc.accounts import (
    EmbeddedValkey,
    Event,
    EventResult,
    EventStatus,
    FeatureStore,
    load_definitions,
)
from featsvc.service.features import FeatureServicer
from featsvc.service.interceptor import RequestInterceptor
from featsvc.service.metrics import Metrics
from tests.patience import PATIENCE_MS

BATCH_BYTES = 2**19
BATCHES = 160
ACCOUNT = types_pb2.EntityRef(entity="account", id="a1")


async def serving(store: Any, body: Callable[[Any], Awaitable[None]]) -> None:
    """Run the body of a test with a stub of the service over `store`."""
    interceptor = RequestInterceptor(Metrics())
    interceptor.open = True
    server = aio.server(interceptors=[interceptor])
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
        windowed = load_definitions().features
        columns = [column for column in table.columns if column.name in windowed]
        statuses = {status for column in columns for status in column.statuses}
        assert statuses == {features_pb2.FEATURE_STATUS_NOT_FOUND}

    asyncio.run(with_a_store(tmp_path, body))


async def with_a_store(folder: Path, body: Callable[[Any], Awaitable[None]]) -> None:
    valkey = EmbeddedValkey(folder)
    await valkey.start()
    store = FeatureStore(valkey.url, load_definitions(), timeout_ms=PATIENCE_MS)
    await serving(store, body)
    await store.close()
    await valkey.stop()


def upload(event_id: str, account: str = "a1") -> features_pb2.Event:
    event = features_pb2.Event(event_id=event_id, type="upload", entities={"account": account})
    event.time.GetCurrentTime()
    return event


def names(answer: features_pb2.IngestEventsResponse) -> list[str]:
    name = features_pb2.EventResult.Status.Name
    return [name(result.status).removeprefix("STATUS_") for result in answer.results]


MALFORMED = [
    Timestamp(seconds=10**15),
    Timestamp(seconds=-(10**15)),
    Timestamp(seconds=1_700_000_000, nanos=-5),
    Timestamp(seconds=1_700_000_000, nanos=10**9),
]


def test_an_event_of_a_malformed_time_is_rejected_alone(tmp_path: Path) -> None:
    malformed = []
    for number, time in enumerate(MALFORMED):
        malformed.append(upload(f"bad{number}"))
        malformed[-1].time.CopyFrom(time)

    async def body(stub: Any) -> None:
        events = [malformed[0], upload("e1"), *malformed[1:], upload("e2"), upload("e1")]
        batch = features_pb2.IngestEventsRequest(events=events)
        answer = await stub.IngestEvents(batch)
        rejected = ["REJECTED"] * 3
        assert names(answer) == ["REJECTED", "APPLIED", *rejected, "APPLIED", "DUPLICATE"]
        reasons = [result.reason for result in answer.results if result.reason]
        assert len(reasons) == len(MALFORMED)
        assert all(reason.startswith("time: not a valid Timestamp: ") for reason in reasons)
        assert reasons[2].endswith("not 1700000000 and -5")
        # With positions, those of the valid events reach the store.
        batch.backfill.source = "s"
        batch.backfill.positions.extend(range(1, len(events) + 1))
        again = await stub.IngestEvents(batch)
        assert names(again) == ["REJECTED", "DUPLICATE", *rejected, "DUPLICATE", "DUPLICATE"]

        async def batches() -> AsyncIterator[features_pb2.IngestEventsRequest]:
            yield features_pb2.IngestEventsRequest(events=malformed[:1])
            yield features_pb2.IngestEventsRequest(events=[upload("e3")], tag="t")

        first, second = [each async for each in stub.IngestEventStream(batches())]
        assert (names(first), names(second), second.tag) == (["REJECTED"], ["APPLIED"], "t")

    asyncio.run(with_a_store(tmp_path, body))


@pytest.mark.parametrize("time", MALFORMED, ids=lambda time: f"{time.seconds}.{time.nanos}")
def test_a_read_as_of_a_malformed_time_is_refused(tmp_path: Path, time: Timestamp) -> None:
    async def body(stub: Any) -> None:
        with pytest.raises(RpcError) as caught:
            await stub.GetFeatures(features_pb2.GetFeaturesRequest(entities=[ACCOUNT], as_of=time))
        error = explain(caught.value)
        assert (error.code().name, error.reason) == ("INVALID_ARGUMENT", "INVALID_INPUT")
        assert error.path == "as_of"

    asyncio.run(serving(FeatureStore(f"unix://{tmp_path}/nobody", load_definitions()), body))


@pytest.mark.parametrize(
    ("source", "positions", "field"),
    [
        ("", [1, 2], "backfill.source"),
        ("x" * 129, [1, 2], "backfill.source"),
        ("a\0", [1, 2], "backfill.source"),
        ("s", [1], "backfill.positions"),
        ("s", [1, 2, 3], "backfill.positions"),
        ("s", [2, 1], "backfill.positions"),
        ("s", [2, 2], "backfill.positions"),
        ("s", [2, 2**53 + 1], "backfill.positions"),
    ],
)
def test_a_wrong_backfill_is_refused(
    tmp_path: Path, source: str, positions: list[int], field: str
) -> None:
    async def body(stub: Any) -> None:
        batch = features_pb2.IngestEventsRequest(events=[upload("e1"), upload("e2")])
        batch.backfill.source = source
        batch.backfill.positions.extend(positions)
        with pytest.raises(RpcError) as caught:
            await stub.IngestEvents(batch)
        error = explain(caught.value)
        assert (error.code().name, error.path) == ("INVALID_ARGUMENT", field)

    asyncio.run(serving(FeatureStore(f"unix://{tmp_path}/nobody", load_definitions()), body))


def test_history_counts_by_position(tmp_path: Path) -> None:
    def days_ago(event_id: str, days: int) -> features_pb2.Event:
        event = upload(event_id)
        event.time.seconds -= 86_400 * days
        return event

    async def body(stub: Any) -> None:
        old = [days_ago("e2", 3), days_ago("e3", 2)]
        ingest = features_pb2.IngestEventsRequest
        assert names(await stub.IngestEvents(ingest(events=[upload("e1")]))) == ["APPLIED"]
        beyond = await stub.IngestEvents(ingest(events=old))
        assert names(beyond) == ["BEYOND_HORIZON"] * 2
        history = ingest(events=old)
        history.backfill.source = "s"
        history.backfill.positions.extend([1, 2**53])
        assert names(await stub.IngestEvents(history)) == ["APPLIED"] * 2
        assert names(await stub.IngestEvents(history)) == ["DUPLICATE"] * 2

    asyncio.run(with_a_store(tmp_path, body))


def test_a_damaged_account_fails_alone(tmp_path: Path) -> None:
    async def body(stub: Any) -> None:
        accounts = ["damaged", "whole"]
        batch = features_pb2.IngestEventsRequest(events=[upload("e", name) for name in accounts])
        await stub.IngestEvents(batch)
        with redis.Redis(unix_socket_path=str(tmp_path / "valkey" / "valkey.sock")) as other:
            other.set("fs:{ts:account:damaged}:v1", "text")
        read = features_pb2.GetFeaturesRequest(
            entities=[types_pb2.EntityRef(entity="account", id=name) for name in accounts],
            selection=features_pb2.FeatureSelection(features=["uploads_1h"]),
        )
        (column,) = (await stub.GetFeatures(read)).features.columns
        assert list(column.statuses) == [
            features_pb2.FEATURE_STATUS_DAMAGED,
            features_pb2.FEATURE_STATUS_PRESENT,
        ]
        again = features_pb2.IngestEventsRequest(events=[upload("e2", name) for name in accounts])
        assert names(await stub.IngestEvents(again)) == ["INCOMPLETE", "APPLIED"]
        erase = features_pb2.DeleteEntityRequest(entity=read.entities[0])
        assert (await stub.DeleteEntity(erase)).deleted
        assert names(await stub.IngestEvents(again)) == ["APPLIED", "DUPLICATE"]

    asyncio.run(with_a_store(tmp_path, body))
