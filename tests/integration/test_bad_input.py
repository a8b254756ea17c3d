"""Every kind of bad input gets its documented status and a helpful message."""

import io
import struct
import zlib
from collections.abc import Callable

import grpc
import pytest
from featsvc_client import Client
from featsvc_client.v1 import (
    banks_pb2,
    features_pb2,
    hashing_pb2,
    matching_pb2,
    screening_pb2,
    types_pb2,
)
from PIL import Image

from tests.integration.running import failure, holding
from tests.photographs import photograph

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def png_bomb(side: int) -> bytes:
    """A tiny file whose header declares side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(3 * side + 1) * 100, 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def hash_request(data: bytes, *algorithms: str) -> hashing_pb2.HashRequest:
    return hashing_pb2.HashRequest(content=types_pb2.Content(data=data), algorithms=algorithms)


def screen_request(data: bytes, account: str = "a1") -> screening_pb2.ScreenRequest:
    return screening_pb2.ScreenRequest(
        content=types_pb2.Content(data=data),
        entities=[types_pb2.EntityRef(entity="account", id=account)],
    )


def signal_request(text: str, **options: object) -> matching_pb2.MatchRequest:
    algorithm, _, value = text.partition(":")
    return matching_pb2.MatchRequest(
        signal=types_pb2.Signal(algorithm=algorithm, value=value),
        options=types_pb2.MatchOptions(**options),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("method", ["hash", "match", "screen"])
def test_empty_body(client: Client, method: str) -> None:
    calls: dict[str, Callable[[], object]] = {
        "hash": lambda: client.hashing.Hash(hash_request(b"")),
        "match": lambda: client.matching.Match(
            matching_pb2.MatchRequest(content=types_pb2.Content())
        ),
        "screen": lambda: client.screening.Screen(screen_request(b"")),
    }
    error = failure(calls[method])
    assert (error.code(), error.reason, error.path) == (INVALID, "CONTENT_EMPTY", "content.data")
    assert "empty" in error.message


def test_random_bytes_are_an_outcome_and_matched_by_byte_hashes(client: Client) -> None:
    with holding(client, "md5"):
        response = client.screening.Screen(screen_request(bytes(range(256)) * 40))
    assert response.content_outcome == types_pb2.OUTCOME_UNSUPPORTED_MEDIA
    assert response.content_outcome_reason
    # Other tests have banks in this service, which may hold more.
    assert {s.algorithm for s in response.signals} >= {"md5", "sha256"}


def test_content_over_the_limit_is_refused(client: Client) -> None:
    error = failure(lambda: client.hashing.Hash(hash_request(bytes(34 * 2**20))))
    assert (error.code(), error.reason) == (INVALID, "MESSAGE_TOO_LARGE")
    assert error.metadata["max_bytes"] == str(33 * 2**20)
    assert int(error.metadata["bytes"]) > 34 * 2**20


def test_a_message_that_grpc_refuses_has_the_same_reason(client: Client) -> None:
    error = failure(lambda: client.hashing.Hash(hash_request(bytes(67 * 2**20))))
    assert (error.code(), error.reason) == (INVALID, "MESSAGE_TOO_LARGE")
    assert error.retry_after_ms is None


def test_hash_of_the_wrong_length(client: Client) -> None:
    error = failure(lambda: client.matching.Match(signal_request("pdq:abcd")))
    assert (error.code(), error.reason, error.path) == (INVALID, "INVALID_SIGNAL", "signal.value")
    assert "64 hex digits" in error.message


def test_hash_with_a_bad_digit(client: Client) -> None:
    error = failure(lambda: client.matching.Match(signal_request("pdq:" + "f" * 63 + "g")))
    assert (error.code(), error.reason) == (INVALID, "INVALID_SIGNAL")
    assert "position 64" in error.message


def test_upper_case_is_normalised(client: Client) -> None:
    response = client.matching.Match(signal_request("PDQ:" + "AB" * 32))
    assert response.signals[0].value == "ab" * 32


def test_unknown_algorithm(client: Client) -> None:
    for call in (
        lambda: client.matching.Match(signal_request("pqd:" + "ab" * 32)),
        lambda: client.hashing.Hash(hash_request(photograph("rocket.jpg").read_bytes(), "pqd")),
    ):
        error = failure(call)
        assert (error.code(), error.reason) == (INVALID, "UNKNOWN_ALGORITHM")
        assert "pdq" in error.message


def test_unknown_bank(client: Client) -> None:
    for call in (
        lambda: client.matching.Match(signal_request("pdq:" + "ab" * 32, banks=["nowhere"])),
        lambda: client.banks.GetBank(banks_pb2.GetBankRequest(name="banks/nowhere")),
    ):
        error = failure(call)
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert "nowhere" in error.message


def test_account_id_of_10_kb(client: Client) -> None:
    photo = photograph("rocket.jpg").read_bytes()
    error = failure(lambda: client.screening.Screen(screen_request(photo, "a" * 10_000)))
    assert error.code() is INVALID
    assert len(error.message) < 1000
    ref = types_pb2.EntityRef(entity="account", id="a" * 10_000)
    error = failure(
        lambda: client.features.GetFeatures(features_pb2.GetFeaturesRequest(entities=[ref]))
    )
    assert error.code() is INVALID


def test_unknown_feature(client: Client) -> None:
    request = screen_request(photograph("rocket.jpg").read_bytes())
    request.selection.features.append("uploads_1y")
    error = failure(lambda: client.screening.Screen(request))
    assert (error.code(), error.path) == (INVALID, "selection.features")
    assert "uploads_1y" in error.message


def test_a_query_is_required(client: Client) -> None:
    error = failure(lambda: client.matching.Match(matching_pb2.MatchRequest()))
    assert (error.code(), error.path) == (INVALID, "query")


def test_a_picture_of_one_pixel_is_low_quality(client: Client) -> None:
    tiny = io.BytesIO()
    Image.new("RGB", (1, 1), "white").save(tiny, "PNG")
    with holding(client, "pdq"):
        response = client.screening.Screen(screen_request(tiny.getvalue()))
    assert response.content_outcome == types_pb2.OUTCOME_LOW_QUALITY
    outcomes = {s.algorithm: s.outcome for s in response.signals}
    assert outcomes["pdq"] == types_pb2.OUTCOME_LOW_QUALITY
