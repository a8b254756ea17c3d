"""The cost of the service: `Screen` over gRPC compared with the same work called in process.

    make bench ARGS="-k service"

The table has the ratios: the median of each row over the best of its group.
"""

import io
from collections.abc import Iterator

import pytest
from featsvc_client import Client
from featsvc_client.v1 import features_pb2, screening_pb2, types_pb2
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

from featsvc.hashing.content import hash_content
from featsvc.media import DecodeOptions, Limits
from featsvc.signals.algorithms import DEFAULT_ALGORITHMS
from tests.integration.running import Running, hold, running
from tests.photographs import photograph

SIDES = {"0.2 MP": 450, "2 MP": 1411}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("bench")) as service:
        yield service


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[Client]:
    with server.client() as client:
        hold(client, "pdq")
        yield client


def content(side: int) -> bytes:
    with Image.open(photograph("retina.jpg")) as image:
        file = io.BytesIO()
        image.resize((side, side)).save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.mark.parametrize("size", SIDES)
@pytest.mark.parametrize("how", ["in process", "Screen", "Screen with features"])
def bench_service_screen(benchmark: BenchmarkFixture, client: Client, size: str, how: str) -> None:
    """Decode and hash a JPEG (PDQ, MD5, SHA-256): directly, by Screen, and with an account."""
    benchmark.group = f"screen a JPEG of {size}"
    data = content(SIDES[size])
    if how == "in process":
        benchmark(hash_content, data, DEFAULT_ALGORITHMS, DecodeOptions(), Limits())
        return
    request = screening_pb2.ScreenRequest(content=types_pb2.Content(data=data))
    if how == "Screen with features":
        request.entities.add(entity="account", id="bench")
        request.selection.CopyFrom(features_pb2.FeatureSelection(features=["uploads_1h"]))
    response = benchmark(client.screening.Screen, request)
    assert response.content_outcome == types_pb2.OUTCOME_OK
