"""ScreeningService: the call on the upload path."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from featsvc_client.v1 import screening_pb2, screening_pb2_grpc, types_pb2
from grpc import aio

from featsvc import errors
from featsvc.accounts import Event, EventResult
from featsvc.requests import AccountQuery, Runtime, screen
from featsvc.service.conversions import features as convert_features
from featsvc.service.conversions import signals as convert
from featsvc.service.interceptor import incident
from featsvc.service.metrics import Metrics
from featsvc.service.status import screen_error

Context = aio.ServicerContext[Any, Any]

MAX_ENTITIES = 16
MAX_REQUEST_ID_BYTES = 128
MAX_IN_FLIGHT = 64
"""Requests of one stream that run concurrently; further ones are read as these are answered."""


class ScreeningServicer(screening_pb2_grpc.ScreeningServiceServicer):
    def __init__(self, runtime: Runtime, metrics: Metrics) -> None:
        self._runtime = runtime
        self._metrics = metrics

    async def Screen(
        self, request: screening_pb2.ScreenRequest, context: Context
    ) -> screening_pb2.ScreenResponse:
        return await self._screen(request)

    async def ScreenStream(
        self, request_iterator: AsyncIterator[screening_pb2.ScreenRequest], context: Context
    ) -> AsyncIterator[screening_pb2.ScreenStreamResponse]:
        answers: asyncio.Queue[screening_pb2.ScreenStreamResponse | None] = asyncio.Queue()
        in_flight = asyncio.Semaphore(MAX_IN_FLIGHT)

        async def respond(request: screening_pb2.ScreenRequest) -> None:
            answer = screening_pb2.ScreenStreamResponse(request_id=request.request_id)
            try:
                answer.response.CopyFrom(await self._screen(request))
            except Exception as exc:
                # An unexpected error in one request must not end the stream for the others.
                if not isinstance(exc, errors.FeatsvcError):
                    exc = incident("ScreenStream", exc)
                answer.error.CopyFrom(screen_error(exc))
            answers.put_nowait(answer)

        async def read() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    async for request in request_iterator:
                        await in_flight.acquire()
                        group.create_task(respond(request))
            finally:
                answers.put_nowait(None)

        reading = asyncio.ensure_future(read())
        try:
            while (answer := await answers.get()) is not None:
                yield answer
                in_flight.release()
            await reading
        finally:
            reading.cancel()

    async def _screen(self, request: screening_pb2.ScreenRequest) -> screening_pb2.ScreenResponse:
        _check(request)
        record = (
            convert_features.event(request.record_event)
            if request.HasField("record_event")
            else None
        )
        refused = record if isinstance(record, EventResult) else None
        result = await screen(
            self._runtime,
            convert.content(request.content),
            convert.algorithm_names(request.algorithms),
            convert.decode_options(request.decode),
            convert.match_options(request.options),
            AccountQuery(
                entities=convert_features.entity_refs(request.entities),
                selection=convert_features.selection(request.selection),
                record=record if isinstance(record, Event) else None,
            ),
            request.models,
        )
        report = result.report
        event_result = refused or result.event_result
        response = screening_pb2.ScreenResponse(
            request_id=request.request_id,
            content_outcome=convert.outcome(report.outcome),
            content_outcome_reason=report.reason,
            media=convert.media_info(report.hashes.media),
            signals=convert.original_messages(report.signals),
            matches=[convert.match_message(m) for m in report.result.matches],
            matches_truncated=report.result.truncated,
            watermark=convert.watermark(report.revision, report.commit_time),
            searched=convert.searched(report.scope),
            scores=map(convert.score_message, report.scores),
            features_outcome_reason=result.features_degraded,
            timings=screening_pb2.ScreenTimings(
                queue_us=report.queue_us,
                decode_us=report.hashes.decode_us,
                hash_us=report.hashes.hash_us,
                match_us=report.match_us,
                features_us=result.timings.features_us,
                total_us=result.timings.total_us,
            ),
        )
        if result.features_degraded:
            response.features_outcome = types_pb2.OUTCOME_DEGRADED
        elif result.features is not None or event_result is not None:
            response.features_outcome = types_pb2.OUTCOME_OK
        if result.features is not None:
            response.features.CopyFrom(convert_features.feature_table(result.features))
        if event_result is not None:
            response.event_result.CopyFrom(convert_features.event_result(event_result))
        self._metrics.count_screen(response)
        return response


def _check(request: screening_pb2.ScreenRequest) -> None:
    if len(request.entities) > MAX_ENTITIES:
        raise errors.InvalidInput(
            f"entities: at most {MAX_ENTITIES}, not {len(request.entities)}", field="entities"
        )
    if len(request.request_id.encode()) > MAX_REQUEST_ID_BYTES:
        raise errors.InvalidInput(
            f"request_id: at most {MAX_REQUEST_ID_BYTES} bytes", field="request_id"
        )
