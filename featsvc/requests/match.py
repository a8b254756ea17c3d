"""Match: search the banks for signals."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from featsvc.matching.matches import BatchResult, MatchOptions, MatchResult
from featsvc.matching.scope import ScopeQuery, SearchScope
from featsvc.matching.snapshot import Snapshot
from featsvc.requests.runtime import Runtime
from featsvc.signals.algorithms import Algorithm
from featsvc.signals.hashes import ContentOutcome
from featsvc.signals.signal import Signal

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
    outcome, reason = scope.outcome(
        ContentOutcome.LOW_QUALITY if low else ContentOutcome.OK, LOW_QUALITY if low else ""
    )
    return SignalReport(outcome, reason, result, scope, snapshot.revision, snapshot.commit_time)


async def match_batch(
    runtime: Runtime,
    kind: Algorithm,
    values: NDArray[np.uint8],
    options: MatchOptions,
    answer: Callable[[BatchResult, Snapshot], T],
) -> T:
    """Search the banks for every row of `values` uint8 (q, bytes).

    `answer` runs on the same thread: encoding a large result takes as long as the search.
    """
    snapshot = runtime.follower.snapshot
    snapshot.check_held(kind, options)
    result, _ = await runtime.pool.run(
        lambda: answer(snapshot.match_batch(kind, values, options), snapshot)
    )
    return result
