"""When a call ends and when it is made again: one policy for both clients.

**Deadlines** cover a call with all its tries. A stream has none, as it lasts as long as its caller
wants; keep-alive ends it where the server is gone.

**Retries.** A call is made again if the server advises a delay (`RetryInfo`), or if it could not be
reached, *and* a second call does no harm: every unary method but those that change banks, which
take a `ChangeContext`, and those too if its `request_id` is set. No other error is tried again: not
a deadline, and no code by itself. A call waits at least the advised delay, twice as long each time.

**Budget.** Retries must not multiply the load of a server that is already overloaded. As in gRPC's
retry throttling (proposal A6), a failure that could be tried again costs a token, a success earns a
tenth, and nothing is tried again while half of the tokens or more are gone.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc

from featsvc_client.errors import ServiceError

DEFAULT_TIMEOUT_S = 30.0
DEFAULT_BANK_TIMEOUT_S = 600.0
DEFAULT_MAX_ATTEMPTS = 4

_UNREACHABLE_DELAY_MS = 200
_MAX_DELAY_S = 30.0
_MAX_TOKENS = 100.0
_TOKENS_PER_SUCCESS = 0.1


class Budget:
    """The tokens that retries of one client cost. Safe for threads."""

    def __init__(self) -> None:
        self._tokens = _MAX_TOKENS
        self._lock = threading.Lock()

    def earn(self) -> None:
        """Count a success."""
        if self._tokens < _MAX_TOKENS:
            with self._lock:
                self._tokens = min(_MAX_TOKENS, self._tokens + _TOKENS_PER_SUCCESS)

    def spend(self) -> bool:
        """Count a failure; return whether it may be tried again."""
        with self._lock:
            self._tokens = max(0.0, self._tokens - 1)
            return self._tokens > _MAX_TOKENS / 2


class Policy:
    """Deadlines, retries and the token of the calls of one client, which is connected to `target`.

    `authorization` returns the header of that name, if there is one. Raises ValueError for numbers
    out of range.
    """

    def __init__(
        self,
        target: str,
        authorization: Callable[[], str] | None = None,
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        bank_timeout_s: float | None = DEFAULT_BANK_TIMEOUT_S,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
    ) -> None:
        for name, seconds in (("timeout_s", timeout_s), ("bank_timeout_s", bank_timeout_s)):
            if seconds is not None and not seconds > 0:
                raise ValueError(f"{name}: {seconds} is not a time to wait; None waits for ever")
        if max_attempts < 1:
            raise ValueError(f"max_attempts: {max_attempts} is less than 1, which never retries")
        self.target = target
        self.budget = Budget()
        self._authorization = authorization
        self._timeout_s = timeout_s
        self._bank_timeout_s = bank_timeout_s
        self._max_attempts = max_attempts

    def default_timeout_s(self, method: str, streaming: bool) -> float | None:
        """Return the timeout of a method's calls, such as "/featsvc.v1.BankService/GetBank"."""
        if streaming:
            return None
        return self._bank_timeout_s if "BankService/" in method else self._timeout_s

    def metadata(self, given: Any) -> Any:
        """Return the metadata of a call: those of the caller, and the token."""
        if self._authorization is None:
            return given
        return (*(given or ()), ("authorization", self._authorization()))

    def delay_s(
        self, error: ServiceError, request: Any, attempt: int, deadline: float
    ) -> float | None:
        """Return how long to wait before a call is made again; None if it is not.

        `attempt` counts from 1, `deadline` is a time of `time.monotonic`.
        """
        advised_ms = error.retry_after_ms
        if advised_ms is None and error.code() is grpc.StatusCode.UNAVAILABLE and not error.reason:
            advised_ms = _UNREACHABLE_DELAY_MS
        if advised_ms is None or not is_repeatable(request) or not self.budget.spend():
            return None
        jitter = random.uniform(1.0, 1.5)  # noqa: S311 (callers must not return at the same time)
        delay_s = advised_ms / 1000 * 2 ** (attempt - 1) * jitter
        allowed = attempt < self._max_attempts and delay_s <= _MAX_DELAY_S
        return delay_s if allowed and time.monotonic() + delay_s < deadline else None


def is_repeatable(request: Any) -> bool:
    """Whether a second call with this request does no more than the first, by the contract."""
    if "context" not in request.DESCRIPTOR.fields_by_name:
        return True
    return bool(request.context.request_id)


def deadline_of(timeout_s: float | None) -> float:
    """Return when a call that starts now ends, as a time of `time.monotonic`."""
    return math.inf if timeout_s is None else time.monotonic() + timeout_s


def timeout_until(deadline: float) -> float | None:
    """Return the seconds until a deadline, as gRPC takes them."""
    return None if deadline == math.inf else deadline - time.monotonic()


def chosen_timeout(given: float | None, default: float | None) -> float | None:
    """Return the timeout of a call. None is the default, infinity is no deadline."""
    chosen = default if given is None else given
    return None if chosen == math.inf else chosen
