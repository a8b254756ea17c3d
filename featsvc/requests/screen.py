"""bytes -> pixels -> signals -> matches on one thread, account features beside it.

A request takes one bank snapshot and makes one hop to the pool. Meanwhile its account features
are one trip to Redis. Redis away leaves the matches standing and marks the features; a picture
that cannot be decoded is an error, never an empty list of matches.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from featsvc.accounts import EntityRef, Event, EventResult, FeatureStore, FeatureTable, Selection
from featsvc.banks.results import MatchKey
from featsvc.banks.tally import MatchTally
from featsvc.embedding import Embedded, Embedder, Model, Score, Started
from featsvc.errors import InvalidInput, Unavailable, UnsupportedMedia
from featsvc.hashing.variants import MakeVariants, make_original
from featsvc.matching.follower import Follower
from featsvc.matching.matches import BatchResult, MatchOptions, MatchResult
from featsvc.matching.snapshot import Snapshot
from featsvc.media import DecodeOptions, Limits, decode
from featsvc.requests.compare import Compared, compare_sides
from featsvc.requests.contents import Content, default_algorithms, hash_any
from featsvc.requests.look import Sight, look_at, named, wanted_of_banks, wanted_of_text
from featsvc.requests.pool import WorkPool
from featsvc.signals.algorithms import DEFAULT_ALGORITHMS
from featsvc.signals.hashes import ContentHashes, ContentOutcome, MediaInfo
from featsvc.signals.signal import Signal
from featsvc.signals.text import STORED_ALGORITHMS

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Looked:
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


@dataclass(frozen=True, slots=True)
class ContentEmbedded:
    """Vectors and scores of one picture; `embedded` and `media` are None where it is none."""

    outcome: ContentOutcome
    reason: str
    media: MediaInfo | None
    embedded: Embedded | None


@dataclass(frozen=True, slots=True)
class Account:
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
class Screened:
    """The whole answer.

    `features` is None where none were asked for; where the store was away its values are
    DEGRADED and `features_degraded` says why. `event_result` is then None: send the event again.
    """

    looked: Looked
    features: FeatureTable | None
    event_result: EventResult | None
    features_degraded: str
    timings: Timings


class Screener:
    """Ties the parts together; knows no wire."""

    def __init__(
        self,
        pool: WorkPool,
        follower: Follower,
        features: FeatureStore,
        embedder: Embedder,
        limits: Limits,
        tally: MatchTally | None = None,
    ) -> None:
        self._pool = pool
        self._follower = follower
        self._features = features
        self._embedder = embedder
        self._limits = limits
        self._tally = tally

    async def hash(
        self,
        content: Content,
        algorithms: Sequence[str],
        decode: DecodeOptions,
        variants: MakeVariants = make_original,
    ) -> ContentHashes:
        """Signals of one piece of content, as an entry would hold them; no algorithms means the
        default set."""
        wanted = tuple(algorithms) or default_algorithms(content)
        hashes, _ = await self._pool.run(
            lambda: hash_any(content, wanted, decode, self._limits, variants, parts=True)
        )
        return hashes

    @property
    def models(self) -> Sequence[Model]:
        """Makers of vectors and scores."""
        return tuple(self._embedder.models.values())

    async def embed(
        self, content: bytes, models: Sequence[str], options: DecodeOptions
    ) -> ContentEmbedded:
        """Vectors and scores of one picture, of the first frame of an animation.

        The picture is decoded and prepared in one hop to the pool; learned models then run on
        threads of their own. Raises what `Embedder.select`, `decode` and the models raise.
        """
        chosen = self._embedder.select(models)

        def job() -> tuple[MediaInfo, Started]:
            image = decode(content, options, self._limits)
            media = MediaInfo(image.media_type, image.width, image.height, image.frames)
            return media, self._embedder.start(image, chosen)

        try:
            (media, started), _ = await self._pool.run(job)
        except UnsupportedMedia as exc:
            return ContentEmbedded(ContentOutcome.UNSUPPORTED_MEDIA, str(exc), None, None)
        embedded = await started.finish()
        outcome = ContentOutcome.LOW_QUALITY if embedded.reason else ContentOutcome.OK
        return ContentEmbedded(outcome, embedded.reason, media, embedded)

    def _classifiers(self, names: Sequence[str]) -> Sequence[Model]:
        """Raises InvalidInput for a model without scores."""
        models = self._embedder.select(names) if names else ()
        for model in models:
            if not model.labels:
                raise InvalidInput(
                    f"models: {model.id} gives no scores; ask Embed for its vector", field="models"
                )
        return models

    async def look(
        self,
        content: Content,
        algorithms: Sequence[str],
        decode: DecodeOptions,
        options: MatchOptions,
        classifiers: Sequence[Model] = (),
    ) -> Looked:
        """Hash one piece of content and search the banks, in one hop; see `wanted_of_banks`.

        Where banks hold vectors of a learned model the search waits for it and is a second hop.
        """
        snapshot = self._follower.snapshot
        if isinstance(content, str):
            wanted = wanted_of_text(content, snapshot, algorithms, classifiers)
        else:
            wanted = wanted_of_banks(snapshot, self._embedder, options, algorithms, classifiers)

        def search(sight: Sight) -> tuple[MatchResult, int]:
            signals = sight.signals
            started = time.perf_counter_ns()
            result = self._count(snapshot.match(signals, options))
            return result, (time.perf_counter_ns() - started) // 1000

        def job() -> tuple[Sight, tuple[MatchResult, int] | None]:
            sight = look_at(content, wanted, decode, self._limits, self._embedder)
            try:
                return sight, None if sight.waiting else search(sight)
            except BaseException:
                sight.cancel()
                raise

        (sight, found), queue_us = await self._pool.run(job)
        await sight.finish()
        if found is None:
            again, waited_us = await self._pool.run(lambda: search(sight))
            found, queue_us = again, queue_us + waited_us
        result, match_us = found
        outcome, reason = sight.outcome()
        return Looked(
            sight.hashes, outcome, reason, sight.signals, sight.scores, result,
            snapshot.revision, snapshot.commit_time, queue_us, match_us,
        )  # fmt: skip

    async def describe(
        self,
        content: Content,
        algorithms: Sequence[str],
        variants: MakeVariants = make_original,
        *,
        field: str,
    ) -> tuple[Signal, ...]:
        """Hashes and vectors of content to be stored or compared; vectors of the original.

        Raises what `look_at` does, and InvalidInput where a vector that was named is missing.
        """
        wanted = replace(named(self._embedder, algorithms), variants=variants)
        sight, _ = await self._pool.run(
            lambda: look_at(content, wanted, DecodeOptions(), self._limits, self._embedder)
        )
        await sight.finish()
        sight.check_vectors(field)
        return sight.signals

    async def describe_entry(
        self,
        content: Content,
        models: Sequence[str],
        variants: MakeVariants,
        *,
        field: str,
    ) -> Sequence[Signal]:
        """What an entry is given of content that a curator adds; of a phrase only its digest.

        Raises what `describe` does, and InvalidInput for a text with `models`.
        """
        if isinstance(content, bytes):
            return await self.describe(
                content, (*DEFAULT_ALGORITHMS, *models), variants, field=field
            )
        if models:
            raise InvalidInput(f"{field}: a text has no vectors of pictures", field=field)
        return (await self.hash(content, STORED_ALGORITHMS, DecodeOptions())).signals

    async def match(
        self, signal: Signal, options: MatchOptions
    ) -> tuple[MatchResult, int, datetime | None]:
        """Search the banks for one signal; result, revision, commit time.

        A quick search runs here and now: to hand it to a thread takes longer than to do it. Raises
        NotFound for a vector of a model that no searched bank holds.
        """
        snapshot = self._follower.snapshot
        snapshot.check_held(signal.algorithm, options)
        quick = snapshot.match_at_once(signal, options)
        if quick is not None:
            return self._count(quick), snapshot.revision, snapshot.commit_time
        result, _ = await self._pool.run(lambda: self._count(snapshot.match((signal,), options)))
        return result, snapshot.revision, snapshot.commit_time

    async def match_batch(
        self,
        algorithm: str,
        values: NDArray[np.uint8],
        options: MatchOptions,
        answer: Callable[[BatchResult, Snapshot], T],
    ) -> T:
        """Search the banks for every row of `values` uint8 (q, bytes).

        `answer` runs on the same thread: writing a large answer down takes as long as finding it.
        """
        snapshot = self._follower.snapshot
        snapshot.check_held(algorithm, options)
        result, _ = await self._pool.run(
            lambda: answer(snapshot.match_batch(algorithm, values, options), snapshot)
        )
        return result

    async def compare(
        self,
        a: Content | Signal,
        b: Content | Signal,
        algorithms: Sequence[str],
        decode: DecodeOptions,
    ) -> tuple[Compared, ...]:
        """The distances of two sides, in one hop; see `compare_sides`."""
        compared, _ = await self._pool.run(
            lambda: compare_sides(a, b, algorithms, decode, self._limits)
        )
        return compared

    def _count(self, result: MatchResult) -> MatchResult:
        if self._tally is not None and result.matches:
            self._tally.add([MatchKey(m.bank, m.entry_id, m.mode) for m in result.matches])
        return result

    async def screen(
        self,
        content: Content,
        algorithms: Sequence[str],
        decode: DecodeOptions,
        options: MatchOptions,
        account: Account,
        models: Sequence[str] = (),
    ) -> Screened:
        """Everything known about one upload; `models` names classifiers.

        Raises what `hash_content` and `Snapshot.match` raise, and InvalidInput for features that
        are not defined. The account's event is recorded whatever becomes of the content.
        """
        started = time.perf_counter_ns()
        classifiers = self._classifiers(models)
        trip = asyncio.ensure_future(self._account(account))
        try:
            looked = await self.look(content, algorithms, decode, options, classifiers)
            table, event_result, degraded, features_us = await trip
        finally:
            trip.cancel()
        timings = Timings(features_us, (time.perf_counter_ns() - started) // 1000)
        return Screened(looked, table, event_result, degraded, timings)

    async def _account(
        self, account: Account
    ) -> tuple[FeatureTable | None, EventResult | None, str, int]:
        if account.empty:
            return None, None, "", 0
        started = time.perf_counter_ns()
        store, record, entities = self._features, account.record, account.entities
        table: FeatureTable | None = None
        event_result: EventResult | None = None
        degraded = ""
        try:
            if entities:
                event_result, table = await store.record_and_get(
                    record, entities, account.selection
                )
            elif record is not None:
                (event_result,) = await store.ingest([record])
        except Unavailable as exc:
            degraded = str(exc)
            table = store.degraded(entities, account.selection) if entities else None
        return table, event_result, degraded, (time.perf_counter_ns() - started) // 1000
