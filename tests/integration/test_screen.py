"""Screen over gRPC: matches of a photograph, and features of its account."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2, features_pb2, hashing_pb2, screening_pb2, types_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.integration.running import Running, featsvc, served_revision
from tests.patience import PATIENCE_S
from tests.photographs import edited, photograph

BANK = "screening"


@pytest.fixture(scope="module")
def bank(server: Running, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bank of three photographs, imported as a curator would."""
    rows = ["algorithm,signal,external_id,labels"]
    with server.client() as client:
        for name in ("astronaut.png", "coffee.png", "rocket.jpg"):
            content = types_pb2.Content(data=photograph(name).read_bytes())
            hashed = client.hashing.Hash(hashing_pb2.HashRequest(content=content))
            rows += [f"{s.algorithm},{s.value},{name},test;photo" for s in hashed.signals]
    file: Path = tmp_path_factory.mktemp("lists") / "list.csv"
    file.write_text("\n".join(rows) + "\n")
    for arguments in (("bank", "create", BANK), ("bank", "import", str(file), "--bank", BANK)):
        result = featsvc(*arguments, server=server.address)
        assert result.returncode == 0, result.stderr
    return BANK


def request(
    name: str, data: bytes, account: str, event_id: str = ""
) -> screening_pb2.ScreenRequest:
    message = screening_pb2.ScreenRequest(
        request_id=name,
        content=types_pb2.Content(data=data),
        entities=[types_pb2.EntityRef(entity="account", id=account)],
        selection=features_pb2.FeatureSelection(features=["uploads_1h", "upload_bytes_1h"]),
        options=types_pb2.MatchOptions(banks=[BANK]),
    )
    if event_id:
        event = message.record_event
        event.event_id, event.type = event_id, "upload"
        event.time.GetCurrentTime()
        event.entities["account"] = account
        event.attributes["bytes"].number = len(data)
    return message


def test_an_edited_copy_is_matched(client: Client, bank: str) -> None:
    data = edited("coffee.png")
    response = client.screening.Screen(request("r1", data, "screen-1", event_id="e1"))
    assert response.request_id == "r1"
    assert response.content_outcome == types_pb2.OUTCOME_OK
    (match,) = response.matches
    assert match.bank == f"banks/{bank}"
    assert match.entry.startswith(f"banks/{bank}/entries/")
    assert (match.external_id, match.algorithm) == ("coffee.png", "pdq")
    assert match.distance <= match.threshold == 31
    assert list(match.labels) == ["test", "photo"]
    assert match.mode == types_pb2.BANK_MODE_ENFORCE
    assert response.watermark.revision == served_revision(client)
    assert response.watermark.commit_time.seconds > 0
    columns = {c.name: (list(c.values), list(c.statuses)) for c in response.features.columns}
    present = features_pb2.FEATURE_STATUS_PRESENT
    assert columns["uploads_1h"] == ([1.0], [present])
    assert columns["upload_bytes_1h"] == ([float(len(data))], [present])
    assert response.event_result.status == features_pb2.EventResult.STATUS_APPLIED
    assert response.timings.total_us >= response.timings.decode_us > 0
    assert response.timings.features_us > 0


def test_the_same_file_is_one_match_not_three(client: Client, bank: str) -> None:
    data = photograph("rocket.jpg").read_bytes()
    response = client.screening.Screen(request("r", data, "screen-2"))
    (match,) = response.matches
    assert (match.external_id, match.distance) == ("rocket.jpg", 0)


def test_an_unrelated_picture_matches_nothing(client: Client, bank: str) -> None:
    response = client.screening.Screen(
        request("r", photograph("chelsea.png").read_bytes(), "screen-3")
    )
    assert response.content_outcome == types_pb2.OUTCOME_OK
    assert not response.matches
    statuses = {s for c in response.features.columns for s in c.statuses}
    assert statuses == {features_pb2.FEATURE_STATUS_NOT_FOUND}


def test_an_event_of_a_malformed_time_is_rejected_alone(client: Client, bank: str) -> None:
    sent = request("r", photograph("rocket.jpg").read_bytes(), "screen-time", event_id="t1")
    sent.record_event.time.nanos = -5
    response = client.screening.Screen(sent)
    assert response.event_result.status == features_pb2.EventResult.STATUS_REJECTED
    assert "not a valid Timestamp" in response.event_result.reason
    assert response.features_outcome == types_pb2.OUTCOME_OK
    assert [column.name for column in response.features.columns] == [
        *("uploads_1h", "upload_bytes_1h")
    ]
    assert len(response.matches) == 1


def test_a_stream_goes_on_after_a_bad_request(client: Client, bank: str) -> None:
    photo = photograph("astronaut.png").read_bytes()
    sent = {f"s{i}": photo for i in range(20)} | {"bad": b""}

    def requests() -> Iterator[screening_pb2.ScreenRequest]:
        for name, data in sent.items():
            yield request(name, data, "screen-4")

    stream = client.screening.ScreenStream(requests(), timeout=PATIENCE_S)
    answers = {a.request_id: a for a in stream}
    assert answers.keys() == sent.keys()
    assert answers["bad"].error.reason == "CONTENT_EMPTY"
    for name in sent.keys() - {"bad"}:
        assert answers[name].response.matches[0].external_id == "astronaut.png"


def test_concurrent_screens_agree(client: Client, bank: str) -> None:
    photo = edited("astronaut.png")
    found: list[str] = []

    def upload() -> None:
        response = client.screening.Screen(request("r", photo, "screen-5"))
        found.append(response.matches[0].external_id)

    threads = [threading.Thread(target=upload) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["astronaut.png"] * 16


def test_every_service_is_listed_by_reflection(client: Client) -> None:
    services = ProtoReflectionDescriptorDatabase(client.channel).get_services()
    names = ("Screening", "Hashing", "Matching", "Feature", "Bank")
    assert {f"featsvc.v1.{name}Service" for name in names} <= set(services)
    assert "grpc.health.v1.Health" in services


def test_algorithms_are_listed(client: Client) -> None:
    listed = client.hashing.ListAlgorithms(hashing_pb2.ListAlgorithmsRequest()).algorithms
    (pdq,) = (a for a in listed if a.name == "pdq")
    assert (pdq.bits, pdq.default_threshold, pdq.quality_floor) == (256, 31, 50)


def test_features_are_listed_in_pages(client: Client) -> None:
    names: list[str] = []
    token = ""
    while True:
        page = client.features.ListFeatures(
            features_pb2.ListFeaturesRequest(page_size=3, page_token=token)
        )
        names += [f.name for f in page.features]
        token = page.next_page_token
        if not token:
            break
    assert "uploads_1h" in names
    assert len(names) == len(set(names))


def test_a_bank_is_read_back_entry_by_entry(client: Client, bank: str) -> None:
    page = client.banks.ListEntries(banks_pb2.ListEntriesRequest(parent=f"banks/{bank}"))
    assert page.total_entries == 3
    assert [len(e.signals) for e in page.entries] == [3, 3, 3]
    entry = client.banks.GetEntry(banks_pb2.GetEntryRequest(name=page.entries[0].name))
    assert entry == page.entries[0]
