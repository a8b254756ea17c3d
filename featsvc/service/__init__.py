"""The gRPC services: servicers, conversions, the status table and the server."""

from featsvc_client.v1 import (
    banks_pb2_grpc,
    features_pb2_grpc,
    hashing_pb2_grpc,
    matching_pb2_grpc,
    screening_pb2_grpc,
)

from featsvc.banks.store import BankStore
from featsvc.requests import Runtime
from featsvc.service.banks import BankServicer
from featsvc.service.features import FeatureServicer
from featsvc.service.hashing import HashingServicer
from featsvc.service.matching import MatchingServicer
from featsvc.service.metrics import Metrics
from featsvc.service.screening import ScreeningServicer
from featsvc.service.server import GrpcService


def grpc_services(
    runtime: Runtime, store: BankStore, metrics: Metrics, *, worker: int = 0
) -> list[GrpcService]:
    """Build the five services; `worker` is the number of this worker."""
    return [
        GrpcService(
            "featsvc.v1.ScreeningService",
            ScreeningServicer(runtime, metrics),
            screening_pb2_grpc.add_ScreeningServiceServicer_to_server,
        ),
        GrpcService(
            "featsvc.v1.HashingService",
            HashingServicer(runtime),
            hashing_pb2_grpc.add_HashingServiceServicer_to_server,
        ),
        GrpcService(
            "featsvc.v1.MatchingService",
            MatchingServicer(runtime, worker),
            matching_pb2_grpc.add_MatchingServiceServicer_to_server,
        ),
        GrpcService(
            "featsvc.v1.FeatureService",
            FeatureServicer(runtime.features),
            features_pb2_grpc.add_FeatureServiceServicer_to_server,
        ),
        GrpcService(
            "featsvc.v1.BankService",
            BankServicer(runtime, store),
            banks_pb2_grpc.add_BankServiceServicer_to_server,
        ),
    ]
