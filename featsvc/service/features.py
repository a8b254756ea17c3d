"""FeatureService: events -> windowed account features."""

from collections.abc import AsyncIterator
from typing import Any

from featsvc_client.v1 import features_pb2, features_pb2_grpc
from grpc import aio

from featsvc import errors
from featsvc.accounts import FeatureStore
from featsvc.service.conversions import features as convert

Context = aio.ServicerContext[Any, Any]

MAX_EVENTS = 10_000
MAX_ENTITIES = 1000
MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 100
_MAX_TOKEN_DIGITS = 9


class FeatureServicer(features_pb2_grpc.FeatureServiceServicer):
    def __init__(self, store: FeatureStore) -> None:
        self._store = store

    async def IngestEvents(  # noqa: N802
        self, request: features_pb2.IngestEventsRequest, context: Context
    ) -> features_pb2.IngestEventsResponse:
        if len(request.events) > MAX_EVENTS:
            raise errors.InvalidInput(
                f"events: {len(request.events)} events, at most {MAX_EVENTS} in a call; "
                "send several batches",
                field="events",
            )
        results = await self._store.ingest([convert.event(e) for e in request.events])
        return features_pb2.IngestEventsResponse(
            results=[convert.event_result(r) for r in results], tag=request.tag
        )

    async def IngestEventStream(  # noqa: N802
        self, request_iterator: AsyncIterator[features_pb2.IngestEventsRequest], context: Context
    ) -> AsyncIterator[features_pb2.IngestEventsResponse]:
        # One batch at a time: HTTP/2's window is the flow control.
        async for request in request_iterator:
            yield await self.IngestEvents(request, context)

    async def GetFeatures(  # noqa: N802
        self, request: features_pb2.GetFeaturesRequest, context: Context
    ) -> features_pb2.GetFeaturesResponse:
        if not 1 <= len(request.entities) <= MAX_ENTITIES:
            raise errors.InvalidInput(
                f"entities: {len(request.entities)} entities, between 1 and {MAX_ENTITIES} wanted",
                field="entities",
            )
        table = await self._store.get(
            convert.entity_refs(request.entities),
            convert.selection(request.selection),
            convert.as_of_ms(request),
        )
        return features_pb2.GetFeaturesResponse(features=convert.feature_table(table))

    async def ListFeatures(  # noqa: N802
        self, request: features_pb2.ListFeaturesRequest, context: Context
    ) -> features_pb2.ListFeaturesResponse:
        if request.page_size > MAX_PAGE_SIZE:
            raise errors.InvalidInput(
                f"page_size: {request.page_size}, at most {MAX_PAGE_SIZE}", field="page_size"
            )
        # Definitions are fixed while the server runs, so a token is simply where to go on.
        token = request.page_token or "0"
        if not token.isascii() or not token.isdigit() or len(token) > _MAX_TOKEN_DIGITS:
            raise errors.InvalidInput(
                "page_token: not one that this server gave; begin anew without a token",
                field="page_token",
            )
        features = self._store.list_features()
        stop = int(token) + (request.page_size or DEFAULT_PAGE_SIZE)
        return features_pb2.ListFeaturesResponse(
            features=[convert.definition(f) for f in features[int(token) : stop]],
            next_page_token=str(stop) if stop < len(features) else "",
        )

    async def DeleteEntity(  # noqa: N802
        self, request: features_pb2.DeleteEntityRequest, context: Context
    ) -> features_pb2.DeleteEntityResponse:
        (entity,) = convert.entity_refs([request.entity])
        return features_pb2.DeleteEntityResponse(deleted=await self._store.delete(entity))
