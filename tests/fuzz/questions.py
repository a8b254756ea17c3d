"""Questions over gRPC about random banks, and the right answers to them."""

import time
from collections.abc import Mapping

import numpy as np
from featsvc_client.v1 import matching_pb2, matching_pb2_grpc, types_pb2

from featsvc.matching.matches import MatchOptions, MatchResult, Variants
from featsvc.service.conversions import signals as convert
from featsvc.signals.algorithms import Kind, get_algorithm
from featsvc.signals.signal import Signal
from tests.fuzz.banks import ALGORITHMS, DIMENSIONS, Banks, Key
from tests.fuzz.expected import State, expected, packed, searched
from tests.fuzz.tally import Tally
from tests.patience import PATIENCE_S

Stub = matching_pb2_grpc.MatchingServiceStub
_VARIANTS = {
    Variants.NONE: types_pb2.MatchOptions.VARIANTS_NONE,
    Variants.DEFAULT: types_pb2.MatchOptions.VARIANTS_DEFAULT,
    Variants.ALL: types_pb2.MatchOptions.VARIANTS_ALL,
}


def state_at(history: Mapping[Key, State], mark: types_pb2.Watermark) -> State | None:
    """Return the state of the store that a watermark names, None if no store had it."""
    for (revision, commit_time), state in history.items():
        if revision == mark.revision and convert.timestamp(commit_time) == mark.commit_time:
            return state
    return None


class Question:
    """One query alone and some in a batch, of one algorithm and with the same random options.

    A check compares an answer with the brute force over the state that the answer names.
    """

    def __init__(self, banks: Banks) -> None:
        rng = banks.rng
        self._options = banks.options()
        self._kind = kind = get_algorithm(rng.choice(ALGORITHMS))
        quality = rng.choice((None, 100, 49)) if kind.quality_floor is not None else None
        self._query = Signal(kind, banks.query(kind.name), quality)
        self._values = [banks.query(kind.name) for _ in range(rng.choice((1, 3, 20)))]
        self._now_us = time.time_ns() // 1000

    def match(self, stub: Stub) -> matching_pb2.MatchResponse:
        signal = types_pb2.Signal(
            algorithm=self._kind.name, value=self._query.text, quality=self._query.quality
        )
        request = matching_pb2.MatchRequest(signal=signal, options=_message(self._options))
        return stub.Match(request, timeout=PATIENCE_S)

    def match_batch(self, stub: Stub) -> matching_pb2.MatchBatchResponse:
        request = matching_pb2.MatchBatchRequest(
            algorithm=self._kind.name,
            dimensions=DIMENSIONS,
            signals=b"".join(self._values),
            options=_message(self._options),
        )
        return stub.MatchBatch(request, timeout=PATIENCE_S)

    def check_match(
        self, place: str, answer: matching_pb2.MatchResponse, state: State, tally: Tally
    ) -> None:
        if not self._is_about(place, state, tally):
            return
        right = expected(state, [as_sent(self._query)], self._options, self._now_us)
        tally.count(right)
        same = [convert.match_message(match) for match in right.matches]
        got = list(answer.matches), answer.truncated
        tally.compare(place, "Match", got, (same, right.truncated))
        scoped = searched(state, self._kind, self._options, self._now_us)
        tally.compare(place, "outcome", answer.outcome, _outcome(right, scoped))

    def check_batch(
        self, place: str, batch: matching_pb2.MatchBatchResponse, state: State, tally: Tally
    ) -> None:
        if not self._is_about(place, state, tally):
            return
        distances = batch.fractional_distances or batch.distances
        scoped = searched(state, self._kind, self._options, self._now_us)
        for i, value in enumerate(self._values):
            signal = as_sent(Signal(self._kind, value))
            one = expected(state, [signal], self._options, self._now_us)
            found = range(batch.offsets[i], batch.offsets[i + 1])
            got = [(_fields(batch.entries[batch.entry_index[j]]), distances[j]) for j in found]
            same = [
                (_fields(convert.match_message(match)), float(np.float32(match.distance)))
                for match in one.matches
            ]
            cut = i in batch.truncated_queries
            tally.compare(place, "MatchBatch", (got, cut), (same, one.truncated))
            tally.compare(place, "outcome", batch.outcomes[i], _outcome(one, scoped))

    def _is_about(self, place: str, state: State, tally: Tally) -> bool:
        """Return whether there are the named banks: else there must be no answer."""
        missing = set(self._options.banks) - state.banks.keys()
        if missing:
            tally.wrong.append(f"{place}: an answer about a bank that its revision does not have")
        return not missing


def _outcome(right: MatchResult, scoped: bool) -> types_pb2.Outcome:
    """Return the outcome of an answer; `scoped`: there was something to search."""
    if not scoped:
        return types_pb2.OUTCOME_NOT_SEARCHED
    return types_pb2.OUTCOME_LOW_QUALITY if right.low_quality else types_pb2.OUTCOME_OK


def as_sent(signal: Signal) -> Signal:
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


def _message(options: MatchOptions) -> types_pb2.MatchOptions:
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
        ignore_safe_lists=options.ignore_safe_lists,
    )
