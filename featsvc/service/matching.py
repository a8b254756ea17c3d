"""MatchingService: matches of content and signals, and the state of the index."""

from dataclasses import asdict
from typing import Any

import numpy as np
from featsvc_client.v1 import matching_pb2, matching_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from grpc import aio

from featsvc import errors
from featsvc.requests import BatchReport, Runtime, match, match_batch, report_on
from featsvc.service.conversions import signals as convert

Context = aio.ServicerContext[Any, Any]


class MatchingServicer(matching_pb2_grpc.MatchingServiceServicer):
    """Serves the calls of MatchingService, as proto/featsvc/v1/matching.proto describes them."""

    def __init__(self, runtime: Runtime, worker: int) -> None:
        self._runtime = runtime
        self._worker = worker

    async def Match(
        self, request: matching_pb2.MatchRequest, context: Context
    ) -> matching_pb2.MatchResponse:
        options = convert.match_options(request.options)
        match request.WhichOneof("query"):
            case "content":
                report = await report_on(
                    self._runtime,
                    convert.content(request.content),
                    convert.algorithm_names(request.algorithms),
                    convert.decode_options(request.decode),
                    options,
                )
                return matching_pb2.MatchResponse(
                    outcome=convert.outcome(report.outcome),
                    outcome_reason=report.reason,
                    matches=[convert.match_message(m) for m in report.result.matches],
                    truncated=report.result.truncated,
                    watermark=convert.watermark(report.revision, report.commit_time),
                    signals=convert.original_messages(report.signals),
                    searched=convert.searched(report.scope),
                )
            case "signal":
                signal = convert.query_signal(request.signal)
                found = await match(self._runtime, signal, options)
                return matching_pb2.MatchResponse(
                    outcome=convert.outcome(found.outcome),
                    outcome_reason=found.reason,
                    matches=[convert.match_message(m) for m in found.result.matches],
                    truncated=found.result.truncated,
                    watermark=convert.watermark(found.revision, found.commit_time),
                    signals=[convert.matched_signal(signal)],
                    searched=convert.searched(found.scope),
                )
            case _:
                raise errors.InvalidInput("query: neither content nor signal is set", field="query")

    async def MatchBatch(
        self, request: matching_pb2.MatchBatchRequest, context: Context
    ) -> matching_pb2.MatchBatchResponse:
        return await match_batch(
            self._runtime,
            convert.signal_batch(request),
            convert.match_options(request.options),
            _batch_message,
        )

    async def GetIndexStatus(
        self, request: matching_pb2.GetIndexStatusRequest, context: Context
    ) -> matching_pb2.GetIndexStatusResponse:
        status = self._runtime.follower.status()
        staleness = Duration()
        staleness.FromMilliseconds(status.staleness_ms)
        return matching_pb2.GetIndexStatusResponse(
            algorithms=[
                matching_pb2.AlgorithmIndex(
                    **asdict(algorithm) | {"built_at": convert.timestamp(algorithm.built_at)}
                )
                for algorithm in status.algorithms
            ],
            served_revision=status.served_revision,
            committed_revision=status.committed_revision,
            staleness=staleness,
            last_contact=convert.timestamp(status.last_contact),
            worker=self._worker,
            set_aside=[
                matching_pb2.SetAsideSignals(
                    algorithm=cause.algorithm,
                    reason=cause.reason,
                    signals=cause.signals,
                    entries=[f"banks/{bank}/entries/{number}" for bank, number in cause.examples],
                )
                for cause in status.set_aside
            ],
            failure=status.failure,
        )


def _batch_message(report: BatchReport) -> matching_pb2.MatchBatchResponse:
    result = report.result
    fractional = result.distances.dtype == np.float32
    return matching_pb2.MatchBatchResponse(
        offsets=result.offsets.tolist(),
        distances=() if fractional else result.distances.tolist(),
        fractional_distances=result.distances.tolist() if fractional else (),
        entry_index=result.entry_index.tolist(),
        entries=[convert.match_message(m) for m in result.entries],
        truncated_queries=result.truncated_queries,
        watermark=convert.watermark(report.revision, report.commit_time),
        outcomes=np.select(
            (result.low_quality, report.unstable),
            (convert.outcome(report.low_outcome), convert.outcome(report.unstable_outcome)),
            convert.outcome(report.outcome),
        ).tolist(),
        outcome_reason=report.reason,
        searched=convert.searched(report.scope),
    )
