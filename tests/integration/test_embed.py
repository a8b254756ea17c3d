"""Vectors and scores through the real service: `Embed`, `Screen.models`, and their errors."""

import asyncio
from pathlib import Path

import grpc
import numpy as np
import pytest
from featsvc_client import AsyncClient, Client
from featsvc_client.v1 import hashing_pb2, screening_pb2, types_pb2

from tests.embedding.onnx_files import models_file, needs_onnxruntime
from tests.hashing.photographs import plain
from tests.integration.running import Running, failure, featsvc, holding
from tests.patience import PATIENCE_S
from tests.photographs import photograph

pytestmark = needs_onnxruntime

COFFEE = photograph("coffee.png").read_bytes()


@pytest.fixture(scope="module")
def server(model_server: Running) -> Running:
    return model_server


def embed(client: Client, data: bytes, *models: str) -> hashing_pb2.EmbedResponse:
    request = hashing_pb2.EmbedRequest(content=types_pb2.Content(data=data), models=models)
    response: hashing_pb2.EmbedResponse = client.hashing.Embed(request)
    return response


def test_models_are_listed_with_their_dimensions(client: Client) -> None:
    listed = client.hashing.ListAlgorithms(hashing_pb2.ListAlgorithmsRequest()).algorithms
    dimensions = {a.name: (a.version, a.dimensions) for a in listed if a.dimensions}
    assert dimensions["pdqf@1"] == (1, 256)
    assert dimensions["gist@1"] == (1, 512)
    assert dimensions["means@3"] == (3, 3)
    assert all(a.distance == hashing_pb2.Algorithm.DISTANCE_COSINE for a in listed if a.dimensions)


def test_vectors_and_scores_are_in_the_requested_order(client: Client) -> None:
    response = embed(client, COFFEE, "means", "pdqf", "colour_layout@1", "gist", "hog", "PDQF")
    assert response.outcome == types_pb2.OUTCOME_OK
    assert (response.media.width, response.media.height) == (600, 400)
    models = [e.model for e in response.embeddings]
    assert models == ["means@3", "pdqf@1", "colour_layout@1", "gist@1", "hog@1"]
    for embedding in response.embeddings:
        assert np.linalg.norm(embedding.values) == pytest.approx(1, abs=1e-5)
    assert {s.model for s in response.scores} == {"means@3"}
    assert [s.label for s in response.scores] == ["red", "green", "blue"]
    assert sum(s.score for s in response.scores) == pytest.approx(1, abs=1e-5)


def test_screen_gives_scores_beside_matches(client: Client) -> None:
    request = screening_pb2.ScreenRequest(
        content=types_pb2.Content(data=COFFEE), models=["means@3"]
    )
    with holding(client, "pdq"):
        response = client.screening.Screen(request)
    assert response.content_outcome == types_pb2.OUTCOME_OK
    assert {s.algorithm for s in response.signals} >= {"pdq", "md5"}
    assert list(response.scores) == list(embed(client, COFFEE, "means").scores)


def test_screen_without_models_runs_none(client: Client) -> None:
    request = screening_pb2.ScreenRequest(content=types_pb2.Content(data=COFFEE))
    assert not client.screening.Screen(request).scores


def test_a_model_without_scores_is_refused_by_screen(client: Client) -> None:
    request = screening_pb2.ScreenRequest(content=types_pb2.Content(data=COFFEE), models=["pdqf"])
    error = failure(lambda: client.screening.Screen(request))
    assert (error.code(), error.path) == (grpc.StatusCode.INVALID_ARGUMENT, "models")
    assert "Embed" in error.message


@pytest.mark.parametrize("name", ["nothing", "pdqf@2", "means@1", "x" * 10_000])
def test_an_unknown_model_or_version_names_what_is_served(client: Client, name: str) -> None:
    error = failure(lambda: embed(client, COFFEE, name))
    assert (error.code(), error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_ALGORITHM")
    assert "pdqf@1" in error.message
    assert "means@3" in error.message


@pytest.mark.parametrize("count", [0, 17])
def test_1_to_16_models(client: Client, count: int) -> None:
    error = failure(lambda: embed(client, COFFEE, *(f"m{i}" for i in range(count))))
    assert (error.code(), error.path) == (grpc.StatusCode.INVALID_ARGUMENT, "models")


def test_unsupported_media_is_an_outcome(client: Client) -> None:
    response = embed(client, bytes(range(256)), "pdqf", "means")
    assert response.outcome == types_pb2.OUTCOME_UNSUPPORTED_MEDIA
    assert response.outcome_reason
    assert not response.embeddings
    assert not response.scores


def test_a_classifier_makes_unsupported_media_an_outcome(client: Client) -> None:
    """Even where the request names only byte hashes, which apply to any file."""
    request = screening_pb2.ScreenRequest(
        content=types_pb2.Content(data=bytes(range(256))), algorithms=["md5"], models=["means"]
    )
    with holding(client, "md5"):
        response = client.screening.Screen(request)
    assert response.content_outcome == types_pb2.OUTCOME_UNSUPPORTED_MEDIA
    assert not response.scores


def test_a_flat_picture_is_of_low_quality(client: Client) -> None:
    response = embed(client, plain(0, 0, 0), "pdqf", "means")
    assert response.outcome == types_pb2.OUTCOME_LOW_QUALITY
    assert not response.embeddings
    assert len(response.scores) == 3


def test_nan_is_refused_and_the_service_goes_on(client: Client) -> None:
    error = failure(lambda: embed(client, plain(10, 200, 10), "odd"))
    assert (error.code(), error.reason) == (grpc.StatusCode.DATA_LOSS, "DATA_CORRUPT")
    assert "NaN" in error.message
    assert embed(client, plain(200, 10, 10), "odd").embeddings


def test_a_damaged_picture_is_an_error(client: Client) -> None:
    error = failure(lambda: embed(client, photograph("rocket.jpg").read_bytes()[:4000], "pdqf"))
    assert error.reason == "MEDIA_CORRUPT"


def test_concurrent_callers_each_get_their_own_result(server: Running) -> None:
    shades = [(i, 255 - i, (7 * i) % 256) for i in range(1, 200)]

    async def ask() -> list[hashing_pb2.EmbedResponse]:
        async with AsyncClient(server.address, timeout_s=PATIENCE_S) as client:
            calls = [
                client.hashing.Embed(
                    hashing_pb2.EmbedRequest(
                        content=types_pb2.Content(data=plain(*shade)), models=["means"]
                    )
                )
                for shade in shades
            ]
            return [await call for call in calls]

    for shade, response in zip(shades, asyncio.run(ask()), strict=True):
        expected = np.array(shade) / np.linalg.norm(shade)
        np.testing.assert_allclose(response.embeddings[0].values, expected, atol=1e-5)


def test_the_service_does_not_start_with_a_wrong_checksum(tmp_path: Path) -> None:
    file = models_file(tmp_path, sha256="0" * 64)
    result = featsvc(
        *("serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data")),
        environ={"FEATSVC_EMBED_MODELS_FILE": str(file)},
    )
    assert result.returncode != 0
    assert "model means" in result.stderr
    assert f"not {'0' * 64} as declared" in result.stderr
    assert "Traceback" not in result.stderr
