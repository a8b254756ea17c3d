"""Match: search the banks for signals."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from featsvc.matching.matches import BatchResult, MatchOptions, MatchResult, SignalBatch
from featsvc.matching.scope import ScopeQuery, SearchScope
from featsvc.requests.runtime import Runtime
from featsvc.signals.hashes import ContentOutcome
from featsvc.signals.signal import UNSTABLE, Signal

T = TypeVar("T")

LOW_QUALITY = (
    "the signal is below its quality floor, or of a picture without structure, and was not "
    "matched; set match_low_quality to match it"
)


class SignalReport(NamedTuple):
    """The matches of one signal, as in `ContentReport`."""

    outcome: ContentOutcome
    reason: str
    result: MatchResult
    scope: SearchScope
    revision: int
    commit_time: datetime | None


class BatchReport(NamedTuple):
    """The matches of a batch, as in `ContentReport`.

    `low_outcome` is that of the queries in `result.low_quality`, `unstable_outcome` that of others
    in `unstable`, bool (q,), `outcome` that of the rest, and `reason` says why any is not OK.
    """

    outcome: ContentOutcome
    low_outcome: ContentOutcome
    unstable_outcome: ContentOutcome
    unstable: NDArray[np.bool_]
    reason: str
    result: BatchResult
    scope: SearchScope
    revision: int
    commit_time: datetime | None


async def match(runtime: Runtime, signal: Signal, options: MatchOptions) -> SignalReport:
    """Search the banks for one signal.

    A quick search runs on this thread: handing it to the pool would take longer. Raises NotFound
    for a vector of a model that no searched bank holds.
    """
    snapshot = runtime.follower.snapshot
    snapshot.check_held(signal.algorithm, options)
    quick = snapshot.match_if_quick(signal, options)
    if quick is None:
        result, _ = await runtime.pool.run(lambda: snapshot.match((signal,), options))
    else:
        result = quick
    runtime.count(result)
    low, planned = result.low_quality, (signal.algorithm.name,)
    query = ScopeQuery(planned, frozenset(() if low else planned), named=True, content=False)
    scope = snapshot.scope(query, options)
    outcome, reason = scope.outcome(*_outcome_of(low, signal.unstable))
    return SignalReport(outcome, reason, result, scope, snapshot.revision, snapshot.commit_time)


def _outcome_of(low: bool, unstable: bool) -> tuple[ContentOutcome, str]:
    """Return the outcome of a query, and why it is not OK."""
    if low:
        return ContentOutcome.LOW_QUALITY, LOW_QUALITY
    if unstable:
        return ContentOutcome.UNSTABLE, UNSTABLE
    return ContentOutcome.OK, ""


async def match_batch(
    runtime: Runtime,
    batch: SignalBatch,
    options: MatchOptions,
    answer: Callable[[BatchReport], T],
) -> T:
    """Search the banks for every signal of a batch.

    `answer` runs on the same thread: encoding a large result takes as long as the search. Raises
    what `Snapshot.match_batch` raises, and NotFound as `match` does.
    """
    snapshot = runtime.follower.snapshot
    snapshot.check_held(batch.kind, options)

    def job() -> T:
        result = snapshot.match_batch(batch.kind, batch.values, options, batch.qualities)
        low, planned = result.low_quality, (batch.kind.name,)
        searched = frozenset(() if len(low) and low.all() else planned)
        scope = snapshot.scope(ScopeQuery(planned, searched, named=True, content=False), options)
        unstable = np.zeros(len(batch.values), bool)
        unstable[list(batch.unstable)] = True
        reasons = [LOW_QUALITY] * bool(low.any()) + [UNSTABLE] * bool((unstable & ~low).any())
        good, reason = scope.outcome(ContentOutcome.OK, "; ".join(reasons))
        poor, _ = scope.outcome(ContentOutcome.LOW_QUALITY, "")
        weak, _ = scope.outcome(ContentOutcome.UNSTABLE, "")
        revision, time = snapshot.revision, snapshot.commit_time
        return answer(
            BatchReport(good, poor, weak, unstable, reason, result, scope, revision, time)
        )

    encoded, _ = await runtime.pool.run(job)
    return encoded
