"""Files whose pixels do not decode are matched by their bytes, and never read as "no match"."""

import hashlib
import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from featsvc_client import Action, Client, decide
from featsvc_client.v1 import (
    banks_pb2,
    features_pb2,
    hashing_pb2,
    matching_pb2,
    screening_pb2,
    types_pb2,
)
from PIL import Image

from tests.hashing.photographs import encode, noise
from tests.integration.running import Running, failure, featsvc, free_ports, running
from tests.integration.test_bad_input import png_bomb
from tests.patience import PATIENCE_S
from tests.photographs import ROOT, edited, photograph

CASES = ROOT.parent / "shared" / "cases" / "media"
CORRUPT, TOO_LARGE = types_pb2.OUTCOME_CORRUPT_MEDIA, types_pb2.OUTCOME_TOO_LARGE_MEDIA
DIGESTS = ("md5", "sha1", "sha256")


def broken_files() -> dict[str, tuple[bytes, types_pb2.Outcome, str]]:
    """Files by name, with the outcome, and what the reason names."""
    whole = photograph("rocket.jpg").read_bytes()
    progressive = encode(Image.open(photograph("coffee.png")), "JPEG", progressive=True)
    at = progressive.index(b"\xff\xda")
    scans = progressive[:at] + progressive[at : at + 40] * 20_000
    slow = encode(Image.fromarray(noise(1, 1500, 1500)), "PNG", compress_level=1)
    files = {
        "truncated.jpg": (whole[: len(whole) // 2], CORRUPT, "Premature end"),
        "no-end.jpg": (whole[:-9], CORRUPT, "JPEG"),
        "truncated.gif": (photograph("no_time_for_that_tiny.gif").read_bytes()[:900], CORRUPT, ""),
        "bomb.png": (png_bomb(20_000), TOO_LARGE, "media.max_pixels"),
        "long.png": (encode(Image.new("L", (401, 2)), "PNG"), TOO_LARGE, "media.max_aspect_ratio"),
        "scans.jpg": (scans, TOO_LARGE, "media.max_decode_ms"),
        "slow.png": (slow, TOO_LARGE, "media.max_decode_ms"),
    }
    for name in ("half_junk_eoi.jpg", "bigtiff_offset.tif"):
        if CASES.is_dir():
            files[name] = ((CASES / name).read_bytes(), CORRUPT, "")
    return files


FILES = broken_files()


HASTY = {"scans.jpg", "slow.png"}
"""What only the service that gives a decoder a millisecond refuses."""


@pytest.fixture(scope="module")
def metrics() -> str:
    return f"127.0.0.1:{free_ports()}"


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory, metrics: str
) -> Iterator[dict[str, Running]]:
    """The service to ask about each file.

    In the bank `known` are the MD5, SHA-1 or SHA-256 of the files; `sound` has a picture.
    """
    hurry = {"FEATSVC_MEDIA_MAX_DECODE_MS": "1"}
    with (
        running(
            tmp_path_factory.mktemp("patient"), environ={"FEATSVC_METRICS_LISTEN": metrics}
        ) as patient,
        running(tmp_path_factory.mktemp("hasty"), environ=hurry) as hasty,
    ):
        for service in (patient, hasty):
            with service.client() as client:
                fill_banks(client)
        yield {name: hasty if name in HASTY else patient for name in FILES}
        for service in (patient, hasty):
            service.check_healthy()


def fill_banks(client: Client) -> None:
    for bank_id in ("known", "sound"):
        client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id=bank_id))
    add = banks_pb2.AddEntriesRequest(parent="banks/known")
    for number, (name, (data, *_)) in enumerate(FILES.items()):
        algorithm = DIGESTS[number % len(DIGESTS)]
        entry = add.entries.add(external_id=name)
        entry.signals.add(algorithm=algorithm, value=hashlib.new(algorithm, data).hexdigest())
    client.banks.AddEntries(add)
    sound = banks_pb2.AddEntriesRequest(parent="banks/sound", entries=[banks_pb2.Entry()])
    sound.contents.add(data=edited("coffee.png"))
    client.banks.AddEntries(sound)


@pytest.fixture
def clients(services: dict[str, Running]) -> Iterator[dict[str, Client]]:
    """A client for each file."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(each.client()) for name, each in services.items()}


@pytest.fixture
def client(clients: dict[str, Client]) -> Client:
    return clients["truncated.jpg"]


def content(name: str) -> types_pb2.Content:
    return types_pb2.Content(data=FILES[name][0])


def screen_request(name: str, bank: str) -> screening_pb2.ScreenRequest:
    request = screening_pb2.ScreenRequest(
        request_id=name,
        content=content(name),
        entities=[types_pb2.EntityRef(entity="account", id=f"undecoded-{name}-{bank}")],
        selection=features_pb2.FeatureSelection(features=["uploads_1h"]),
        options=types_pb2.MatchOptions(banks=[bank]),
    )
    event = request.record_event
    event.event_id, event.type = f"{name}-{bank}-{time.time_ns()}", "upload"
    event.time.GetCurrentTime()
    event.entities["account"] = request.entities[0].id
    return request


Asked = tuple[types_pb2.Outcome, str, list[types_pb2.Match], list[str], Action]


def by_match(client: Client, name: str, bank: str) -> Asked:
    options = types_pb2.MatchOptions(banks=[bank])
    answer = client.matching.Match(
        matching_pb2.MatchRequest(content=content(name), options=options)
    )
    signals = [signal.algorithm for signal in answer.signals]
    return answer.outcome, answer.outcome_reason, [*answer.matches], signals, decide(answer).action


def by_screen(client: Client, name: str, bank: str) -> Asked:
    return screened(client.screening.Screen(screen_request(name, bank)))


def by_stream(client: Client, name: str, bank: str) -> Asked:
    requests = iter([screen_request(name, bank)])
    (answer,) = client.screening.ScreenStream(requests)
    assert decide(answer) == decide(answer.response)
    return screened(answer.response)


def screened(answer: screening_pb2.ScreenResponse) -> Asked:
    """The event is recorded and the features are read, as for every other outcome."""
    assert answer.features_outcome == types_pb2.OUTCOME_OK
    assert answer.event_result.status == features_pb2.EventResult.STATUS_APPLIED
    (column,) = answer.features.columns
    assert column.values[0] >= 1
    signals = [signal.algorithm for signal in answer.signals]
    reason, matches = answer.content_outcome_reason, [*answer.matches]
    return answer.content_outcome, reason, matches, signals, decide(answer).action


WAYS = {"Match": by_match, "Screen": by_screen, "ScreenStream": by_stream}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FILES)
def test_it_is_matched_by_its_bytes(clients: dict[str, Client], name: str, way: str) -> None:
    _, expected, why = FILES[name]
    outcome, reason, matches, signals, action = WAYS[way](clients[name], name, "known")
    assert outcome == expected
    assert why in reason
    assert [match.external_id for match in matches] == [name]
    assert matches[0].algorithm in DIGESTS
    assert sorted(signals) == ["md5", "sha1", "sha256"]
    assert action is Action.ACT


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FILES)
def test_no_match_of_its_bytes_is_held(clients: dict[str, Client], name: str, way: str) -> None:
    outcome, reason, matches, _, action = WAYS[way](clients[name], name, "sound")
    assert (outcome, matches, action) == (FILES[name][1], [], Action.HOLD)
    assert reason


@pytest.mark.parametrize("name", FILES)
def test_hash_lists_its_bytes(clients: dict[str, Client], name: str) -> None:
    client = clients[name]
    data, expected, why = FILES[name]
    answer = client.hashing.Hash(
        hashing_pb2.HashRequest(content=content(name), algorithms=["pdq", *DIGESTS])
    )
    assert (answer.outcome, why in answer.outcome_reason) == (expected, True)
    assert {s.algorithm: s.value for s in answer.signals} == {
        algorithm: hashlib.new(algorithm, data).hexdigest() for algorithm in DIGESTS
    }
    alone = hashing_pb2.HashRequest(content=content(name), algorithms=["pdq", "phash"])
    answer = client.hashing.Hash(alone)
    assert (answer.outcome, list(answer.signals)) == (expected, [])


def test_perceptual_algorithms_alone_are_held(client: Client) -> None:
    for algorithms in (["pdq"], ["phash"]):
        answer = client.matching.Match(
            matching_pb2.MatchRequest(content=content("truncated.jpg"), algorithms=algorithms)
        )
        assert not answer.matches
        assert decide(answer).action is Action.HOLD
        # No bank holds phash, which is said first.
        named = algorithms == ["phash"]
        assert answer.outcome == (types_pb2.OUTCOME_NOT_SEARCHED if named else CORRUPT)
        assert "Premature end" in answer.outcome_reason


def test_vectors_and_scores_are_absent(client: Client) -> None:
    request = matching_pb2.MatchRequest(content=content("no-end.jpg"), algorithms=["pdqf@1", "md5"])
    answer = client.matching.Match(request)
    assert [signal.algorithm for signal in answer.signals] == ["md5"]
    assert answer.outcome == types_pb2.OUTCOME_NOT_SEARCHED
    assert "Premature end" in answer.outcome_reason


Side = hashing_pb2.CompareRequest.Side


def test_compare_says_which_side_and_why(clients: dict[str, Client]) -> None:
    sound = Side(content=types_pb2.Content(data=edited("coffee.png")))
    for name, (_, expected, why) in FILES.items():
        side = Side(content=content(name))
        for letter, a, b in (("a", side, sound), ("b", sound, side)):
            request = hashing_pb2.CompareRequest(a=a, b=b, algorithms=["pdq", "md5"])
            pdq, md5 = clients[name].hashing.Compare(request).distances
            assert (pdq.outcome, pdq.match) == (expected, False)
            assert pdq.distance != pdq.distance, "NaN"
            assert pdq.outcome_reason.startswith(f"{letter}: ")
            assert why in pdq.outcome_reason
            assert (md5.outcome, md5.distance, md5.outcome_reason) == (types_pb2.OUTCOME_OK, 1, "")
    same = hashing_pb2.CompareRequest(a=side, b=side, algorithms=["md5"])
    assert clients[name].hashing.Compare(same).distances[0].match


def test_what_only_pixels_can_answer_stays_an_error(clients: dict[str, Client]) -> None:
    reasons = {"truncated.jpg": "MEDIA_CORRUPT", "bomb.png": "MEDIA_TOO_LARGE"}
    for name, reason in {**reasons, "slow.png": "TIMED_OUT"}.items():
        client = clients[name]
        embed = hashing_pb2.EmbedRequest(content=content(name), models=["pdqf"])
        add = banks_pb2.AddEntriesRequest(
            parent="banks/known",
            entries=[banks_pb2.Entry(external_id="first"), banks_pb2.Entry(external_id="new")],
            contents=[types_pb2.Content(text="some words"), content(name)],
        )
        calls: tuple[Callable[[], object], ...] = (
            partial(client.hashing.Embed, embed),
            partial(client.banks.AddEntries, add),
        )
        for call in calls:
            error = failure(call)
            assert error.reason == reason
        assert error.path == "contents[1]"
        assert "add its md5 and sha256 as signals" in error.message
    for external_id in ("first", "new"):
        listed = banks_pb2.ListEntriesRequest(parent="banks/known", external_id=external_id)
        for client in (clients["truncated.jpg"], clients["slow.png"]):
            assert not client.banks.ListEntries(listed).entries


def test_samples_that_do_not_decode_are_counted(clients: dict[str, Client]) -> None:
    for name, client in clients.items():
        options = banks_pb2.EvaluateOptions(name="banks/sound")
        sample = banks_pb2.Sample(content=content(name), positive=True)
        requests = [
            banks_pb2.EvaluateBankRequest(options=options),
            banks_pb2.EvaluateBankRequest(sample=sample),
        ]
        assert client.banks.EvaluateBank(iter(requests)).unreadable_samples == 1


def test_metrics_count_the_outcome(client: Client, metrics: str) -> None:
    def count() -> float:
        with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=PATIENCE_S) as answer:
            text = answer.read().decode()
        line = r'^featsvc_screen_outcomes_total{outcome="CORRUPT_MEDIA",part="content"} (\S+)$'
        found = re.search(line, text, re.MULTILINE)
        return float(found[1]) if found else 0

    before = count()
    by_screen(client, "truncated.jpg", "known")
    assert count() == before + 1


def test_the_command_prints_matches_and_fails(services: dict[str, Running], tmp_path: Path) -> None:
    server = services["truncated.jpg"].address
    file = tmp_path / "truncated.jpg"
    file.write_bytes(FILES["truncated.jpg"][0])
    for command in (("match",), ("screen", "--account", "a1")):
        result = featsvc(*command, str(file), "--bank", "known", server=server)
        assert result.returncode == 1, "as for every file that could not be looked at"
        assert "content: CORRUPT_MEDIA: the JPEG does not decode" in result.stdout
        assert "no match" not in result.stdout
        assert "only its byte hashes were matched" in result.stderr
        result = featsvc(*command, str(file), "--bank", "sound", "--json", server=server)
        shown = json.loads(result.stdout)
        assert result.returncode == 1
        assert (shown["outcome"], shown["matches"]) == ("CORRUPT_MEDIA", [])
    result = featsvc("match", str(file), "--bank", "sound", server=server)
    assert "but not everything could be searched" in result.stdout
    result = featsvc("bank", "add", "known", str(file), server=server)
    assert (result.returncode, "add its md5 and sha256" in result.stderr) == (1, True)
