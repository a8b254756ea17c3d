"""Screen: content and account in; signals, matches and features out, in one call.

A request takes one bank snapshot and makes one hop to the pool. Meanwhile its account features
are one trip to Redis. Redis away leaves the matches standing and marks the features; a picture
that cannot be decoded is an error, never an empty list of matches.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from featsvc.accounts import EntityRef, Event, EventResult, FeatureTable, Selection
from featsvc.errors import Unavailable
from featsvc.matching.matches import MatchOptions
from featsvc.media import DecodeOptions
from featsvc.requests.content import Content
from featsvc.requests.embed import select_classifiers
from featsvc.requests.report import ContentReport, report_on
from featsvc.requests.runtime import Runtime


@dataclass(frozen=True, slots=True)
class AccountQuery:
    """Whose features are wanted, and the event to record before they are read.

    `entities` may be empty where only `record` is to be stored.
    """

    entities: Sequence[EntityRef]
    selection: Selection
    record: Event | None = None

    @property
    def empty(self) -> bool:
        return not self.entities and self.record is None


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall time, microseconds. `features_us` runs beside the rest."""

    features_us: int
    total_us: int


@dataclass(frozen=True, slots=True)
class ScreenResult:
    """The whole answer.

    `features` is None where none were asked for; where the store was away its values are
    DEGRADED and `features_degraded` says why. `event_result` is then None: send the event again.
    """

    report: ContentReport
    features: FeatureTable | None
    event_result: EventResult | None
    features_degraded: str
    timings: Timings


async def screen(
    runtime: Runtime,
    content: Content,
    algorithms: Sequence[str],
    decode: DecodeOptions,
    options: MatchOptions,
    account: AccountQuery,
    models: Sequence[str] = (),
) -> ScreenResult:
    """Everything known about one upload; `models` names classifiers.

    Raises what `hash_content` and `Snapshot.match` raise, and InvalidInput for features that
    are not defined. The account's event is recorded whatever becomes of the content.
    """
    started = time.perf_counter_ns()
    classifiers = select_classifiers(runtime, models)
    trip = asyncio.ensure_future(_ask_account(runtime, account))
    try:
        report = await report_on(runtime, content, algorithms, decode, options, classifiers)
        table, event_result, degraded, features_us = await trip
    finally:
        trip.cancel()
    timings = Timings(features_us, (time.perf_counter_ns() - started) // 1000)
    return ScreenResult(report, table, event_result, degraded, timings)


async def _ask_account(
    runtime: Runtime, account: AccountQuery
) -> tuple[FeatureTable | None, EventResult | None, str, int]:
    if account.empty:
        return None, None, "", 0
    started = time.perf_counter_ns()
    store, record, entities = runtime.features, account.record, account.entities
    table: FeatureTable | None = None
    event_result: EventResult | None = None
    degraded = ""
    try:
        if entities:
            event_result, table = await store.record_and_get(record, entities, account.selection)
        elif record is not None:
            (event_result,) = await store.ingest([record])
    except Unavailable as exc:
        degraded = str(exc)
        table = store.degraded(entities, account.selection) if entities else None
    return table, event_result, degraded, (time.perf_counter_ns() - started) // 1000
