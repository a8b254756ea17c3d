"""`decide` is the table of docs/deciding.md, row by row, for every answer."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import grpc
import pytest
from featsvc_client import Action, decide
from featsvc_client.v1 import matching_pb2, screening_pb2, screening_pb2_grpc, types_pb2
from hypothesis import given
from hypothesis import strategies as st

from tests.patience import PATIENCE_S
from tests.photographs import ROOT

PAGE = (ROOT / "docs/deciding.md").read_text(encoding="utf-8")
NEW_VALUE = 1000
"""An enum value of a newer server."""

outcomes = st.sampled_from([*types_pb2.Outcome.values(), NEW_VALUE])
modes = st.sampled_from([*types_pb2.BankMode.values(), NEW_VALUE])
matches = st.lists(
    st.builds(
        types_pb2.Match,
        bank=st.sampled_from(["banks/a", "banks/b"]),
        mode=modes,
        safe=st.booleans(),
        suppressed=st.booleans(),
    ),
    max_size=4,
)


class Row(NamedTuple):
    """A row of the page's table."""

    outcome: str
    counting: str
    truncated: str
    action: str


def rows() -> list[Row]:
    found = re.findall(r"^\| \d \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    return [Row(*row) for row in found]


def fits(row: Row, outcome: int, counting: Sequence[int], truncated: bool) -> bool:
    """Whether a row of the page is about such an answer; `counting` are the modes that count."""
    enforce, shadow = types_pb2.BANK_MODE_ENFORCE, types_pb2.BANK_MODE_SHADOW
    by_outcome = {
        "any": True,
        "`OUTCOME_OK`": outcome == types_pb2.OUTCOME_OK,
        "not `OUTCOME_OK`, or unknown": outcome != types_pb2.OUTCOME_OK,
    }
    by_matches = {
        "any": True,
        "none": not counting,
        "one in `ENFORCE`": enforce in counting,
        "one in `SHADOW`": shadow in counting,
        "one in a mode that you do not know": bool(set(counting) - {enforce, shadow}),
    }
    by_truncated = {"any": True, "yes": truncated, "no": not truncated}
    return by_outcome[row.outcome] and by_matches[row.counting] and by_truncated[row.truncated]


@given(outcomes, matches, st.booleans())
def test_every_answer_is_decided_by_the_page(
    outcome: types_pb2.Outcome, found: list[types_pb2.Match], truncated: bool
) -> None:
    counting = [match.mode for match in found if not (match.safe or match.suppressed)]
    row = next(row for row in rows() if fits(row, outcome, counting, truncated))
    matched = matching_pb2.MatchResponse(outcome=outcome, matches=found, truncated=truncated)
    screened = screening_pb2.ScreenResponse(
        content_outcome=outcome, matches=found, matches_truncated=truncated
    )
    streamed = screening_pb2.ScreenStreamResponse(response=screened)
    for answer in (matched, screened, streamed):
        decision = decide(answer)
        assert decision.action.value == row.action
        assert decision.reason
        assert all(match in found for match in decision.matches)
        assert not any(match.safe or match.suppressed for match in decision.matches)
        if decision.action in (Action.ACT, Action.WATCH):
            assert decision.matches


@given(outcomes, matches, st.booleans())
def test_only_a_full_search_passes(
    outcome: types_pb2.Outcome, found: list[types_pb2.Match], truncated: bool
) -> None:
    answer = matching_pb2.MatchResponse(outcome=outcome, matches=found, truncated=truncated)
    if decide(answer).action is Action.PASS:
        assert outcome == types_pb2.OUTCOME_OK
        assert not truncated
        assert all(match.safe or match.suppressed for match in found)


@pytest.mark.parametrize("outcome", [*types_pb2.Outcome.values(), NEW_VALUE])
@pytest.mark.parametrize("mode", [None, *types_pb2.BankMode.values(), NEW_VALUE])
def test_no_outcome_but_ok_is_published(
    outcome: types_pb2.Outcome, mode: types_pb2.BankMode | None
) -> None:
    """By any method: what was not fully looked at is held, or acted on."""
    found = [] if mode is None else [types_pb2.Match(bank="banks/a", mode=mode)]
    screened = screening_pb2.ScreenResponse(content_outcome=outcome, matches=found)
    for answer in (
        matching_pb2.MatchResponse(outcome=outcome, matches=found),
        screened,
        screening_pb2.ScreenStreamResponse(response=screened),
    ):
        published = decide(answer).action in (Action.PASS, Action.WATCH)
        assert not published or outcome == types_pb2.OUTCOME_OK
        assert (decide(answer).action is Action.ACT) == (mode == types_pb2.BANK_MODE_ENFORCE)


def test_an_empty_answer_is_held() -> None:
    for answer in (
        matching_pb2.MatchResponse(),
        screening_pb2.ScreenResponse(),
        screening_pb2.ScreenStreamResponse(),
        screening_pb2.ScreenStreamResponse(error=screening_pb2.ScreenError(message="overloaded")),
    ):
        assert decide(answer).action is Action.HOLD


def test_the_error_of_a_call_is_held() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        stub = screening_pb2_grpc.ScreeningServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Screen(screening_pb2.ScreenRequest(), timeout=PATIENCE_S)
    decision = decide(caught.value)
    assert decision.action is Action.HOLD
    assert "cannot reach" in decision.reason


def test_the_page_has_every_action() -> None:
    assert {row.action for row in rows()} == {action.value for action in Action}
