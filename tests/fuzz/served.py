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
import numpy as np
import psutil
from featsvc_client.v1 import matching_pb2, matching_pb2_grpc, types_pb2

from featsvc.matching.matches import MatchOptions, Variants
from featsvc.service.conversions import signals as convert
from featsvc.signals.algorithms import Kind, get_algorithm
from featsvc.signals.signal import Signal
from tests.fuzz.banks import ALGORITHMS, DIMENSIONS, Banks
from tests.fuzz.expected import State, expected, holds, packed
from tests.fuzz.tally import Tally
from tests.integration.killed_workers import indexing
from tests.integration.running import Running, own_connection, running
from tests.patience import PATIENCE_S

WORKERS = 2
_VARIANTS = {
    Variants.NONE: types_pb2.MatchOptions.VARIANTS_NONE,
    Variants.DEFAULT: types_pb2.MatchOptions.VARIANTS_DEFAULT,
    Variants.ALL: types_pb2.MatchOptions.VARIANTS_ALL,
}

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
    banks = Banks(rng, folder)
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
    options = banks.options()
    # A bank may be gone at the revision that is served: then nothing is compared.
    message = _options_message(options)
    now_us = time.time_ns() // 1000
    kind = get_algorithm(banks.rng.choice(ALGORITHMS))
    quality = banks.rng.choice((None, 100, 49)) if kind.quality_floor is not None else None
    query = Signal(kind, banks.query(kind.name), quality)
    signal_message = types_pb2.Signal(algorithm=kind.name, value=query.text, quality=quality)
    request = matching_pb2.MatchRequest(signal=signal_message, options=message)
    answer = _call(service, tally, lambda stub: stub.Match(request, timeout=PATIENCE_S))
    state = _state(place, banks, answer, tally)
    if answer is not None and state is not None:
        right = expected(state, [_as_sent(query)], options, now_us)
        tally.count(right)
        same = [convert.match_message(match) for match in right.matches]
        got = list(answer.matches), answer.truncated
        tally.compare(place, "Match", got, (same, right.truncated))
        if holds(state, kind, options):
            # Other outcomes may say that too little was searched.
            wrong = types_pb2.OUTCOME_OK if right.low_quality else types_pb2.OUTCOME_LOW_QUALITY
            tally.compare(place, "outcome", answer.outcome == wrong, False)
    values = [banks.query(kind.name) for _ in range(banks.rng.choice((1, 3, 20)))]
    batch_request = matching_pb2.MatchBatchRequest(
        algorithm=kind.name, dimensions=DIMENSIONS, signals=b"".join(values), options=message
    )
    batch = _call(service, tally, lambda stub: stub.MatchBatch(batch_request, timeout=PATIENCE_S))
    state = _state(place, banks, batch, tally)
    if batch is None or state is None:
        return
    distances = batch.fractional_distances or batch.distances
    for i, value in enumerate(values):
        one = expected(state, [_as_sent(Signal(kind, value))], options, now_us)
        found = range(batch.offsets[i], batch.offsets[i + 1])
        got_columns = [(_fields(batch.entries[batch.entry_index[j]]), distances[j]) for j in found]
        same_columns = [
            (_fields(convert.match_message(match)), float(np.float32(match.distance)))
            for match in one.matches
        ]
        cut = i in batch.truncated_queries
        tally.compare(place, "MatchBatch", (got_columns, cut), (same_columns, one.truncated))


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
    for (revision, commit_time), state in banks.history.items():
        if revision == mark.revision and convert.timestamp(commit_time) == mark.commit_time:
            return state
    tally.wrong.append(f"{place}: an answer names revision {mark.revision}, which no store had")
    return None


def _as_sent(signal: Signal) -> Signal:
    """Return the signal as the service reads it: vectors are normalised again."""
    kind = signal.algorithm
    if kind.kind is not Kind.VECTOR:
        return signal
    return Signal(kind, kind.distance.packed(kind, packed([signal.value]))[0].tobytes())


def _fields(match: types_pb2.Match) -> types_pb2.Match:
    """Return the fields that do not depend on the query."""
    kept = types_pb2.Match()
    kept.CopyFrom(match)
    kept.ClearField("distance")
    kept.ClearField("query_signal")
    kept.ClearField("evidence")
    return kept


def _options_message(options: MatchOptions) -> types_pb2.MatchOptions:
    return types_pb2.MatchOptions(
        banks=options.banks,
        labels=options.labels,
        thresholds=[
            types_pb2.ThresholdOverride(algorithm=name, threshold=threshold)
            for name, threshold in options.thresholds.items()
        ],
        max_results=options.max_results,
        match_low_quality=options.match_low_quality,
        variants=_VARIANTS[options.variants],
        top_k=options.top_k,
    )
