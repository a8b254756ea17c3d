"""From an answer to a decision: the table of docs/deciding.md as code."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Union

import grpc

from featsvc_client.errors import explain
from featsvc_client.v1 import matching_pb2, screening_pb2, types_pb2

Answer = Union[
    matching_pb2.MatchResponse,
    screening_pb2.ScreenResponse,
    screening_pb2.ScreenStreamResponse,
    grpc.RpcError,
]

_MODES = frozenset({types_pb2.BANK_MODE_ENFORCE, types_pb2.BANK_MODE_SHADOW})


class Action(Enum):
    """What to do with an upload."""

    ACT = "act"
    """It is a copy of known content: block it, or whatever the policy of that bank says."""
    HOLD = "hold"
    """The banks were not searched, or not fully: keep it for review, or screen it again."""
    WATCH = "watch"
    """Only banks in SHADOW mode match: publish it, and record the match."""
    PASS = "pass"  # noqa: S105 (not a password)
    """Everything was searched and nothing matches: publish it."""


class Decision(NamedTuple):
    """An action, its reason in one sentence, and the matches that it rests on, nearest first."""

    action: Action
    reason: str
    matches: tuple[types_pb2.Match, ...] = ()


def decide(answer: Answer) -> Decision:
    """Return what to do with an upload, given the answer of `Match`, `Screen` or `ScreenStream`.

    Also takes the error of a failed call, which never means "no match". Outcomes and modes that
    this client does not know count as "could not look". Features are not considered.
    """
    if isinstance(answer, grpc.RpcError):
        return Decision(Action.HOLD, f"the call failed: {explain(answer)}")
    if isinstance(answer, screening_pb2.ScreenStreamResponse):
        if answer.WhichOneof("result") != "response":
            message = answer.error.message or "it has no answer"
            return Decision(Action.HOLD, f"the request failed: {message}")
        answer = answer.response
    if isinstance(answer, screening_pb2.ScreenResponse):
        unsearched = answer.content_outcome != types_pb2.OUTCOME_OK
        reason, truncated = answer.content_outcome_reason, answer.matches_truncated
    else:
        unsearched = answer.outcome != types_pb2.OUTCOME_OK
        reason, truncated = answer.outcome_reason, answer.truncated
    return _decide(answer.matches, truncated, (reason or "unknown outcome") if unsearched else "")


def _decide(matches: Sequence[types_pb2.Match], truncated: bool, unsearched: str) -> Decision:
    """Go down the table. `unsearched` says what was not searched; empty for OUTCOME_OK."""
    counting = [match for match in matches if not (match.safe or match.suppressed)]
    if acting := _in_mode(counting, types_pb2.BANK_MODE_ENFORCE):
        return Decision(Action.ACT, f"matches {acting[0].bank}, which is enforced", acting)
    if unsearched:
        return Decision(Action.HOLD, f"not fully searched: {unsearched}")
    if unknown := tuple(match for match in counting if match.mode not in _MODES):
        return Decision(Action.HOLD, f"the mode of {unknown[0].bank} is unknown", unknown)
    if truncated:
        return Decision(Action.HOLD, "there are more matches than the answer holds")
    if watched := _in_mode(counting, types_pb2.BANK_MODE_SHADOW):
        return Decision(Action.WATCH, f"matches {watched[0].bank}, which is only watched", watched)
    return Decision(Action.PASS, "a safe list has it" if matches else "nothing matches")


def _in_mode(matches: list[types_pb2.Match], mode: int) -> tuple[types_pb2.Match, ...]:
    return tuple(match for match in matches if match.mode == mode)
