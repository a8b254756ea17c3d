"""MatchBatch and Compare over gRPC: columns, distances, and what is refused."""

import math
from collections.abc import Callable

import grpc
import pytest
from featsvc_client import Client, explain
from featsvc_client.v1 import hashing_pb2, matching_pb2, types_pb2

from tests.integration.running import Running, featsvc
from tests.matching.rows import list_of, value
from tests.photographs import edited, photograph

BANK = "batch"
INVALID = grpc.StatusCode.INVALID_ARGUMENT
Side = hashing_pb2.CompareRequest.Side


@pytest.fixture(scope="module")
def bank(server: Running, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("lists") / "list.txt"
    file.write_bytes(list_of(range(1, 6)))
    assert featsvc("bank", "create", BANK, server=server.address).returncode == 0
    done = featsvc("bank", "import", str(file), "--bank", BANK, server=server.address)
    assert done.returncode == 0, done.stderr
    return BANK


def batch(signals: bytes, algorithm: str = "pdq") -> matching_pb2.MatchBatchRequest:
    return matching_pb2.MatchBatchRequest(
        algorithm=algorithm, signals=signals, options=types_pb2.MatchOptions(banks=[BANK])
    )


def near(number: int, bits: int) -> bytes:
    """The value of a number with its last bits turned."""
    return (int.from_bytes(value(number), "big") ^ ((1 << bits) - 1)).to_bytes(32, "big")


def test_a_batch_answers_in_columns_what_match_answers_one_by_one(
    client: Client, bank: str
) -> None:
    queries = [value(3), value(77), near(3, 5), near(5, 31), near(1, 32)]
    answer = client.matching.MatchBatch(batch(b"".join(queries), "PDQ"))
    assert list(answer.offsets) == [0, 1, 1, 2, 3, 3]
    assert list(answer.distances) == [0, 5, 31]
    assert answer.watermark.revision > 0
    assert len(answer.entries) == 2
    for i, query in enumerate(queries):
        one = client.matching.Match(
            matching_pb2.MatchRequest(
                signal=types_pb2.Signal(algorithm="pdq", value=query.hex()),
                options=types_pb2.MatchOptions(banks=[bank]),
            )
        )
        columns = range(answer.offsets[i], answer.offsets[i + 1])
        found = [(answer.entries[answer.entry_index[j]], answer.distances[j]) for j in columns]
        assert [(m.entry, d) for m, d in found] == [(m.entry, m.distance) for m in one.matches]
        for mine, theirs in zip((m for m, _ in found), one.matches, strict=True):
            assert (mine.bank, mine.threshold, mine.mode, mine.entry_signal) == (
                theirs.bank, theirs.threshold, theirs.mode, theirs.entry_signal,
            )  # fmt: skip


def test_an_empty_batch_has_an_empty_answer(client: Client, bank: str) -> None:
    answer = client.matching.MatchBatch(batch(b""))
    assert (list(answer.offsets), list(answer.entries)) == ([0], [])


@pytest.mark.parametrize(
    ("request_", "reason", "told"),
    [
        (batch(bytes(33)), "INVALID_SIGNAL", "33 bytes"),
        (batch(bytes(32 * 65_537)), "INVALID_INPUT", "65537"),
        (batch(bytes(32), "pdk"), "UNKNOWN_ALGORITHM", "pdk"),
        (batch(b"", ""), "UNKNOWN_ALGORITHM", ""),
    ],
)
def test_a_bad_batch_is_refused(
    client: Client, bank: str, request_: matching_pb2.MatchBatchRequest, reason: str, told: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.matching.MatchBatch(request_)
    error = explain(caught.value)
    assert (error.code, error.reason) == (INVALID, reason)
    assert told in str(error)


def test_an_unknown_bank_is_not_found(client: Client) -> None:
    request = matching_pb2.MatchBatchRequest(
        algorithm="pdq", signals=bytes(32), options=types_pb2.MatchOptions(banks=["nowhere"])
    )
    with pytest.raises(grpc.RpcError) as caught:
        client.matching.MatchBatch(request)
    assert explain(caught.value).code == grpc.StatusCode.NOT_FOUND


def content(data: bytes) -> hashing_pb2.CompareRequest.Side:
    return Side(content=types_pb2.Content(data=data))


def signal(
    algorithm: str, text: str, quality: int | None = None
) -> hashing_pb2.CompareRequest.Side:
    return Side(signal=types_pb2.Signal(algorithm=algorithm, value=text, quality=quality))


def compare(
    client: Client,
    a: hashing_pb2.CompareRequest.Side,
    b: hashing_pb2.CompareRequest.Side,
    *algorithms: str,
) -> dict[str, hashing_pb2.CompareResponse.Distance]:
    request = hashing_pb2.CompareRequest(a=a, b=b, algorithms=algorithms)
    return {d.algorithm: d for d in client.hashing.Compare(request).distances}


def test_an_edited_copy_compares_near(client: Client) -> None:
    original = photograph("coffee.png").read_bytes()
    compared = compare(client, content(original), content(edited("coffee.png")))
    assert sorted(compared) == ["md5", "pdq", "sha256"]
    pdq = compared["pdq"]
    assert pdq.match
    assert 0 < pdq.distance <= pdq.threshold == 31
    assert (compared["md5"].distance, compared["md5"].match) == (1, False)
    same = compare(client, content(original), content(original), "phash", "sha256")
    assert {n: (d.distance, d.match) for n, d in same.items()} == {
        "phash": (0, True), "sha256": (0, True),
    }  # fmt: skip


def test_content_compares_with_a_signal_by_the_signals_algorithm(client: Client) -> None:
    data = photograph("rocket.jpg").read_bytes()
    hashed = client.hashing.Hash(
        hashing_pb2.HashRequest(content=types_pb2.Content(data=data), algorithms=["dhash"])
    )
    compared = compare(client, signal("dhash", hashed.signals[0].value), content(data))
    assert [(n, d.distance, d.match) for n, d in compared.items()] == [("dhash", 0, True)]


def test_could_not_look_is_no_match_and_no_distance(client: Client) -> None:
    text = b"no picture at all"
    compared = compare(client, content(text), content(text), "pdq", "md5")
    pdq = compared["pdq"]
    assert pdq.outcome == types_pb2.OUTCOME_UNSUPPORTED_MEDIA
    assert math.isnan(pdq.distance)
    assert not pdq.match
    assert compared["md5"].match


def test_low_quality_is_said_and_does_not_match(client: Client) -> None:
    zeros = "0" * 64
    compared = compare(client, signal("pdq", zeros, quality=10), signal("pdq", zeros))
    assert (compared["pdq"].distance, compared["pdq"].match) == (0, False)
    assert compared["pdq"].outcome == types_pb2.OUTCOME_LOW_QUALITY


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: (Side(), signal("pdq", "0" * 64), ()), "a"),
        (lambda: (signal("pdq", "0" * 64), signal("md5", "0" * 32), ()), "b.signal"),
        (lambda: (signal("pdq", "0" * 63), signal("pdq", "0" * 64), ()), "a.signal.value"),
        (lambda: (signal("pdq", "0" * 64), signal("pdq", "0" * 64), ("md5",)), "a.signal"),
        (lambda: (signal("pdq", "0" * 64), content(b""), ()), "b.content.data"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_field(
    client: Client,
    make: Callable[
        [],
        tuple[hashing_pb2.CompareRequest.Side, hashing_pb2.CompareRequest.Side, tuple[str, ...]],
    ],
    field: str,
) -> None:
    a, b, algorithms = make()
    with pytest.raises(grpc.RpcError) as caught:
        compare(client, a, b, *algorithms)
    error = explain(caught.value)
    assert error.code == INVALID
    assert error.path == field


def test_frames_are_refused(client: Client) -> None:
    side = signal("pdq", "0" * 64)
    decode = types_pb2.DecodeOptions(frames=types_pb2.DecodeOptions.FRAMES_ALL)
    with pytest.raises(grpc.RpcError) as caught:
        client.hashing.Compare(hashing_pb2.CompareRequest(a=side, b=side, decode=decode))
    assert explain(caught.value).path == "decode.frames"
