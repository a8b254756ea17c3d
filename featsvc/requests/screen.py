"""Screen: signals and matches of content, and features of its account, in one call.

A request takes one bank snapshot and one hop to the pool. In parallel, one round trip to Redis
records the event and reads the features. If Redis is down or overloaded, or holds what cannot be
read, the matches are still returned and the features are DEGRADED. A picture that cannot be decoded
is matched by its byte hashes, and the outcome says so.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from featsvc.accounts import EntityRef, Event, EventResult, FeatureTable, Selection
from featsvc.errors import DataCorrupt, Overloaded, Unavailable
from featsvc.hashing.content import Content
from featsvc.matching.matches import MatchOptions
from featsvc.media import DecodeOptions
from featsvc.requests.embed import select_classifiers
from featsvc.requests.report import ContentReport, report_on
from featsvc.requests.runtime import Runtime


@dataclass(frozen=True, slots=True)
class AccountQuery:
    """The features to read, of which entities, and the event to record before.

    `entities` may be empty to record only.
    """

    entities: Sequence[EntityRef]
    selection: Selection
    record: Event | None = None

    @property
    def empty(self) -> bool:
        return not self.entities and self.record is None


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall time in microseconds; `features_us` overlaps with the rest."""

    features_us: int
    total_us: int


@dataclass(frozen=True, slots=True)
class ScreenResult:
    """The report on the content, and features and event result of the account.

    `features` is None for a request without entities. Where the store failed,
    `features_degraded` says why, feature values are DEGRADED, and `event_result` is None: send the
    event again.
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
    """Screen one upload; `models` names classifiers.

    Raises what `hash_content` and `Snapshot.match` raise, and InvalidInput for undefined features.
    The event may be recorded even where the content is refused.
    """
    started = time.perf_counter_ns()
    classifiers = select_classifiers(runtime, models)
    trip = asyncio.ensure_future(record_and_read(runtime, account))
    try:
        report = await report_on(runtime, content, algorithms, decode, options, classifiers)
        table, event_result, degraded, features_us = await trip
    finally:
        trip.cancel()
    timings = Timings(features_us, (time.perf_counter_ns() - started) // 1000)
    return ScreenResult(report, table, event_result, degraded, timings)


async def record_and_read(
    runtime: Runtime, account: AccountQuery
) -> tuple[FeatureTable | None, EventResult | None, str, int]:
    """Return features, event result, why the features are DEGRADED or "", and microseconds.

    Raises InvalidInput for undefined features.
    """
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
    except (DataCorrupt, Overloaded, Unavailable) as exc:
        # Whatever ails the store of features, the upload's matches are served.
        degraded = str(exc)
        table = store.degraded(entities, account.selection) if entities else None
    return table, event_result, degraded, (time.perf_counter_ns() - started) // 1000
