"""What was searched, by every method: none is OK where there was nothing to search."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import grpc
import pytest
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2, matching_pb2, screening_pb2, types_pb2

from tests.integration.running import failure, featsvc, running
from tests.photographs import photograph

ROCKET = photograph("rocket.jpg").read_bytes()
PDQ, MD5 = "5a" * 32, "5a" * 16
OK, NOT = types_pb2.OUTCOME_OK, types_pb2.OUTCOME_NOT_SEARCHED


class Answer(NamedTuple):
    outcome: int
    reason: str
    searched: types_pb2.Searched
    suppressed: set[bool]


Method = Callable[[Client, types_pb2.MatchOptions], Answer]


def flags(matches: object) -> set[bool]:
    return {m.suppressed for m in matches if not m.safe}  # type: ignore[attr-defined]


def by_signal(client: Client, options: types_pb2.MatchOptions) -> Answer:
    signal = types_pb2.Signal(algorithm="pdq", value=PDQ)
    request = matching_pb2.MatchRequest(signal=signal, options=options)
    found = client.matching.Match(request)
    assert found.HasField("searched")
    return Answer(found.outcome, found.outcome_reason, found.searched, flags(found.matches))


def by_content(client: Client, options: types_pb2.MatchOptions) -> Answer:
    content = types_pb2.Content(data=ROCKET)
    found = client.matching.Match(matching_pb2.MatchRequest(content=content, options=options))
    assert found.HasField("searched")
    return Answer(found.outcome, found.outcome_reason, found.searched, flags(found.matches))


def by_batch(client: Client, options: types_pb2.MatchOptions) -> Answer:
    signals = bytes.fromhex(PDQ) * 3
    found = client.matching.MatchBatch(
        matching_pb2.MatchBatchRequest(algorithm="pdq", signals=signals, count=3, options=options)
    )
    (outcome,) = set(found.outcomes)
    assert (len(found.outcomes), found.HasField("searched")) == (3, True)
    return Answer(outcome, found.outcome_reason, found.searched, flags(found.entries))


def screened(answer: screening_pb2.ScreenResponse) -> Answer:
    assert answer.HasField("searched")
    return Answer(
        answer.content_outcome,
        answer.content_outcome_reason,
        answer.searched,
        flags(answer.matches),
    )


def by_screen(client: Client, options: types_pb2.MatchOptions) -> Answer:
    content = types_pb2.Content(data=ROCKET)
    request = screening_pb2.ScreenRequest(content=content, options=options)
    return screened(client.screening.Screen(request))


def by_stream(client: Client, options: types_pb2.MatchOptions) -> Answer:
    content = types_pb2.Content(data=ROCKET)
    request = screening_pb2.ScreenRequest(content=content, options=options)
    (answer,) = client.screening.ScreenStream(iter([request]))
    return screened(answer.response)


METHODS: dict[str, Method] = {
    "Match a signal": by_signal,
    "Match content": by_content,
    "MatchBatch": by_batch,
    "Screen": by_screen,
    "ScreenStream": by_stream,
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service of its own: what other tests have in their banks would be searched too."""
    with running(tmp_path_factory.mktemp("searched")) as service, service.client() as client:
        yield client
        service.check_healthy()


def create(client: Client, bank: str, **settings: object) -> str:
    made = banks_pb2.Bank(**settings)  # type: ignore[arg-type]
    client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id=bank, bank=made))
    return f"banks/{bank}"


def add(client: Client, bank: str, algorithm: str, value: str, **fields: object) -> None:
    entry = banks_pb2.Entry(external_id=algorithm, **fields)  # type: ignore[arg-type]
    entry.signals.add(algorithm=algorithm, value=value)
    client.banks.AddEntries(banks_pb2.AddEntriesRequest(parent=bank, entries=[entry]))


def content(client: Client, bank: str) -> None:
    entry = banks_pb2.Entry(external_id="rocket")
    request = banks_pb2.AddEntriesRequest(parent=bank, entries=[entry])
    request.contents.add(data=ROCKET)
    client.banks.AddEntries(request)


@pytest.fixture(scope="module")
def filled(client: Client) -> Client:
    """Banks for every case, in a service that was empty before."""
    nothing = {name: method(client, types_pb2.MatchOptions()) for name, method in METHODS.items()}
    assert {name: answer.outcome for name, answer in nothing.items()} == dict.fromkeys(METHODS, NOT)
    assert all("there is no bank" in answer.reason for answer in nothing.values())
    create(client, "empty")
    emptied = {name: method(client, types_pb2.MatchOptions()) for name, method in METHODS.items()}
    assert {name: answer.outcome for name, answer in emptied.items()} == dict.fromkeys(METHODS, NOT)
    known = create(client, "known")
    add(client, known, "pdq", PDQ, labels=["x"])
    content(client, known)
    add(client, create(client, "sha1s"), "sha1", "5a" * 20, labels=["only-sha1"])
    add(client, create(client, "off", mode=types_pb2.BANK_MODE_OFF), "pdq", PDQ)
    # Far from both queries.
    safe = create(client, "safe", safe=True)
    add(client, safe, "pdq", "0f" * 32)
    return client


CASES: dict[str, tuple[types_pb2.MatchOptions, str]] = {
    "an OFF bank": (types_pb2.MatchOptions(banks=["banks/off"]), "off: OFF"),
    "an OFF bank and another": (types_pb2.MatchOptions(banks=["off", "known"]), "off: OFF"),
    "an empty bank": (types_pb2.MatchOptions(banks=["empty"]), "empty: no live entry"),
    "an empty bank and another": (
        types_pb2.MatchOptions(banks=["known", "empty"]),
        "empty: no live entry",
    ),
    "a label that nobody has": (types_pb2.MatchOptions(labels=["zz"]), "all of the labels zz"),
    "a label of another bank": (
        types_pb2.MatchOptions(labels=["x"], banks=["banks/safe"]),
        "all of the labels x",
    ),
    "two labels that nobody has together": (
        types_pb2.MatchOptions(labels=["x", "only-sha1"]),
        "all of the labels x, only-sha1",
    ),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
@pytest.mark.parametrize(("options", "reason"), CASES.values(), ids=CASES.keys())
def test_nothing_to_search_is_never_ok(
    filled: Client, method: Method, options: types_pb2.MatchOptions, reason: str
) -> None:
    answer = method(filled, options)
    assert answer.outcome == NOT
    assert reason in answer.reason


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_what_was_searched_is_part_of_every_answer(filled: Client, method: Method) -> None:
    answer = method(filled, types_pb2.MatchOptions())
    assert (answer.outcome, answer.reason) == (OK, "")
    (pdq,) = (of for of in answer.searched.algorithms if of.algorithm == "pdq")
    assert (sorted(pdq.banks), pdq.bank_count) == (["banks/known", "banks/safe"], 2)
    assert (pdq.entries, pdq.signals) == (3, 3)
    assert list(answer.searched.safe_lists) == ["banks/safe"]
    assert answer.searched.safe_list_count == 1


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_safe_lists_are_heeded_whatever_banks_are_named(filled: Client, method: Method) -> None:
    named = types_pb2.MatchOptions(banks=["banks/known"], top_k=1, max_results=1)
    before = method(filled, named)
    assert (before.outcome, before.suppressed) == (OK, {False})
    (pdq,) = (of for of in before.searched.algorithms if of.algorithm == "pdq")
    assert list(pdq.banks) == ["banks/known"]
    assert list(before.searched.safe_lists) == ["banks/safe"]
    add(filled, "banks/safe", "pdq", PDQ, source="a")
    content(filled, "banks/safe")
    try:
        assert method(filled, named).suppressed == {True}
        named.ignore_safe_lists = True
        ignored = method(filled, named)
        assert (ignored.suppressed, list(ignored.searched.safe_lists)) == ({False}, [])
    finally:
        names = ["pdq", "rocket"]
        filled.banks.WithdrawEntries(
            banks_pb2.WithdrawEntriesRequest(parent="banks/safe", external_ids=names)
        )
        add(filled, "banks/safe", "pdq", "0f" * 32)


def test_a_default_algorithm_that_no_bank_holds_changes_nothing(filled: Client) -> None:
    only_sha1 = types_pb2.MatchOptions(banks=["banks/sha1s"])
    for method in (by_content, by_screen, by_stream):
        answer = method(filled, only_sha1)
        assert answer.outcome == OK
        held = {of.algorithm: of.bank_count for of in answer.searched.algorithms}
        assert held == {"pdq": 0, "md5": 0, "sha256": 0, "sha1": 1}
    for method in (by_signal, by_batch):
        answer = method(filled, only_sha1)
        assert answer.outcome == NOT
        assert "no searched bank holds signals of pdq; they hold signals of sha1" in answer.reason


def test_a_named_algorithm_that_no_bank_holds(filled: Client) -> None:
    request = matching_pb2.MatchRequest(
        content=types_pb2.Content(data=ROCKET), algorithms=["pdq", "dhash"]
    )
    found = filled.matching.Match(request)
    assert found.outcome == NOT
    assert "signals of dhash" in found.outcome_reason
    assert {m.external_id for m in found.matches} == {"rocket"}, "what was searched is returned"
    screen = screening_pb2.ScreenRequest(content=request.content, algorithms=["dhash"])
    assert filled.screening.Screen(screen).content_outcome == NOT
    text = matching_pb2.MatchRequest(content=types_pb2.Content(text="a text that is long enough"))
    text.options.banks.append("safe")
    assert filled.matching.Match(text).outcome == NOT, "it holds nothing of a text"


def test_a_vector_that_no_bank_holds_is_still_an_error(filled: Client) -> None:
    signal = types_pb2.Signal(algorithm="odd@7", value="0000803f")
    error = failure(lambda: filled.matching.Match(matching_pb2.MatchRequest(signal=signal)))
    assert (error.code(), error.reason) == (grpc.StatusCode.NOT_FOUND, "VECTORS_NOT_HELD")


def test_the_command_says_what_was_searched(filled: Client) -> None:
    def run(*arguments: str) -> str:
        done = featsvc(*arguments, server=filled.target)
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = run("match", "--signal", f"pdq:{'33' * 32}")
    assert "no match at bank revision" in shown
    assert "searched pdq in 3 entries of 2 banks; safe lists: safe" in shown
    shown = run("match", "--signal", f"pdq:{PDQ}", "--bank", "empty")
    assert "content: NOT_SEARCHED: options.banks: empty: no live entry" in shown
    assert "no match at" not in shown
    shown = run("screen", "--text", "a text", "--account", "a1", "--bank", "off")
    assert "content: NOT_SEARCHED:" in shown
    assert "this does not mean no match" in shown
