"""FeatureService: ingests events, returns account features."""

from collections.abc import AsyncIterator
from typing import Any

from featsvc_client.v1 import features_pb2, features_pb2_grpc
from grpc import aio

from featsvc import accounts, errors
from featsvc.service.conversions import features as convert

Context = aio.ServicerContext[Any, Any]

MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 100
_MAX_TOKEN_DIGITS = 9


class FeatureServicer(features_pb2_grpc.FeatureServiceServicer):
    """Serves a feature store. It checks the size of a request before converting it."""

    def __init__(self, store: accounts.FeatureStore) -> None:
        self._store = store

    async def IngestEvents(
        self, request: features_pb2.IngestEventsRequest, context: Context
    ) -> features_pb2.IngestEventsResponse:
        if len(request.events) > accounts.MAX_EVENTS:
            raise accounts.too_many("events", len(request.events), accounts.MAX_EVENTS)
        backfill = convert.backfill(request)
        converted = [convert.event(message) for message in request.events]
        events = {i: e for i, e in enumerate(converted) if isinstance(e, accounts.Event)}
        if backfill is not None:
            positions = [backfill.positions[i] for i in events]
            backfill = accounts.Backfill(backfill.source, positions)
        results = await self._store.ingest([*events.values()], backfill=backfill)
        applied = dict(zip(events, results, strict=True))
        results = [
            applied[i] if isinstance(e, accounts.Event) else e for i, e in enumerate(converted)
        ]
        return features_pb2.IngestEventsResponse(
            results=[convert.event_result(r) for r in results], tag=request.tag
        )

    async def IngestEventStream(
        self, request_iterator: AsyncIterator[features_pb2.IngestEventsRequest], context: Context
    ) -> AsyncIterator[features_pb2.IngestEventsResponse]:
        # One batch at a time, so that HTTP/2's flow control slows the sender.
        async for request in request_iterator:
            yield await self.IngestEvents(request, context)

    async def GetFeatures(
        self, request: features_pb2.GetFeaturesRequest, context: Context
    ) -> features_pb2.GetFeaturesResponse:
        if len(request.entities) > accounts.MAX_ENTITIES_READ:
            raise accounts.too_many("entities", len(request.entities), accounts.MAX_ENTITIES_READ)
        table = await self._store.get(
            convert.entity_refs(request.entities),
            convert.selection(request.selection),
            convert.as_of_ms(request),
        )
        return features_pb2.GetFeaturesResponse(features=convert.feature_table(table))

    async def ListFeatures(
        self, request: features_pb2.ListFeaturesRequest, context: Context
    ) -> features_pb2.ListFeaturesResponse:
        if request.page_size > MAX_PAGE_SIZE:
            raise errors.InvalidInput(
                f"page_size: must be 0 to {MAX_PAGE_SIZE}, not {request.page_size}",
                field="page_size",
            )
        # Definitions do not change while the server runs, so a token is the next position.
        token = request.page_token or "0"
        if not token.isascii() or not token.isdigit() or len(token) > _MAX_TOKEN_DIGITS:
            raise errors.InvalidInput(
                "page_token: not a token of this server; start again without one",
                field="page_token",
            )
        defined = self._store.definitions
        features: list[accounts.Feature | accounts.Derived] = list(defined.features.values())
        features += defined.derived.values()
        stop = int(token) + (request.page_size or DEFAULT_PAGE_SIZE)
        return features_pb2.ListFeaturesResponse(
            features=[
                convert.definition(f, defined.sets_of(f.name), self._complete_since(f))
                for f in features[int(token) : stop]
            ],
            next_page_token=str(stop) if stop < len(features) else "",
        )

    async def DeleteEntity(
        self, request: features_pb2.DeleteEntityRequest, context: Context
    ) -> features_pb2.DeleteEntityResponse:
        (entity,) = convert.entity_refs([request.entity])
        return features_pb2.DeleteEntityResponse(deleted=await self._store.delete(entity))

    def _complete_since(self, feature: accounts.Feature | accounts.Derived) -> int | None:
        if isinstance(feature, accounts.Derived):
            return None
        return self._store.complete_since(feature.name)
