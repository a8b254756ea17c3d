"""Report: the signals of one piece of content, and its matches in the banks."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple

from featsvc.embedding import Model, Score
from featsvc.hashing.content import Content
from featsvc.matching.matches import MatchOptions, MatchResult
from featsvc.matching.scope import ScopeQuery, SearchScope
from featsvc.media import DecodeOptions
from featsvc.requests.plan import plan_for_banks, plan_for_text
from featsvc.requests.runtime import Runtime
from featsvc.requests.signals import PendingSignals, start_signals
from featsvc.signals.hashes import ContentHashes, ContentOutcome
from featsvc.signals.signal import Signal


@dataclass(frozen=True, slots=True)
class ContentReport:
    """Signals, scores and matches of one piece of content.

    `outcome` says how to read `signals` and `result`, `reason` why, `scope` what was searched.
    `revision` and `commit_time` are of the bank snapshot that was searched.
    """

    hashes: ContentHashes
    outcome: ContentOutcome
    reason: str
    signals: tuple[Signal, ...]
    scores: tuple[Score, ...]
    result: MatchResult
    scope: SearchScope
    revision: int
    commit_time: datetime | None
    queue_us: int
    match_us: int


class _SearchResult(NamedTuple):
    """Signals, converted on the pool since vectors take time, their matches, and the scope."""

    signals: tuple[Signal, ...]
    result: MatchResult
    scope: SearchScope
    match_us: int


async def report_on(
    runtime: Runtime,
    content: Content,
    algorithms: Sequence[str],
    decode: DecodeOptions,
    options: MatchOptions,
    classifiers: Sequence[Model] = (),
) -> ContentReport:
    """Hash content and search the banks in one hop to the pool; see `plan_for_banks`.

    Where banks hold vectors of a learned model, the search waits for it and takes a second hop.
    """
    snapshot = runtime.follower.snapshot
    if isinstance(content, str):
        plan = plan_for_text(content, snapshot, algorithms, classifiers)
    else:
        plan = plan_for_banks(snapshot, runtime.embedder, options, algorithms, classifiers)

    planned = plan.hashes
    if plan.vectors:
        planned += tuple([model.id for model in plan.vectors])

    def search(pending: PendingSignals) -> _SearchResult:
        signals = pending.signals
        started = time.perf_counter_ns()
        result = runtime.count(snapshot.match(signals, options))
        searched = [s.algorithm.name for s in signals]
        if result.low_quality:
            searched = [s.algorithm.name for s in signals if not s.low_quality]
        query = ScopeQuery(planned, frozenset(searched), bool(algorithms), content=True)
        scope = snapshot.scope(query, options)
        return _SearchResult(signals, result, scope, (time.perf_counter_ns() - started) // 1000)

    def job() -> tuple[PendingSignals, _SearchResult | None]:
        pending = start_signals(content, plan, decode, runtime.limits, runtime.embedder)
        try:
            return pending, None if pending.waiting else search(pending)
        except BaseException:
            pending.cancel()
            raise

    (pending, searched), queue_us = await runtime.pool.run(job)
    await pending.finish()
    if searched is None:
        second, waited_us = await runtime.pool.run(partial(search, pending))
        searched, queue_us = second, queue_us + waited_us
    outcome, reason = searched.scope.outcome(*pending.outcome())
    return ContentReport(
        hashes=pending.hashes,
        outcome=outcome,
        reason=reason,
        signals=searched.signals,
        scores=pending.scores,
        result=searched.result,
        scope=searched.scope,
        revision=snapshot.revision,
        commit_time=snapshot.commit_time,
        queue_us=queue_us,
        match_us=searched.match_us,
    )
