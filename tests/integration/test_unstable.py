"""An unstable PDQ is never OK: every call and command that shows or matches one."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from featsvc_client import Action, Client, decide
from featsvc_client.v1 import banks_pb2, hashing_pb2, matching_pb2, screening_pb2, types_pb2
from PIL import Image

from tests.hashing.photographs import encode
from tests.hashing.unstable import picture
from tests.integration.running import Running, featsvc

BANK = "unstable"
OK, UNSTABLE = types_pb2.OUTCOME_OK, types_pb2.OUTCOME_UNSTABLE
LOW_QUALITY = types_pb2.OUTCOME_LOW_QUALITY
MIRRORED = encode(Image.fromarray(picture("mirrored", 4, 200, 300)), "PNG")
OTHER = encode(Image.fromarray(picture("mirrored", 9, 200, 300)), "PNG")
FLAT = encode(Image.fromarray(picture("flat", 4, 200, 300)), "PNG")
NOISE = encode(Image.fromarray(picture("noise", 4, 200, 300)), "PNG")


def content(data: bytes) -> types_pb2.Content:
    return types_pb2.Content(data=data)


def pdq_of(client: Client, data: bytes) -> types_pb2.Signal:
    request = hashing_pb2.HashRequest(content=content(data), algorithms=["pdq"])
    return client.hashing.Hash(request).signals[0]


@pytest.fixture(scope="module")
def bank(server: Running) -> str:
    """A bank in SHADOW mode with the PDQ of MIRRORED, and those of NOISE."""
    with server.client() as client:
        settings = banks_pb2.Bank(mode=types_pb2.BANK_MODE_SHADOW)
        client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id=BANK, bank=settings))
        added = client.banks.AddEntries(
            banks_pb2.AddEntriesRequest(
                parent=f"banks/{BANK}",
                entries=[banks_pb2.Entry(external_id=name) for name in ("noise", "mirrored")],
                contents=[content(NOISE), content(MIRRORED)],
            )
        )
        assert list(added.unstable_contents) == [1]
        options = types_pb2.MatchOptions(banks=[BANK])
        query = matching_pb2.MatchRequest(content=content(NOISE), options=options)
        assert client.matching.Match(query).outcome == OK
    return BANK


def test_hash_marks_the_signal(client: Client) -> None:
    request = hashing_pb2.HashRequest(content=content(MIRRORED), algorithms=["pdq", "md5"])
    answer = client.hashing.Hash(request)
    assert answer.outcome == UNSTABLE
    assert [signal.outcome for signal in answer.signals] == [UNSTABLE, OK]
    assert pdq_of(client, FLAT).outcome == LOW_QUALITY


@pytest.mark.parametrize("data", [MIRRORED, OTHER], ids=["held", "another"])
def test_content_is_matched_and_not_ok(client: Client, bank: str, data: bytes) -> None:
    options = types_pb2.MatchOptions(banks=[bank])
    request = matching_pb2.MatchRequest(content=content(data), options=options)
    screened = screening_pb2.ScreenRequest(content=content(data), options=options)
    matched, screen = client.matching.Match(request), client.screening.Screen(screened)
    (streamed,) = client.screening.ScreenStream(iter([screened]))
    held = data is MIRRORED
    for outcome, reason, matches in (
        (matched.outcome, matched.outcome_reason, matched.matches),
        (screen.content_outcome, screen.content_outcome_reason, screen.matches),
        (streamed.response.content_outcome, screen.content_outcome_reason, screen.matches),
    ):
        assert outcome == UNSTABLE
        assert "exact copies" in reason
        assert ["mirrored"] * held == [match.external_id for match in matches]
    for answer in (matched, screen, streamed):
        assert decide(answer).action is Action.HOLD


def test_a_signal_is_as_good_as_its_mark(client: Client, bank: str) -> None:
    signal = pdq_of(client, MIRRORED)
    request = matching_pb2.MatchRequest(signal=signal, options=types_pb2.MatchOptions(banks=[bank]))
    answer = client.matching.Match(request)
    assert (answer.outcome, len(answer.matches)) == (UNSTABLE, 1)
    request.signal.ClearField("outcome")
    assert client.matching.Match(request).outcome == OK
    request.signal.outcome, request.signal.quality = UNSTABLE, 10
    assert client.matching.Match(request).outcome == LOW_QUALITY
    request.options.match_low_quality = True
    answer = client.matching.Match(request)
    assert (answer.outcome, len(answer.matches)) == (UNSTABLE, 1)


def test_a_batch_names_its_unstable_queries(client: Client, bank: str) -> None:
    signals = [pdq_of(client, data) for data in (NOISE, MIRRORED, FLAT, OTHER)]
    marks = [i for i, signal in enumerate(signals) if signal.outcome == UNSTABLE]
    assert marks == [1, 3]
    request = matching_pb2.MatchBatchRequest(
        algorithm="pdq",
        signals=b"".join(bytes.fromhex(signal.value) for signal in signals),
        qualities=[signal.quality for signal in signals],
        options=types_pb2.MatchOptions(banks=[bank]),
        unstable_queries=marks,
    )
    answer = client.matching.MatchBatch(request)
    assert list(answer.outcomes) == [OK, UNSTABLE, LOW_QUALITY, UNSTABLE]
    assert np.diff(answer.offsets).tolist() == [1, 1, 0, 0]
    assert "exact copies" in answer.outcome_reason
    request.unstable_queries[:] = [2]
    assert list(client.matching.MatchBatch(request).outcomes) == [OK, OK, LOW_QUALITY, OK]
    request.unstable_queries[:] = [4]
    with pytest.raises(Exception, match="unstable_queries"):
        client.matching.MatchBatch(request)


def test_compare_is_no_match(client: Client) -> None:
    side = hashing_pb2.CompareRequest.Side
    marked = side(signal=pdq_of(client, MIRRORED))
    for other in (side(content=content(MIRRORED)), side(content=content(NOISE)), marked):
        (distance,) = client.hashing.Compare(
            hashing_pb2.CompareRequest(a=marked, b=other, algorithms=["pdq"])
        ).distances
        assert (distance.outcome, distance.match) == (UNSTABLE, False)


def test_the_command_says_so(server: Running, bank: str, tmp_path: Path) -> None:
    file = tmp_path / "flag.png"
    file.write_bytes(MIRRORED)
    for command in (("match",), ("screen", "--account", "a1")):
        line = (*command, str(file), "--bank", bank)
        shown = featsvc(*line, server=server.address)
        assert "content: UNSTABLE: " in shown.stdout
        shown = featsvc(*line, "--json", server=server.address)
        assert json.loads(shown.stdout)["outcome"] == "UNSTABLE"
    shown = featsvc("hash", str(file))
    assert "exact copies" in shown.stderr
    (row,) = map(
        json.loads, featsvc("compare", "-a", "pdq", *[str(file)] * 2, "--json").stdout.splitlines()
    )
    assert (row["distance"], row["verdict"]) == (0, f"UNSTABLE: {file}")


def test_curators_are_told(server: Running, bank: str, tmp_path: Path) -> None:
    file = tmp_path / "flag.png"
    file.write_bytes(MIRRORED)
    (tmp_path / "noise.png").write_bytes(NOISE)
    added = featsvc(
        "bank", "add", bank, str(file), str(tmp_path / "noise.png"), server=server.address
    )
    assert added.returncode == 0
    assert added.stderr.startswith("flag.png: its pdq is UNSTABLE")
    assert "noise.png" not in added.stderr
    hashed = featsvc("hash", "--json", "--for-bank", str(tmp_path)).stdout
    preview = featsvc(
        *("bank", "import", "-", "--bank", bank, "--dry-run"), server=server.address, stdin=hashed
    )
    assert "1 unstable signal" in " ".join(preview.stdout.split())
    plain = io.StringIO(
        hashed.replace(', "outcome": "UNSTABLE"', "").replace(',"outcome":"UNSTABLE"', "")
    )
    preview = featsvc(
        *("bank", "import", "-", "--bank", bank, "--dry-run"),
        server=server.address,
        stdin=plain.read(),
    )
    assert "unstable" not in preview.stdout
