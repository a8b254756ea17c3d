"""Banks of text through the whole service: recall by edit, false matches, lists, bad input."""

import json
import os
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest
from featsvc_client import Client
from featsvc_client.v1 import (
    banks_pb2,
    hashing_pb2,
    matching_pb2,
    screening_pb2,
    types_pb2,
)

from tests.integration.running import Running, failure, featsvc, running
from tests.patience import PATIENCE_S
from tests.photographs import ROOT
from tests.texts import EDITS, ENTRIES, leetspeak, negatives

Call = Callable[..., Any]

BANK = "lures"
ROUNDS = 3
MIN_RECALL = dict.fromkeys(EDITS, 1.0) | {"leetspeak": 0.9, "paraphrase": 0.7}


def content_of(text: str) -> types_pb2.Content:
    return types_pb2.Content(text=text)


def add(client: Client, bank: str, texts: Sequence[str]) -> banks_pb2.AddEntriesResponse:
    added: banks_pb2.AddEntriesResponse = client.banks.AddEntries(
        banks_pb2.AddEntriesRequest(
            parent=f"banks/{bank}",
            entries=[banks_pb2.Entry(external_id=str(i)) for i in range(len(texts))],
            contents=[content_of(text) for text in texts],
        )
    )
    return added


def create(client: Client, bank: str) -> None:
    client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id=bank))


def match(client: Client, text: str, *banks: str) -> matching_pb2.MatchResponse:
    answer: matching_pb2.MatchResponse = client.matching.Match(
        matching_pb2.MatchRequest(
            content=content_of(text), options=types_pb2.MatchOptions(banks=banks or (BANK,))
        )
    )
    return answer


@pytest.fixture(scope="module")
def lures(server: Running) -> Iterator[Client]:
    with server.client() as client:
        create(client, BANK)
        assert len(add(client, BANK, ENTRIES).entries) == len(ENTRIES)
        yield client


@pytest.mark.parametrize("edit", EDITS)
def test_recall(lures: Client, edit: str) -> None:
    rng = random.Random(edit)
    found = 0
    for _ in range(ROUNDS):
        for number, text in enumerate(ENTRIES):
            matches = match(lures, EDITS[edit](text, rng)).matches
            assert {m.external_id for m in matches} <= {str(number)}
            found += bool(matches)
    assert found / (ROUNDS * len(ENTRIES)) >= MIN_RECALL[edit]


def test_recall_of_full_leetspeak(lures: Client) -> None:
    rng = random.Random(1)
    found = [bool(match(lures, leetspeak(text, rng, 1.0)).matches) for text in ENTRIES]
    assert sum(found) / len(found) >= 0.9


def test_no_false_match_among_the_negatives(lures: Client) -> None:
    texts = negatives()
    assert len(texts) > 1000
    requests = (
        screening_pb2.ScreenRequest(
            request_id=str(i),
            content=content_of(text),
            options=types_pb2.MatchOptions(banks=[BANK]),
        )
        for i, text in enumerate(texts)
    )
    answers = list(lures.screening.ScreenStream(requests))
    assert len(answers) == len(texts)
    assert {a.WhichOneof("result") for a in answers} == {"response"}
    assert [texts[int(a.request_id)] for a in answers if a.response.matches] == []


def test_all_negatives_as_one_text_do_not_match(lures: Client) -> None:
    whole = " ".join(negatives())[: 2**19]
    answer = match(lures, whole)
    assert (list(answer.matches), answer.outcome) == ([], types_pb2.OUTCOME_OK)


def test_an_answer_has_distances_and_evidence(lures: Client) -> None:
    answer = match(lures, ENTRIES[2])
    (found,) = answer.matches
    assert (found.algorithm, found.distance, found.external_id) == ("text_sha256", 0, "2")
    assert [(e.algorithm, e.distance, e.threshold) for e in found.evidence] == [("text", 0, 0.4)]
    (edited,) = match(lures, leetspeak(ENTRIES[2], random.Random(0), 0.5)).matches
    assert edited.algorithm == "text"
    assert 0 < edited.distance < 0.4
    assert (edited.entry_signal, edited.query_signal) == ("", "")
    assert {s.algorithm for s in answer.signals} >= {"text", "text_sha256", "md5", "sha256"}
    assert [s.value for s in answer.signals if s.algorithm == "text"] == [""]


def test_screen_accepts_a_text(lures: Client) -> None:
    answer = lures.screening.Screen(
        screening_pb2.ScreenRequest(
            content=content_of(EDITS["prefix"](ENTRIES[0], random.Random(0))),
            entities=[types_pb2.EntityRef(entity="account", id="writer")],
            options=types_pb2.MatchOptions(banks=[BANK]),
        )
    )
    assert answer.content_outcome == types_pb2.OUTCOME_OK
    assert answer.media.media_type == "text/plain"
    assert [m.external_id for m in answer.matches] == ["0"]


def test_a_threshold_bounds_the_distance(lures: Client) -> None:
    half = ENTRIES[5][: len(ENTRIES[5]) // 2]

    def near(threshold: float) -> list[str]:
        request = matching_pb2.MatchRequest(
            content=content_of(half),
            options=types_pb2.MatchOptions(
                banks=[BANK],
                thresholds=[types_pb2.ThresholdOverride(algorithm="text", threshold=threshold)],
            ),
        )
        return [m.external_id for m in lures.matching.Match(request).matches]

    assert near(0.4) == []
    assert near(0.6) == ["5"]
    assert "must be 0 to 1 for text" in str(failure(lambda: near(1.1)))


def test_a_signal_of_a_text_matches_like_the_text(lures: Client) -> None:
    hashed = lures.hashing.Hash(hashing_pb2.HashRequest(content=content_of(ENTRIES[7])))
    signals = {s.algorithm: s for s in hashed.signals}
    assert set(signals) == {"text", "text_sha256", "md5", "sha256"}
    for name in ("text", "text_sha256"):
        request = matching_pb2.MatchRequest(
            signal=signals[name], options=types_pb2.MatchOptions(banks=[BANK])
        )
        assert [m.external_id for m in lures.matching.Match(request).matches] == ["7"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Buy now!", "too short for copies"),
        ("!?", "nothing in the text reads"),
        ("ha" * 300, "too short for copies"),
    ],
)
def test_a_text_without_signals_is_low_quality(lures: Client, text: str, reason: str) -> None:
    answer = match(lures, text)
    assert answer.outcome == types_pb2.OUTCOME_LOW_QUALITY
    assert reason in answer.outcome_reason


def test_a_phrase_matches_by_its_digest_only(client: Client) -> None:
    create(client, "phrases")
    (entry,) = add(client, "phrases", ["Buy now!"]).entries
    assert [s.algorithm for s in entry.signals] == ["text_sha256"]
    answer = match(client, "BUY  N\u041eW", "phrases")
    assert [m.distance for m in answer.matches] == [0]
    assert answer.outcome == types_pb2.OUTCOME_LOW_QUALITY


def test_a_passage_of_a_long_text_matches_its_entry_once(client: Client) -> None:
    create(client, "books")
    book = " ".join(islice(negatives(), 40, 240))[:50_000]
    (entry,) = add(client, "books", [book]).entries
    variants = [s.variant for s in entry.signals if s.algorithm == "text"]
    assert variants[:2] == ["original", "part-2"]
    assert len(variants) > 5
    assert {s.value for s in entry.signals if s.algorithm == "text"} == {""}
    whole = client.banks.GetEntry(banks_pb2.GetEntryRequest(name=entry.name))
    assert {len(s.value) for s in whole.signals if s.variant == "part-2"} == {2 + 8 * 4096}
    for start in (0, 20_000, 40_000):
        passage = f"look at this: {book[start : start + 900]} is it not nice"
        (found,) = match(client, passage, "books").matches
        assert found.algorithm == "text"
    too_long = " ".join(negatives())[:150_000]
    assert failure(lambda: add(client, "books", [too_long])).reason == "TEXT_TOO_LONG"


def test_added_and_withdrawn_texts_take_effect_at_once(client: Client) -> None:
    create(client, "live")
    text = "A text that comes and goes: nobody has seen it before, nobody will see it again."
    assert not match(client, text, "live").matches
    (entry,) = add(client, "live", [text]).entries
    assert match(client, text, "live").matches
    client.banks.WithdrawEntries(
        banks_pb2.WithdrawEntriesRequest(parent="banks/live", names=[entry.name])
    )
    assert not match(client, text, "live").matches


def test_texts_match_after_a_restart_and_are_not_on_disk(data_dir: Path) -> None:
    with running(data_dir) as service, service.client() as client:
        create(client, BANK)
        add(client, BANK, ENTRIES)
        assert match(client, ENTRIES[0]).matches
    with running(data_dir) as service, service.client() as client:
        found = [match(client, EDITS["leetspeak"](text, random.Random(0))) for text in ENTRIES]
        ids = [[m.external_id for m in answer.matches] for answer in found]
        assert ids == [[str(i)] for i in range(len(ENTRIES))]
    words = ("Congratulations", "grandmother", "congratuiations", "grandmother".upper())
    for path in data_dir.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [word for word in words if word.encode() in content], path


def test_algorithms_of_the_other_kind_of_content_are_refused(client: Client) -> None:
    text = content_of("words")
    request = hashing_pb2.HashRequest(content=text, algorithms=["pdq"])
    assert "pdq is not computed of text" in str(failure(lambda: client.hashing.Hash(request)))
    picture = types_pb2.Content(data=b"words")
    of_file = hashing_pb2.HashRequest(content=picture, algorithms=["tlsh"])
    assert "tlsh applies to text only" in str(failure(lambda: client.hashing.Hash(of_file)))
    embed = hashing_pb2.EmbedRequest(content=text, models=["pdqf"])
    assert "a text has no pixels" in str(failure(lambda: client.hashing.Embed(embed)))


def test_compare_two_texts(client: Client) -> None:
    def compare(a: str, b: str, *algorithms: str) -> dict[str, tuple[float, bool]]:
        response = client.hashing.Compare(
            hashing_pb2.CompareRequest(
                a=hashing_pb2.CompareRequest.Side(content=content_of(a)),
                b=hashing_pb2.CompareRequest.Side(content=content_of(b)),
                algorithms=algorithms,
            )
        )
        return {d.algorithm: (round(d.distance, 3), d.match) for d in response.distances}

    near = compare(ENTRIES[0], ENTRIES[0].upper())
    assert near["text"] == (0, True)
    assert near["text_sha256"] == (0, True)
    assert near["md5"] == (1, False)
    assert compare(ENTRIES[0], ENTRIES[1])["text"] == (1, False)
    longer = ENTRIES[0] + " It was the best of times, it was the worst of times."
    assert compare(longer, ENTRIES[0])["text"] == compare(ENTRIES[0], longer)["text"] == (0, True)
    assert compare("no", "yes")["text"][1] is False
    assert compare(ENTRIES[0], ENTRIES[0] + "!", "tlsh")["tlsh"][1] is True


def test_10_mb_of_text_are_refused_and_1_mib_is_not(client: Client) -> None:
    def hash_text(text: str) -> hashing_pb2.HashResponse:
        request = hashing_pb2.HashRequest(content=content_of(text), algorithms=["sha256"])
        response: hashing_pb2.HashResponse = client.hashing.Hash(request)
        return response

    error = failure(lambda: hash_text("a" * 10_000_000))
    assert error.reason == "MEDIA_TOO_LARGE"
    assert "10,000,000 bytes, the limit is 1,048,576" in str(error)
    error = failure(lambda: match(client, "\u00e9" * 600_000, "phrases"))
    assert "1,200,000 bytes" in str(error)
    assert hash_text("ab" * 2**19).signals
    assert failure(lambda: hash_text("")).reason == "CONTENT_EMPTY"


def test_a_string_field_that_is_not_utf8_is_refused(server: Running) -> None:
    """protobuf refuses it in unary calls and in streams, and the service goes on."""
    text = b"caf\xe9 and more"
    content = b"\x12" + bytes([len(text)]) + text
    match_request = b"\x0a" + bytes([len(content)]) + content
    screen_request = b"\x12" + bytes([len(content)]) + content
    with grpc.insecure_channel(server.address) as channel:
        unary: Call = channel.unary_unary("/featsvc.v1.MatchingService/Match")
        stream: Call = channel.stream_stream("/featsvc.v1.ScreeningService/ScreenStream")
        for call in (
            lambda: unary(match_request, timeout=PATIENCE_S),
            lambda: list(stream(iter([screen_request]), timeout=PATIENCE_S)),
        ):
            error = failure(call)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert error.reason == "TEXT_NOT_UTF8"
        error = failure(lambda: unary(b"\xff\xff\xff", timeout=PATIENCE_S))
        assert "not a message of the type that this method takes" in str(error)
    with server.client() as client:
        assert client.matching.GetIndexStatus(matching_pb2.GetIndexStatusRequest())


def run(server: Running, *arguments: str, stdin: str = "") -> str:
    result = featsvc(*arguments, server=server.address, stdin=stdin)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_curator_adds_lists_and_tries_texts(server: Running, tmp_path: Path) -> None:
    lure = tmp_path / "parcel-lure.txt"
    lure.write_text(ENTRIES[3], encoding="utf-8-sig")
    run(server, "bank", "create", "curated")
    run(server, "bank", "add", "curated", "--text-file", str(lure))
    run(server, "bank", "add", "curated", "--text-file", "-", stdin=ENTRIES[4])
    short = featsvc("bank", "add", "curated", "--text", "Buy now!", server=server.address)
    assert "too short to be found in another text" in short.stderr
    found = json.loads(
        run(server, "match", "-b", "curated", "--json", "--text", f"fwd: {ENTRIES[3]}")
    )
    assert [m["external_id"] for m in found["matches"]] == ["parcel-lure.txt"]
    screen = ("screen", "--account", "a", "-b", "curated", "--json", "--text-file", "-")
    screened = json.loads(run(server, *screen, stdin=ENTRIES[4].upper()))
    assert len(screened["matches"]) == 1
    listed = run(server, "bank", "entries", "curated")
    assert "text_sha256" in listed
    assert "Deposit" not in listed


def test_texts_are_hashed_and_compared_without_a_server(tmp_path: Path) -> None:
    lure, short = tmp_path / "lure.txt", tmp_path / "short.txt"
    lure.write_text(ENTRIES[3], encoding="utf-8-sig")
    short.write_text("Buy now!")
    (tmp_path / "edited.txt").write_text(f"fwd: {ENTRIES[3].upper()}")
    (tmp_path / "latin1.txt").write_bytes(b"caf\xe9")
    result = featsvc("hash", "--as-text", "--json", str(tmp_path))
    assert result.returncode == 1
    assert "latin1.txt: text: byte 0xe9 at offset 3 is not UTF-8" in result.stderr
    assert "short.txt: the text is too short" in result.stderr
    shown = {Path(s["file"]).name: s for s in map(json.loads, result.stdout.splitlines())}
    algorithms = [s["algorithm"] for s in shown["lure.txt"]["signals"]]
    assert algorithms == ["text_sha256", "text", "md5", "sha256"]
    assert shown["short.txt"]["outcome"] == "LOW_QUALITY"
    table = featsvc("hash", "--as-text", str(lure)).stdout
    assert "digits" in table
    edited = str(tmp_path / "edited.txt")
    compared = featsvc("compare", "--as-text", "--json", str(lure), edited).stdout
    verdicts = {r["algorithm"]: r["verdict"] for r in map(json.loads, compared.splitlines())}
    assert (verdicts["text"], verdicts["md5"]) == ("match", "no match")
    assert "no signal" in featsvc("compare", str(lure), edited).stdout


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_bank_of_texts_is_exported_and_imported_again(
    server: Running, tmp_path: Path, kind: str
) -> None:
    with server.client() as client:
        create(client, f"from-{kind}")
        book = " ".join(islice(negatives(), 40, 240))[:20_000]
        add(client, f"from-{kind}", [*ENTRIES, book])
    path, again = tmp_path / f"out.{kind}", tmp_path / f"again.{kind}"
    run(server, "bank", "create", f"to-{kind}")
    run(server, "bank", "export", f"from-{kind}", "--format", kind, "-o", str(path))
    run(server, "bank", "import", str(path), "--bank", f"to-{kind}")
    run(server, "bank", "export", f"to-{kind}", "--format", kind, "-o", str(again))
    assert again.read_bytes() == path.read_bytes()
    with server.client() as client:
        (found,) = match(
            client, EDITS["blanks"](ENTRIES[6], random.Random(0)), f"to-{kind}"
        ).matches
        assert found.external_id == "6"


def test_a_threshold_for_texts_is_found_from_samples(server: Running, tmp_path: Path) -> None:
    with server.client() as client:
        create(client, "tuned")
        add(client, "tuned", ENTRIES)
    rng = random.Random(0)
    for kind, texts in (
        ("bad", [leetspeak(text, rng, 0.3) for text in ENTRIES]),
        ("good", [*negatives()[:100], "short"]),
    ):
        (tmp_path / kind).mkdir()
        for number, text in enumerate(texts):
            (tmp_path / kind / f"{number}.txt").write_text(text)
    evaluate = ("bank", "evaluate", "tuned", "--algorithm", "text", "--sample", str(tmp_path))
    shown = json.loads(run(server, *evaluate, "--json"))
    assert 0 < shown["suggested_threshold"] < 0.4
    assert shown["unreadable_samples"] == 1


def test_lists_of_exchanges_carry_tlsh_and_texts(server: Running, tmp_path: Path) -> None:
    """ThreatExchange's HASH_TEXT_TLSH and TEXT_STRING; a text is hashed and not stored."""
    text = ENTRIES[9]
    with server.client() as client:
        hashed = client.hashing.Hash(
            hashing_pb2.HashRequest(content=content_of(text), algorithms=["tlsh"])
        )
        digest = hashed.signals[0].value
        assert digest.startswith("T1")
        assert len(digest) == 72
    updates = {
        "data": [
            {"id": 1, "type": "HASH_TEXT_TLSH", "indicator": digest, "last_updated": 1},
            {"id": 2, "type": "TEXT_STRING", "indicator": ENTRIES[10], "last_updated": 1},
            {"id": 3, "type": "HASH_TLSH", "indicator": digest[2:].lower(), "last_updated": 1},
        ]
    }
    path = tmp_path / "updates.json"
    path.write_text(json.dumps(updates))
    run(server, "bank", "create", "exchanged")
    run(server, "bank", "import", str(path), "--bank", "exchanged")
    with server.client() as client:
        answer = match(client, text.replace("our town", "the town"), "exchanged")
        assert sorted(m.external_id for m in answer.matches) == ["1", "3"]
        assert {(m.algorithm, m.threshold) for m in answer.matches} == {("tlsh", 30)}
        assert all(0 < m.distance <= 30 for m in answer.matches)
        assert answer.matches[0].entry_signal == digest
        answer = match(client, leetspeak(ENTRIES[10], random.Random(2)), "exchanged")
        assert [(m.external_id, m.algorithm) for m in answer.matches] == [("2", "text")]


GUIDE = (ROOT / "docs" / "text.md").read_text()


def test_the_guide_works_as_written(server: Running, tmp_path: Path) -> None:
    """All commands in order, then the program."""
    for name, text in (("gift-card", ENTRIES[0]), ("parcel", ENTRIES[3]), ("post", ENTRIES[3])):
        (tmp_path / f"{name}.txt").write_text(text)
    (tmp_path / "reported.txt").write_text(ENTRIES[1])
    for kind, text in (("bad", ENTRIES[3].upper()), ("good", negatives()[0])):
        (tmp_path / "samples" / kind).mkdir(parents=True)
        (tmp_path / "samples" / kind / "a.txt").write_text(text)
    (tmp_path / "texts.csv").write_text(f'algorithm,signal\nraw_text,"{ENTRIES[2]}"\n')
    commands = re.findall(r"^\$ (featsvc .*)$", GUIDE, re.MULTILINE)
    assert len(commands) >= 7
    shown = ""
    for command in commands:
        written, _, stdin = command.replace("lures", "guided").partition(" < ")
        path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels", ROOT / "client")))
        result = subprocess.run(
            [sys.executable, "-m", *shlex.split(written)],
            cwd=tmp_path,
            env={**os.environ, "FEATSVC_SERVER": server.address, "PYTHONPATH": path},
            input=(tmp_path / stdin).read_text() if stdin else "",
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{command}\n{result.stderr}"
        shown += result.stdout
    assert "parcel.txt" in shown
    with server.client() as client:
        assert len(match(client, ENTRIES[2], "guided").matches) == 1
        assert len(match(client, ENTRIES[1], "guided").matches) == 1
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(example.replace("localhost:50051", server.address), {})  # noqa: S102 - a page of this repository
