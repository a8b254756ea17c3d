"""The cost of the service: `Screen` over gRPC compared with the same work called in process.

make bench ARGS="-k service"
"""

import io
from collections.abc import Iterator

import pytest
from featsvc_client import Client
from featsvc_client.v1 import features_pb2, screening_pb2, types_pb2
from PIL import Image

from bench.compare import Compare
from bench.size import pick
from featsvc.hashing.content import hash_content
from featsvc.media import DecodeOptions, Limits
from featsvc.signals.algorithms import DEFAULT_ALGORITHMS
from tests.integration.running import Running, hold, running
from tests.photographs import photograph

SIDES = pick({"0.2 MP": 450, "2 MP": 1411}, smoke={"0.2 MP": 450})


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
def bench_service_screen(compare: Compare, client: Client, size: str) -> None:
    """Decode and hash a JPEG (PDQ, MD5, SHA-256): by Screen, directly, and with an account."""
    data = content(SIDES[size])
    plain = screening_pb2.ScreenRequest(content=types_pb2.Content(data=data))
    account = screening_pb2.ScreenRequest(
        content=plain.content,
        entities=[types_pb2.EntityRef(entity="account", id="bench")],
        selection=features_pb2.FeatureSelection(features=["uploads_1h"]),
    )

    def screen(request: screening_pb2.ScreenRequest) -> None:
        response = client.screening.Screen(request)
        assert response.content_outcome == types_pb2.OUTCOME_OK

    compare(
        f"Screen of a JPEG of {size}",
        lambda: screen(plain),
        {
            "the same work in process": lambda: hash_content(
                data, DEFAULT_ALGORITHMS, DecodeOptions(), Limits()
            )
        },
    )
    compare(
        f"Screen of a JPEG of {size} and an account",
        lambda: screen(account),
        {"Screen without an account": lambda: screen(plain)},
    )
