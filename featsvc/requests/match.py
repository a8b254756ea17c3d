"""Match: search the banks for signals."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from featsvc.matching.matches import BatchResult, MatchOptions, MatchResult
from featsvc.matching.snapshot import Snapshot
from featsvc.requests.runtime import Runtime
from featsvc.signals.algorithms import Algorithm
from featsvc.signals.signal import Signal

T = TypeVar("T")


async def match(
    runtime: Runtime, signal: Signal, options: MatchOptions
) -> tuple[MatchResult, int, datetime | None]:
    """Search the banks for one signal; return result, revision and commit time.

    A quick search runs on this thread: handing it to the pool would take longer. Raises NotFound
    for a vector of a model that no searched bank holds.
    """
    snapshot = runtime.follower.snapshot
    snapshot.check_held(signal.algorithm, options)
    quick = snapshot.match_if_quick(signal, options)
    if quick is not None:
        return runtime.count(quick), snapshot.revision, snapshot.commit_time
    result, _ = await runtime.pool.run(lambda: runtime.count(snapshot.match((signal,), options)))
    return result, snapshot.revision, snapshot.commit_time


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
