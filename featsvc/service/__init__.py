"""gRPC, and nothing else: servicers, translation, the status table, the server's life."""

from featsvc_client.v1 import (
    banks_pb2,
    banks_pb2_grpc,
    features_pb2,
    features_pb2_grpc,
    hashing_pb2,
    hashing_pb2_grpc,
    matching_pb2,
    matching_pb2_grpc,
    screening_pb2,
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
from featsvc.service.server import Mount


def mounts(runtime: Runtime, store: BankStore, metrics: Metrics, *, worker: int = 0) -> list[Mount]:
    """The five services over their parts; `worker` is its number among those of one port."""
    return [
        Mount(
            ScreeningServicer(runtime, metrics),
            screening_pb2_grpc.add_ScreeningServiceServicer_to_server,
            screening_pb2.DESCRIPTOR.services_by_name["ScreeningService"].full_name,
        ),
        Mount(
            HashingServicer(runtime),
            hashing_pb2_grpc.add_HashingServiceServicer_to_server,
            hashing_pb2.DESCRIPTOR.services_by_name["HashingService"].full_name,
        ),
        Mount(
            MatchingServicer(runtime, worker),
            matching_pb2_grpc.add_MatchingServiceServicer_to_server,
            matching_pb2.DESCRIPTOR.services_by_name["MatchingService"].full_name,
        ),
        Mount(
            FeatureServicer(runtime.features),
            features_pb2_grpc.add_FeatureServiceServicer_to_server,
            features_pb2.DESCRIPTOR.services_by_name["FeatureService"].full_name,
        ),
        Mount(
            BankServicer(runtime, store),
            banks_pb2_grpc.add_BankServiceServicer_to_server,
            banks_pb2.DESCRIPTOR.services_by_name["BankService"].full_name,
        ),
    ]
