"""Look: one piece of content in; its signals and what the banks know of it out."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from featsvc.embedding import Model, Score
from featsvc.matching.matches import MatchOptions, MatchResult
from featsvc.media import DecodeOptions
from featsvc.requests.content import Content
from featsvc.requests.plan import plan_for_banks, plan_for_text
from featsvc.requests.runtime import Runtime
from featsvc.requests.signals import ContentSignals, make_signals
from featsvc.signals.hashes import ContentHashes, ContentOutcome
from featsvc.signals.signal import Signal


@dataclass(frozen=True, slots=True)
class ContentReport:
    """What was found out about one piece of content.

    `outcome` says how `signals` and `result` are to be read, `reason` why; `revision` and
    `commit_time` name the bank snapshot that `result` was computed from.
    """

    hashes: ContentHashes
    outcome: ContentOutcome
    reason: str
    signals: tuple[Signal, ...]
    scores: tuple[Score, ...]
    result: MatchResult
    revision: int
    commit_time: datetime | None
    queue_us: int
    match_us: int


class _SearchResult(NamedTuple):
    """Signals, which take time to write down where they are vectors, and what is near them."""

    signals: tuple[Signal, ...]
    result: MatchResult
    match_us: int


async def report_on(
    runtime: Runtime,
    content: Content,
    algorithms: Sequence[str],
    decode: DecodeOptions,
    options: MatchOptions,
    classifiers: Sequence[Model] = (),
) -> ContentReport:
    """Hash one piece of content and search the banks, in one hop; see `plan_for_banks`.

    Where banks hold vectors of a learned model the search waits for it and is a second hop.
    """
    snapshot = runtime.follower.snapshot
    if isinstance(content, str):
        plan = plan_for_text(content, snapshot, algorithms, classifiers)
    else:
        plan = plan_for_banks(snapshot, runtime.embedder, options, algorithms, classifiers)

    def search(made: ContentSignals) -> _SearchResult:
        signals = made.signals
        started = time.perf_counter_ns()
        result = runtime.count(snapshot.match(signals, options))
        return _SearchResult(signals, result, (time.perf_counter_ns() - started) // 1000)

    def job() -> tuple[ContentSignals, _SearchResult | None]:
        made = make_signals(content, plan, decode, runtime.limits, runtime.embedder)
        try:
            return made, None if made.waiting else search(made)
        except BaseException:
            made.cancel()
            raise

    (made, found), queue_us = await runtime.pool.run(job)
    await made.finish()
    if found is None:
        again, waited_us = await runtime.pool.run(lambda: search(made))
        found, queue_us = again, queue_us + waited_us
    outcome, reason = made.outcome()
    return ContentReport(
        made.hashes, outcome, reason, found.signals, made.scores, found.result,
        snapshot.revision, snapshot.commit_time, queue_us, found.match_us,
    )  # fmt: skip
