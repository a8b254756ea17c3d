"""The comparisons of `tests.fuzz.matching` over gRPC, with two workers and kills of them."""

import contextlib
import random
import signal
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TypeVar

import grpc
import psutil
from featsvc_client.v1 import matching_pb2, matching_pb2_grpc

from tests.fuzz.banks import Banks, SqliteBanks
from tests.fuzz.expected import State
from tests.fuzz.questions import Question, state_at
from tests.fuzz.tally import Tally
from tests.integration.killed_workers import indexing
from tests.integration.running import Running, own_connection, running
from tests.patience import PATIENCE_S

WORKERS = 2
T = TypeVar("T", matching_pb2.MatchResponse, matching_pb2.MatchBatchResponse)


def fuzz_served(seed: int, seconds: float, tally: Tally) -> None:
    """Start one service after another until the time is over."""
    deadline = time.monotonic() + seconds
    for number in count():
        if time.monotonic() > deadline:
            break
        one_service(seed, number, tally, deadline=deadline)


def one_service(
    seed: int, number: int, tally: Tally, *, steps: int = 60, deadline: float = float("inf")
) -> None:
    """Change banks, kill workers and the indexer, and compare answers of one service."""
    place = f"--seed {seed} --service {number}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            _one_service(place, random.Random(place), Path(folder), tally, steps, deadline)
        except Exception as exc:  # also a finding
            tally.wrong.append(f"{place}: {type(exc).__name__}: {exc}")


def _one_service(
    place: str, rng: random.Random, folder: Path, tally: Tally, steps: int, deadline: float
) -> None:
    banks = SqliteBanks(rng, folder)
    options = ("--workers", str(WORKERS), "--redis", "unix:///nowhere")
    environ = {"FEATSVC_BANKS_INDEXER": "false"}
    with running(folder, *options, environ=environ) as service, contextlib.ExitStack() as stack:
        indexer = stack.enter_context(indexing(folder, banks.url))
        for _ in range(steps):
            if time.monotonic() > deadline:
                break
            tally.changes[banks.change()] += 1
            chance = rng.random()
            if chance < 0.06:
                indexer.kill()
                indexer = stack.enter_context(indexing(folder, banks.url))
                tally.changes["indexer killed"] += 1
            elif chance < 0.16:
                with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                    rng.choice(service.children("featsvc.worker")).send_signal(signal.SIGKILL)
                    tally.changes["worker killed"] += 1
            for _ in range(rng.randint(1, 4)):
                _ask(place, banks, service, tally)
        if service.process.poll() is not None or "incident" in service.log:
            tally.wrong.append(f"{place}: the service died or logged an incident")
    banks.store.close()


def _ask(place: str, banks: Banks, service: Running, tally: Tally) -> None:
    """Send one query alone and some in a batch, each to any worker."""
    # A bank may be gone at the revision that is served: then nothing is compared.
    question = Question(banks)
    answer = _call(service, tally, question.match)
    state = _state(place, banks, answer, tally)
    if answer is not None and state is not None:
        question.check_match(place, answer, state, tally)
    batch = _call(service, tally, question.match_batch)
    state = _state(place, banks, batch, tally)
    if batch is not None and state is not None:
        question.check_batch(place, batch, state, tally)


def _call(
    service: Running,
    tally: Tally,
    call: Callable[[matching_pb2_grpc.MatchingServiceStub], T],
) -> T | None:
    """Call any worker; None where the request names what the served banks do not have.

    A connection to a worker that was just killed is lost with it, so the call is repeated.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with own_connection(service.address) as channel:
            try:
                return call(matching_pb2_grpc.MatchingServiceStub(channel))
            except grpc.RpcError as exc:
                if exc.code() is grpc.StatusCode.NOT_FOUND:
                    tally.answers[f"  {exc.code().name}"] += 1
                    return None
                if exc.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise
        tally.answers["  UNAVAILABLE, repeated"] += 1
        time.sleep(0.01)


def _state(place: str, banks: Banks, answer: T | None, tally: Tally) -> State | None:
    """Return the state of the store at the revision that the answer names."""
    if answer is None:
        return None
    mark = answer.watermark
    state = state_at(banks.history, mark)
    if state is None:
        tally.wrong.append(f"{place}: an answer names revision {mark.revision}, which no store had")
    return state
