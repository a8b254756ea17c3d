"""MatchBatch and Compare over gRPC: columns, distances, and refused requests."""

import math
from collections.abc import Callable

import grpc
import pytest
from featsvc_client import Client
from featsvc_client.v1 import hashing_pb2, matching_pb2, types_pb2
from PIL import Image

from tests.hashing.photographs import encode
from tests.integration.running import Running, failure, featsvc
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
    """The value of a number with its last `bits` bits flipped."""
    return (int.from_bytes(value(number), "big") ^ ((1 << bits) - 1)).to_bytes(32, "big")


def test_a_batch_has_the_matches_of_single_calls(client: Client, bank: str) -> None:
    queries = [value(3), value(77), near(3, 5), near(5, 31), near(1, 32)]
    answer = client.matching.MatchBatch(batch(b"".join(queries), "PDQ"))
    assert list(answer.offsets) == [0, 1, 1, 2, 3, 3]
    assert list(answer.distances) == [0, 5, 31]
    assert answer.watermark.revision > 0
    assert len(answer.entries) == 2
    for i, query in enumerate(queries):
        single = client.matching.Match(
            matching_pb2.MatchRequest(
                signal=types_pb2.Signal(algorithm="pdq", value=query.hex()),
                options=types_pb2.MatchOptions(banks=[bank]),
            )
        )
        columns = range(answer.offsets[i], answer.offsets[i + 1])
        for j, expected in zip(columns, single.matches, strict=True):
            match = answer.entries[answer.entry_index[j]]
            assert (match.entry, answer.distances[j]) == (expected.entry, expected.distance)
            for field in ("bank", "threshold", "mode", "entry_signal"):
                assert getattr(match, field) == getattr(expected, field)


def test_an_empty_batch_has_an_empty_answer(client: Client, bank: str) -> None:
    answer = client.matching.MatchBatch(batch(b""))
    assert (list(answer.offsets), list(answer.entries)) == ([0], [])


OK, LOW, NOT = types_pb2.OUTCOME_OK, types_pb2.OUTCOME_LOW_QUALITY, types_pb2.OUTCOME_NOT_SEARCHED


def test_a_batch_has_an_outcome_for_each_query(client: Client, bank: str) -> None:
    request = batch(value(1) + value(2) + bytes(32) + value(77))
    request.qualities.extend([100, 49, 100, 50])
    request.count = 4
    answer = client.matching.MatchBatch(request)
    assert list(answer.outcomes) == [OK, LOW, LOW, OK]
    assert list(answer.offsets) == [0, 1, 1, 1, 1]
    assert "quality floor" in answer.outcome_reason
    (pdq,) = answer.searched.algorithms
    assert (pdq.algorithm, list(pdq.banks), pdq.signals) == ("pdq", [f"banks/{bank}"], 5)
    request.options.match_low_quality = True
    answer = client.matching.MatchBatch(request)
    assert (list(answer.outcomes), answer.outcome_reason) == ([OK] * 4, "")
    assert list(answer.offsets) == [0, 1, 2, 2, 2]
    request.options.labels.append("nobody has it")
    answer = client.matching.MatchBatch(request)
    assert list(answer.outcomes) == [NOT] * 4
    assert "nobody has it" in answer.outcome_reason


def test_hex_text_is_not_taken_for_two_hashes(client: Client, bank: str) -> None:
    request = batch(value(1).hex().encode())
    assert len(client.matching.MatchBatch(request).outcomes) == 2
    request.count = 1
    error = failure(lambda: client.matching.MatchBatch(request))
    assert (error.code(), error.reason, error.path) == (INVALID, "INVALID_SIGNAL", "count")
    assert "64 bytes" in error.message


def test_wrong_qualities_are_refused(client: Client, bank: str) -> None:
    for qualities in ([1], [1, 2, 3], [1, 101], [1, 2**32 - 1]):
        request = batch(value(1) + value(2))
        request.qualities.extend(qualities)
        error = failure(lambda: client.matching.MatchBatch(request))  # noqa: B023
        assert (error.code(), error.reason, error.path) == (INVALID, "INVALID_INPUT", "qualities")


@pytest.mark.parametrize(
    ("request_", "reason", "message"),
    [
        (batch(bytes(33)), "INVALID_SIGNAL", "33 bytes"),
        (batch(bytes(32 * 65_537)), "INVALID_INPUT", "65537"),
        (batch(bytes(32), "pdk"), "UNKNOWN_ALGORITHM", "pdk"),
        (batch(b"", ""), "UNKNOWN_ALGORITHM", ""),
    ],
)
def test_a_bad_batch_is_refused(
    client: Client, bank: str, request_: matching_pb2.MatchBatchRequest, reason: str, message: str
) -> None:
    error = failure(lambda: client.matching.MatchBatch(request_))
    assert (error.code(), error.reason) == (INVALID, reason)
    assert message in str(error)


def test_an_unknown_bank_is_not_found(client: Client) -> None:
    request = matching_pb2.MatchBatchRequest(
        algorithm="pdq", signals=bytes(32), options=types_pb2.MatchOptions(banks=["nowhere"])
    )
    error = failure(lambda: client.matching.MatchBatch(request))
    assert error.code() == grpc.StatusCode.NOT_FOUND


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


def test_an_edited_copy_is_within_the_threshold(client: Client) -> None:
    original = photograph("coffee.png").read_bytes()
    compared = compare(client, content(original), content(edited("coffee.png")))
    assert sorted(compared) == ["md5", "pdq", "sha256"]
    pdq = compared["pdq"]
    assert pdq.match
    assert 0 < pdq.distance <= pdq.threshold == 31
    assert (compared["md5"].distance, compared["md5"].match) == (1, False)
    same = compare(client, content(original), content(original), "phash", "sha256")
    assert {n: d.distance for n, d in same.items()} == {"phash": 0, "sha256": 0}
    assert all(d.match for d in same.values())


def test_content_compares_with_a_signal_by_the_signals_algorithm(client: Client) -> None:
    data = photograph("rocket.jpg").read_bytes()
    hashed = client.hashing.Hash(
        hashing_pb2.HashRequest(content=types_pb2.Content(data=data), algorithms=["dhash"])
    )
    compared = compare(client, signal("dhash", hashed.signals[0].value), content(data))
    assert [(n, d.distance, d.match) for n, d in compared.items()] == [("dhash", 0, True)]


def test_unsupported_media_has_no_distance_and_no_match(client: Client) -> None:
    text = b"no picture at all"
    compared = compare(client, content(text), content(text), "pdq", "md5")
    pdq = compared["pdq"]
    assert pdq.outcome == types_pb2.OUTCOME_UNSUPPORTED_MEDIA
    assert math.isnan(pdq.distance)
    assert not pdq.match
    assert pdq.outcome_reason.startswith("a: the content is not a supported picture format")
    assert compared["md5"].match


def test_a_picture_that_is_too_small_is_of_low_quality(client: Client) -> None:
    small = encode(Image.new("RGB", (40, 40), "red"), "PNG")
    for a, b, side in ((small, edited("coffee.png"), "a"), (edited("coffee.png"), small, "b")):
        compared = compare(client, content(a), content(b), "whash_db4", "md5")
        poor = compared["whash_db4"]
        assert (poor.outcome, poor.match) == (types_pb2.OUTCOME_LOW_QUALITY, False)
        assert math.isnan(poor.distance)
        assert poor.outcome_reason == f"{side}: the picture is too small for whash_db4"
        assert compared["md5"].outcome == types_pb2.OUTCOME_OK


def test_low_quality_is_reported_and_does_not_match(client: Client) -> None:
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
def test_a_bad_comparison_names_the_field(
    client: Client,
    make: Callable[
        [],
        tuple[hashing_pb2.CompareRequest.Side, hashing_pb2.CompareRequest.Side, tuple[str, ...]],
    ],
    field: str,
) -> None:
    a, b, algorithms = make()
    error = failure(lambda: compare(client, a, b, *algorithms))
    assert (error.code(), error.path) == (INVALID, field)


def test_frames_are_refused(client: Client) -> None:
    side = signal("pdq", "0" * 64)
    decode = types_pb2.DecodeOptions(frames=types_pb2.DecodeOptions.FRAMES_ALL)
    request = hashing_pb2.CompareRequest(a=side, b=side, decode=decode)
    assert failure(lambda: client.hashing.Compare(request)).path == "decode.frames"
