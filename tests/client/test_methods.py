"""Calls of both clients against a real server: deadlines, retries, token, errors."""

import asyncio
import math
from contextlib import nullcontext
from typing import Any

import grpc
import pytest
from featsvc_client import AsyncClient, Client, ServiceError, asynchronous, blocking
from featsvc_client.policy import (
    DEFAULT_BANK_TIMEOUT_S,
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_TIMEOUT_S,
    Policy,
    is_repeatable,
)
from grpc import aio
from hypothesis import given, settings
from hypothesis import strategies as st

from featsvc import errors
from tests.client.scripted import FLAVOURS, Outcome, Scripted, ask, methods, request_of, scripted
from tests.patience import PATIENCE_MS, PATIENCE_S, until
from tests.service.test_status import tree

UNARY = [n for n, m in methods().items() if not (m.client_streaming or m.server_streaming)]
STREAMS = [name for name in methods() if name not in UNARY]
# Those whose second call could do more than the first: they take a ChangeContext.
CHANGES = [name for name in UNARY if "context" in request_of(name).DESCRIPTOR.fields_by_name]

both = pytest.mark.parametrize("flavour", FLAVOURS)


@pytest.fixture(scope="module")
def served() -> Any:
    with scripted() as server:
        yield server


@pytest.fixture
def server(served: Scripted) -> Scripted:
    served.script.clear()
    served.seen.clear()
    return served


def full_errors() -> list[errors.FeatsvcError]:
    """An error of each class; those that advise a delay advise 1 ms."""
    advised = (errors.Overloaded, errors.Unavailable)
    return [
        kind("wait", retry_after_ms=1)
        if issubclass(kind, advised)
        else kind("wrong", field="content.data", metadata={"limit": "7"})
        for kind in tree(errors.FeatsvcError)
    ]


def advises(outcome: Outcome) -> bool:
    return isinstance(outcome, errors.Overloaded | errors.Unavailable)


def test_what_is_repeated_without_a_request_id_is_safe_by_the_contract() -> None:
    """A new method goes into one of the lists; its comment in proto/ says what a retry does."""
    assert sorted(set(UNARY) - set(CHANGES)) == [
        "banks.CompareBanks",
        "banks.DiffRevisions",
        "banks.GetBank",
        "banks.GetEntry",
        "banks.ListBanks",
        "banks.ListEntries",
        "banks.ListMatchCounts",
        "banks.ListRevisions",
        "features.DeleteEntity",
        "features.GetFeatures",
        "features.IngestEvents",
        "features.ListFeatures",
        "hashing.Compare",
        "hashing.Embed",
        "hashing.Hash",
        "hashing.ListAlgorithms",
        "matching.GetIndexStatus",
        "matching.Match",
        "matching.MatchBatch",
        "screening.Screen",
    ]
    assert sorted(CHANGES) == [
        "banks.AddEntries",
        "banks.CreateBank",
        "banks.DeleteBank",
        "banks.EditEntries",
        "banks.QuarantineEntries",
        "banks.ReleaseEntries",
        "banks.RestoreEntries",
        "banks.RollbackBank",
        "banks.UpdateBank",
        "banks.WithdrawEntries",
    ]


@pytest.mark.slow
@both
@pytest.mark.parametrize("name", UNARY)
def test_a_call_is_repeated_if_the_error_advises_it_and_it_does_no_harm(
    server: Scripted, flavour: str, name: str
) -> None:
    for outcome in full_errors():
        for identified in (False, True) if name in CHANGES else (False,):
            request = request_of(name)
            if identified:
                request.context.request_id = "r1"
            server.seen.clear()
            server.script[:] = [outcome, outcome]
            if advises(outcome) and is_repeatable(request):
                assert ask(flavour, server.address, name, request) is not None
                assert len(server.seen) == 3
            else:
                with pytest.raises(ServiceError) as caught:
                    ask(flavour, server.address, name, request)
                assert caught.value.reason == outcome.reason
                assert len(server.seen) == 1


@both
@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c is not grpc.StatusCode.OK])
def test_no_code_alone_is_a_reason_to_repeat_but_unavailable(
    server: Scripted, flavour: str, code: grpc.StatusCode
) -> None:
    server.script[:] = [code, None]
    if code is grpc.StatusCode.UNAVAILABLE:
        ask(flavour, server.address, "matching.Match")
    else:
        with pytest.raises(ServiceError) as caught:
            ask(flavour, server.address, "matching.Match")
        assert (caught.value.code(), caught.value.reason) == (code, "")
        assert server.script == [None]


@both
@given(failures=st.integers(0, 6), max_attempts=st.integers(1, 5))
@settings(max_examples=20)
def test_a_call_is_made_max_attempts_times_at_most(
    served: Scripted, flavour: str, failures: int, max_attempts: int
) -> None:
    served.seen.clear()
    served.script[:] = [errors.Overloaded("full", retry_after_ms=1)] * failures
    fails = failures >= max_attempts
    with pytest.raises(ServiceError, match="OVERLOADED") if fails else nullcontext():
        ask(flavour, served.address, "screening.Screen", max_attempts=max_attempts)
    assert len(served.seen) == min(failures + 1, max_attempts)


@both
def test_a_delay_beyond_the_deadline_is_the_callers(server: Scripted, flavour: str) -> None:
    server.script[:] = [errors.Overloaded("full", retry_after_ms=PATIENCE_MS)]
    with pytest.raises(ServiceError) as caught:
        ask(flavour, server.address, "screening.Screen", timeout=PATIENCE_S)
    assert caught.value.retry_after_ms == PATIENCE_MS


@pytest.mark.slow
@both
@pytest.mark.parametrize("name", methods())
def test_every_call_has_the_deadline_that_is_documented(
    server: Scripted, flavour: str, name: str
) -> None:
    default_s = DEFAULT_BANK_TIMEOUT_S if name.startswith("banks.") else DEFAULT_TIMEOUT_S
    for options, expected_s in (
        ({}, math.inf if name in STREAMS else default_s),
        ({"timeout": 1000.0}, 1000.0),
        ({"timeout": math.inf}, math.inf),
        ({"timeout_s": None, "bank_timeout_s": None}, math.inf),
    ):
        ask(flavour, server.address, name, **options)
        seen_s = server.seen.pop().time_remaining_s
        if expected_s == math.inf:
            assert seen_s is None or seen_s > 10**6
        else:
            # gRPC rounds up.
            assert seen_s <= 1.02 * expected_s
            assert seen_s > DEFAULT_TIMEOUT_S or expected_s == DEFAULT_TIMEOUT_S


def test_the_deadline_covers_all_tries() -> None:
    """On the wire gRPC rounds timeouts, so these are what it is given."""
    given: list[float] = []

    def fail(request: Any, timeout: float, metadata: Any) -> Any:
        given.append(timeout)
        raise ServiceError(grpc.StatusCode.UNAVAILABLE, "NOT_SERVING", retry_after_ms=1)

    async def fail_later(request: Any, timeout: float, metadata: Any) -> Any:
        fail(request, timeout, metadata)

    async def wait(call: Any) -> None:
        await call

    request = request_of("matching.Match")
    policy = Policy("x", timeout_s=PATIENCE_S)
    with pytest.raises(ServiceError):
        blocking._UnaryUnary(fail, "Match", policy, streaming=False)(request)
    method = asynchronous._UnaryUnary(fail_later, "Match", policy, streaming=False)
    with pytest.raises(ServiceError):
        asyncio.run(wait(method(request)))
    assert len(given) == 2 * DEFAULT_MAX_ATTEMPTS
    for timeouts in (given[:DEFAULT_MAX_ATTEMPTS], given[DEFAULT_MAX_ATTEMPTS:]):
        assert timeouts[0] - timeouts[-1] >= (1 + 2 + 4) / 1000
        assert timeouts == sorted(timeouts, reverse=True)


@pytest.mark.slow
@both
@pytest.mark.parametrize("name", methods())
def test_every_way_a_call_fails_is_a_service_error(
    server: Scripted, flavour: str, name: str
) -> None:
    for outcome in full_errors():
        server.script[:] = [outcome]
        with pytest.raises(ServiceError) as caught:
            ask(flavour, server.address, name, max_attempts=1)
        error = caught.value
        assert isinstance(error, grpc.RpcError)
        assert isinstance(error, aio.AioRpcError)
        assert isinstance(error, grpc.Call)
        assert (error.reason, error.message) == (outcome.reason, str(outcome))
        assert (error.path, error.metadata) == (outcome.field, outcome.metadata)
        assert error.details() == str(outcome)
        assert error.retry_after_ms == (1 if advises(outcome) else None)
        assert "grpc-status-details-bin" in dict(tuple(error.trailing_metadata()))
        assert error.__suppress_context__ or error.__context__ is None


@both
def test_the_token_and_the_callers_metadata_are_sent(server: Scripted, flavour: str) -> None:
    tokens = iter(["one", "two"])
    server.script[:] = [errors.Overloaded("full", retry_after_ms=1)]
    ask(
        *(flavour, server.address, "screening.Screen"),
        token=lambda: next(tokens),
        metadata=(("x-tenant", "t"),),
    )
    sent = [(seen.metadata["authorization"], seen.metadata["x-tenant"]) for seen in server.seen]
    assert len(sent) == 2
    assert sent[0][1] == sent[1][1] == "t"
    assert sent[0][0] == "Bearer one"


@pytest.mark.slow
@both
def test_a_server_that_keeps_failing_is_soon_asked_once_per_call(
    server: Scripted, flavour: str
) -> None:
    """Retries stop when the budget is half spent, and come back with successes."""
    calls = 200
    overloaded = errors.Overloaded("full", retry_after_ms=0)
    server.script[:] = [overloaded] * 10_000
    request = request_of("matching.Match")

    def blocking() -> None:
        with Client(server.address) as client:
            for _ in range(calls):
                with pytest.raises(ServiceError):
                    client.matching.Match(request)
            check(len(server.seen))
            server.script.clear()
            for _ in range(600):
                client.matching.Match(request)
            server.seen.clear()
            server.script[:] = [overloaded]
            client.matching.Match(request)

    async def asyncio_() -> None:
        async with AsyncClient(server.address) as client:
            for _ in range(calls):
                with pytest.raises(ServiceError):
                    await client.matching.Match(request)
            check(len(server.seen))
            server.script.clear()
            for _ in range(600):
                await client.matching.Match(request)
            server.seen.clear()
            server.script[:] = [overloaded]
            await client.matching.Match(request)

    def check(made: int) -> None:
        assert calls < made <= calls + 50

    blocking() if flavour == "blocking" else asyncio.run(asyncio_())
    assert len(server.seen) == 2, "successes earn retries"


OVERLOADED = errors.Overloaded("full", retry_after_ms=1)


def test_other_ways_to_make_a_blocking_call(server: Scripted) -> None:
    with Client(server.address) as client:
        request = request_of("matching.Match")
        server.script[:] = [OVERLOADED]
        answer, call = client.matching.Match.with_call(request)
        assert (answer, call.code()) == (type(answer)(), grpc.StatusCode.OK)
        assert client.matching.Match(request=request) == answer
        assert client.matching.Match(request, PATIENCE_S, (("x", "y"),), None, True) == answer
        assert server.seen[-1].metadata["x"] == "y"

        done: list[Any] = []
        future: Any = client.matching.Match.future(request)
        future.add_done_callback(done.append)
        assert future.result(PATIENCE_S) == answer
        assert future.exception() is None
        until(lambda: done == [future])

        server.script[:] = [OVERLOADED]
        future = client.matching.Match.future(request)
        assert isinstance(future.exception(PATIENCE_S), ServiceError)
        with pytest.raises(ServiceError):
            future.result()
        assert future.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

        options = iter([request_of("banks.EvaluateBank")])
        server.script[:] = [OVERLOADED]
        with pytest.raises(ServiceError):
            client.banks.EvaluateBank.with_call(options)


def test_other_ways_to_use_an_asyncio_call(server: Scripted) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            call: Any = client.screening.ScreenStream()
            await call.write(request_of("screening.Screen"))
            assert await call.read() is not None
            assert await call.read() is aio.EOF
            assert await call.code() is grpc.StatusCode.OK

            server.script[:] = [OVERLOADED]
            call = client.screening.ScreenStream()
            await call.write(request_of("screening.Screen"))
            with pytest.raises(ServiceError):
                await call.read()
            with pytest.raises((ServiceError, asyncio.InvalidStateError)):
                await call.write(request_of("screening.Screen"))

            server.script[:] = [errors.NotFound("no")]
            call = client.matching.Match(request_of("matching.Match"))
            for _ in range(2):
                with pytest.raises(ServiceError, match="NOT_FOUND"):
                    await call
            assert await call.code() is grpc.StatusCode.NOT_FOUND
            assert await client.matching.Match(request=request_of("matching.Match")) is not None

    asyncio.run(main())


def test_who_awaits_one_call_twice_gets_one_answer(server: Scripted) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            server.script[:] = [OVERLOADED, OVERLOADED]
            call = client.matching.Match(request_of("matching.Match"))
            first, second = await asyncio.gather(call, call)
            assert first is second
            assert len(server.seen) == 3

    asyncio.run(main())


def test_a_call_that_waits_for_its_next_try_can_be_cancelled(server: Scripted) -> None:
    async def main() -> None:
        async with AsyncClient(server.address, timeout_s=None) as client:
            for cancel_task in (True, False):
                server.seen.clear()
                server.script[:] = [errors.Overloaded("full", retry_after_ms=19_000)]
                call = client.matching.Match(request_of("matching.Match"))
                waiting = asyncio.ensure_future(call)
                assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                while call._retries is None:  # type: ignore[attr-defined]
                    await asyncio.sleep(0.01)
                assert (waiting if cancel_task else call).cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert len(server.seen) == 1

    asyncio.run(main())
