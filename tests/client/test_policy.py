"""When a call is made again, and how long it waits: laws of the policy for all errors."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from featsvc_client import ServiceError
from featsvc_client.policy import Budget, Policy, chosen_timeout, is_repeatable
from featsvc_client.v1 import banks_pb2, matching_pb2
from hypothesis import given
from hypothesis import strategies as st

READ = matching_pb2.MatchRequest()
CHANGE = banks_pb2.WithdrawEntriesRequest()
SAFE_CHANGE = banks_pb2.WithdrawEntriesRequest(context=banks_pb2.ChangeContext(request_id="7"))


@given(
    st.sampled_from(list(grpc.StatusCode)),
    st.sampled_from(["", "OVERLOADED", "TIMED_OUT", "A_REASON_OF_A_NEWER_SERVER"]),
    st.none() | st.integers(0, 100_000),
    st.sampled_from([READ, CHANGE, SAFE_CHANGE]),
    st.integers(1, 6),
    st.none() | st.floats(0.001, 100),
)
def test_a_call_waits_as_advised_and_never_beyond_its_deadline(
    code: grpc.StatusCode,
    reason: str,
    advised_ms: int | None,
    request: Any,
    attempt: int,
    left_s: float | None,
) -> None:
    policy = Policy("here", max_attempts=4)
    error = ServiceError(code, reason, "no", retry_after_ms=advised_ms)
    now = time.monotonic()
    deadline = math.inf if left_s is None else now + left_s
    delay_s = policy.delay_s(error, request, attempt, deadline)
    unreachable = code is grpc.StatusCode.UNAVAILABLE and not reason
    base_s = 0.2 if advised_ms is None else advised_ms / 1000
    if delay_s is not None:
        assert advised_ms is not None or unreachable
        assert is_repeatable(request)
        assert attempt < 4
        assert base_s * 2 ** (attempt - 1) <= delay_s <= base_s * 2 ** (attempt - 1) * 1.5
        assert delay_s <= 30
        assert now + delay_s < deadline
    elif (advised_ms is not None or unreachable) and request is not CHANGE and attempt < 4:
        longest_s = base_s * 2 ** (attempt - 1) * 1.5
        assert longest_s > 30 or time.monotonic() + longest_s >= deadline


def test_callers_do_not_return_at_the_same_time() -> None:
    error = ServiceError(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry_after_ms=100)
    delays = {Policy("here").delay_s(error, READ, 1, math.inf) for _ in range(20)}
    assert len(delays) > 10


@given(st.lists(st.booleans(), min_size=40, max_size=200))
def test_retries_are_few_among_failures(successes: list[bool]) -> None:
    """Never more than 50, and one for each ten successes."""
    budget = Budget()
    granted = 0
    for success in successes:
        if success:
            budget.earn()
        else:
            granted += budget.spend()
    assert granted <= 50 + sum(successes) / 10
    if successes.count(False) < 50:
        assert granted == successes.count(False)


def test_the_budget_is_right_among_threads() -> None:
    budget = Budget()
    with ThreadPoolExecutor(8) as pool:
        granted = sum(pool.map(lambda _: budget.spend(), range(1000)))
    assert granted == 49


@pytest.mark.parametrize("seconds", [0, -1, math.nan])
@pytest.mark.parametrize("name", ["timeout_s", "bank_timeout_s"])
def test_a_timeout_is_a_time(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"{name}: "):
        Policy("here", None, **{name: seconds})  # type: ignore[arg-type]


def test_a_call_is_made_at_least_once() -> None:
    with pytest.raises(ValueError, match="max_attempts: 0"):
        Policy("here", max_attempts=0)


@given(st.none() | st.floats(0.001, 1e9), st.none() | st.floats(0.001, 1e9))
def test_a_timeout_of_the_call_comes_before_the_clients(
    given_s: float | None, default_s: float | None
) -> None:
    assert chosen_timeout(given_s, default_s) == (default_s if given_s is None else given_s)
    assert chosen_timeout(math.inf, default_s) is None
