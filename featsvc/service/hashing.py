"""HashingService: compute signals and vectors, and compare."""

from typing import Any

from featsvc_client.v1 import hashing_pb2, hashing_pb2_grpc
from grpc import aio

from featsvc.banks.lists.formats.rows import algorithm_of
from featsvc.hashing.variants import make_dihedral, make_original
from featsvc.requests import Runtime, compare, compute_hashes, embed
from featsvc.service.conversions import signals as convert
from featsvc.signals.algorithms import ALGORITHMS, Kind, get_algorithm

Context = aio.ServicerContext[Any, Any]


class HashingServicer(hashing_pb2_grpc.HashingServiceServicer):
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def Hash(
        self, request: hashing_pb2.HashRequest, context: Context
    ) -> hashing_pb2.HashResponse:
        hashes = await compute_hashes(
            self._runtime,
            convert.content(request.content),
            convert.algorithm_names(request.algorithms),
            convert.decode_options(request.decode),
            make_dihedral if request.dihedral else make_original,
        )
        return hashing_pb2.HashResponse(
            outcome=convert.outcome(hashes.outcome),
            outcome_reason=hashes.reason,
            media=convert.media_info(hashes.media),
            signals=[convert.signal_message(s) for s in hashes.signals],
            timings=hashing_pb2.HashTimings(decode_us=hashes.decode_us, hash_us=hashes.hash_us),
        )

    async def Embed(
        self, request: hashing_pb2.EmbedRequest, context: Context
    ) -> hashing_pb2.EmbedResponse:
        result = await embed(
            self._runtime,
            convert.content_bytes(request.content),
            request.models,
            convert.decode_options(request.decode),
        )
        response = hashing_pb2.EmbedResponse(
            outcome=convert.outcome(result.outcome),
            outcome_reason=result.reason,
            media=convert.media_info(result.media),
        )
        if result.embedded is not None:
            response.embeddings.extend(map(convert.embedding_message, result.embedded.embeddings))
            response.scores.extend(map(convert.score_message, result.embedded.scores))
        return response

    async def Compare(
        self, request: hashing_pb2.CompareRequest, context: Context
    ) -> hashing_pb2.CompareResponse:
        comparisons = await compare(
            self._runtime,
            convert.compare_side(request.a, "a"),
            convert.compare_side(request.b, "b"),
            convert.algorithm_names(request.algorithms),
            convert.decode_options(request.decode),
        )
        return hashing_pb2.CompareResponse(
            distances=[
                hashing_pb2.CompareResponse.Distance(
                    algorithm=c.algorithm,
                    distance=c.distance,
                    threshold=c.threshold,
                    match=c.match,
                    outcome=convert.outcome(c.outcome),
                    outcome_reason=c.reason,
                )
                for c in comparisons
            ]
        )

    async def ListAlgorithms(
        self, request: hashing_pb2.ListAlgorithmsRequest, context: Context
    ) -> hashing_pb2.ListAlgorithmsResponse:
        models = {model.id: model for model in self._runtime.embedder.models.values()}
        hashes = (a.name for a in ALGORITHMS.values() if a.kind is not Kind.VECTOR)
        names = convert.algorithm_names(request.algorithms) or (*hashes, *models)
        return hashing_pb2.ListAlgorithmsResponse(
            algorithms=[
                convert.model_message(models[name])
                if name in models
                else convert.algorithm_message(
                    get_algorithm(algorithm_of(name, field="algorithms"))
                )
                for name in names
            ]
        )
