"""Banks of vectors through the real service: added, matched, withdrawn, or not served."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2, hashing_pb2, matching_pb2, screening_pb2, types_pb2

from tests.embedding.onnx_files import needs_onnxruntime
from tests.hashing.photographs import plain
from tests.integration.running import Running, failure, featsvc, holding
from tests.photographs import edited, photograph

pytestmark = needs_onnxruntime

COFFEE = photograph("coffee.png").read_bytes()
BUILT_IN = ("pdqf@1", "gist@1", "hog@1", "colour_layout@1")


@pytest.fixture(scope="module")
def server(model_server: Running) -> Running:
    return model_server


@pytest.fixture
def bank(client: Client, request: pytest.FixtureRequest) -> Iterator[str]:
    """A bank that is deleted after the test: other tests depend on what banks hold."""
    name = request.node.name.partition("[")[0].replace("_", "-")[:60]
    client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id=name))
    yield name
    client.banks.DeleteBank(banks_pb2.DeleteBankRequest(name=f"banks/{name}", force=True))


def add(client: Client, bank: str, content: bytes = b"", *models: str, **fields: object) -> None:
    entry = banks_pb2.Entry(external_id="coffee", **fields)  # type: ignore[arg-type]
    request = banks_pb2.AddEntriesRequest(
        parent=f"banks/{bank}", entries=[entry], vector_models=models
    )
    if content:
        request.contents.add(data=content)
    client.banks.AddEntries(request)


def match(client: Client, content: bytes, **fields: object) -> matching_pb2.MatchResponse:
    request = matching_pb2.MatchRequest(
        content=types_pb2.Content(data=content),
        **fields,  # type: ignore[arg-type]
    )
    response: matching_pb2.MatchResponse = client.matching.Match(request)
    return response


def vector_of(client: Client, content: bytes, model: str) -> "np.ndarray":
    request = hashing_pb2.EmbedRequest(content=types_pb2.Content(data=content), models=[model])
    return np.array(client.hashing.Embed(request).embeddings[0].values, "<f4")


def test_a_picture_is_matched_by_its_vectors_and_hashes(client: Client, bank: str) -> None:
    add(client, bank, COFFEE, *BUILT_IN, "means@3")
    found = match(client, edited("coffee.png"))
    assert found.outcome == types_pb2.OUTCOME_OK
    (entry,) = found.matches
    kinds = {entry.algorithm, *(e.algorithm for e in entry.evidence)}
    assert kinds >= {"pdq", "pdqf@1", "gist@1", "means@3"}
    assert {s.algorithm for s in found.signals} == {"pdq", "md5", "sha256", *BUILT_IN, "means@3"}
    near = {e.algorithm: (e.distance, e.threshold) for e in entry.evidence}
    distance, threshold = {**near, entry.algorithm: (entry.distance, entry.threshold)}["pdqf@1"]
    # The distance of the vectors of Embed, which uses RGB where Match uses the luma of the JPEG.
    ours, theirs = (vector_of(client, c, "pdqf") for c in (edited("coffee.png"), COFFEE))
    assert distance == pytest.approx(1 - float(ours @ theirs), abs=2e-3)
    assert 0 < distance <= threshold == 0.135
    # Without `means`, whose three values do not distinguish pictures.
    stranger = match(client, edited("chelsea.png"), algorithms=["pdq", *BUILT_IN])
    assert (stranger.outcome, len(stranger.matches)) == (types_pb2.OUTCOME_OK, 0)


def test_screen_decodes_once_and_gives_vectors_and_scores(client: Client, bank: str) -> None:
    add(client, bank, COFFEE, "pdqf@1", "means@3")
    request = screening_pb2.ScreenRequest(content=types_pb2.Content(data=COFFEE), models=["means"])
    found = client.screening.Screen(request)
    assert found.content_outcome == types_pb2.OUTCOME_OK
    assert [m.external_id for m in found.matches] == ["coffee"]
    assert [s.label for s in found.scores] == ["red", "green", "blue"]
    assert "means@3" in {s.algorithm for s in found.signals}


def test_a_vector_alone_is_added_matched_and_withdrawn(client: Client, bank: str) -> None:
    values = np.arange(1, 6, dtype=np.float32)
    add(client, bank, vectors=[banks_pb2.EntryVector(model="mine@2", values=values)])
    (entry,) = client.banks.ListEntries(
        banks_pb2.ListEntriesRequest(parent=f"banks/{bank}")
    ).entries
    assert entry.vectors[0].model == "mine@2"
    np.testing.assert_allclose(entry.vectors[0].values, values / np.linalg.norm(values), atol=1e-6)
    query = matching_pb2.MatchRequest(
        signal=types_pb2.Signal(algorithm="mine@2", value=(values * 9).tobytes().hex())
    )
    found = client.matching.Match(query)
    assert [(m.external_id, m.distance) for m in found.matches] == [("coffee", 0)]
    batch = client.matching.MatchBatch(
        matching_pb2.MatchBatchRequest(
            algorithm="mine@2", signals=np.stack([values, values[::-1]]).tobytes(), dimensions=5
        )
    )
    assert (list(batch.offsets), list(batch.distances)) == ([0, 1, 1], [])
    assert list(batch.fractional_distances) == [0]
    status = client.matching.GetIndexStatus(matching_pb2.GetIndexStatusRequest())
    assert {a.algorithm: (a.engine, a.entries) for a in status.algorithms}["mine@2"] == ("flat", 1)
    # The server cannot compute such vectors of a picture.
    alone = match(client, COFFEE)
    assert alone.outcome == types_pb2.OUTCOME_NOT_SEARCHED
    assert "vectors of mine@2, which this server does not serve" in alone.outcome_reason
    with holding(client, "pdq"):
        degraded = match(client, COFFEE)
        assert degraded.outcome == types_pb2.OUTCOME_DEGRADED
        assert "vectors of mine@2, which this server does not serve" in degraded.outcome_reason
        screened = client.screening.Screen(
            screening_pb2.ScreenRequest(content=types_pb2.Content(data=COFFEE))
        )
        assert screened.content_outcome == types_pb2.OUTCOME_DEGRADED
        client.banks.WithdrawEntries(
            banks_pb2.WithdrawEntriesRequest(parent=f"banks/{bank}", external_ids=["coffee"])
        )
        assert match(client, COFFEE).outcome == types_pb2.OUTCOME_OK
    assert failure(lambda: client.matching.Match(query)).reason == "VECTORS_NOT_HELD"


def test_vectors_of_another_length_than_the_served_model(client: Client, bank: str) -> None:
    """A mistake of a curator makes uploads DEGRADED: neither an error nor "no match"."""
    vector = banks_pb2.EntryVector(model="odd@1", values=[1, 2, 3, 4, 5, 6, 7])
    add(client, bank, vectors=[vector])
    with holding(client, "pdq"):
        found = match(client, COFFEE)
    assert found.outcome == types_pb2.OUTCOME_DEGRADED
    assert "vectors of odd@1, which this server does not serve or serves with another length" in (
        found.outcome_reason
    )


def test_a_vector_that_no_searched_bank_holds_is_an_error(client: Client, bank: str) -> None:
    add(client, bank, COFFEE, "pdqf@1")
    value = np.ones(256, "<f4").tobytes()
    for model in ("pdqf@2", "gist@1", "sscd@1"):
        signal = types_pb2.Signal(algorithm=model, value=(value * 2).hex())
        error = failure(
            lambda signal=signal: client.matching.Match(  # type: ignore[misc]
                matching_pb2.MatchRequest(signal=signal)
            )
        )
        assert error.reason == "VECTORS_NOT_HELD"
        assert f"no searched bank holds vectors of {model}; they hold pdqf@1" in str(error)
    request = matching_pb2.MatchBatchRequest(algorithm="sscd@1", signals=value, dimensions=256)
    assert failure(lambda: client.matching.MatchBatch(request)).reason == "VECTORS_NOT_HELD"
    error = failure(lambda: match(client, COFFEE, algorithms=["pdq", "sscd@1"]))
    assert (error.reason, "unknown model 'sscd@1'" in str(error)) == ("UNKNOWN_ALGORITHM", True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "pdqf@1", "values": [1.0] * 255}, "pdqf@1 vector has 256 dimensions"),
        ({"model": "sscd@1", "values": [float("nan")]}, "dimension 0 of a sscd@1 vector is nan"),
        ({"model": "sscd@1", "values": [0.0, 0.0]}, "is all zeros"),
        ({"model": "pdqf", "values": [1.0] * 256}, "unknown algorithm 'pdqf'"),
        ({"model": "pdq", "values": [1.0] * 256}, "is not a model of vectors"),
    ],
)
def test_invalid_vectors_are_refused(
    client: Client, bank: str, fields: dict[str, object], message: str
) -> None:
    vector = banks_pb2.EntryVector(**fields)  # type: ignore[arg-type]
    assert message in str(failure(lambda: add(client, bank, vectors=[vector])))


def test_a_bad_vector_in_a_batch_is_named(client: Client, bank: str) -> None:
    add(client, bank, COFFEE, "pdqf@1")
    values = np.ones((3, 256), "<f4")
    values[2, 7] = np.inf
    request = matching_pb2.MatchBatchRequest(algorithm="pdqf@1", signals=values.tobytes())
    assert "signals[2]: dimension 7" in str(failure(lambda: client.matching.MatchBatch(request)))
    request = matching_pb2.MatchBatchRequest(algorithm="sscd@1", signals=b"1234")
    assert "set the number of" in str(failure(lambda: client.matching.MatchBatch(request)))


def test_plain_pictures_are_low_quality_and_are_not_stored(client: Client, bank: str) -> None:
    grey = plain(128, 128, 128)
    error = failure(lambda: add(client, bank, grey, "pdqf@1"))
    assert "contents[0]: no vector of pdqf@1" in str(error)
    add(client, bank, COFFEE, "pdqf@1")
    found = match(client, grey)
    assert (found.outcome, len(found.matches)) == (types_pb2.OUTCOME_LOW_QUALITY, 0)


def test_the_command_stores_finds_and_evaluates_vectors(
    server: Running, bank: str, tmp_path: Path
) -> None:
    picture = photograph("coffee.png")
    added = featsvc("bank", "add", bank, str(picture), "--vector", "pdqf@1", server=server.address)
    assert added.returncode == 0, added.stderr
    assert "pdqf@1: 256 dimensions" in added.stdout
    for name, content in (("bad", edited("coffee.png")), ("good", edited("chelsea.png"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "picture.jpg").write_bytes(content)
    evaluated = featsvc(
        *("bank", "evaluate", bank, "--sample", str(tmp_path), "--algorithm", "pdqf@1"),
        *("--plot", str(tmp_path / "plot.png")),
        server=server.address,
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert "<- suggested" in evaluated.stdout
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    matched = featsvc("match", str(tmp_path / "bad" / "picture.jpg"), server=server.address)
    assert "coffee.png" in matched.stdout
