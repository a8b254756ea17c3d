"""Everything that is searched, frozen at one revision of the store.

    banks      position -> Bank
    entries    row -> bank position, expiry, flags, and the entry itself
    algorithm  row of `values` -> row of entries and number of the signal there, and an engine

Built off the request path, then never changed: any number of threads may search it.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import Bank, Entry, Head, Opinion
from featsvc.banks.times import to_us
from featsvc.errors import InvalidInput
from featsvc.hashing.registry import ALGORITHMS, Distance, find_algorithm, get_algorithm
from featsvc.hashing.signals import Signal
from featsvc.matching.engines import Engine, ExactEngine, FaissFlatEngine
from featsvc.matching.matches import (
    DEFAULT_OPTIONS,
    MAX_EVIDENCE,
    Evidence,
    Match,
    MatchOptions,
    MatchResult,
)
from featsvc.matching.rules import BankRules, Thresholds

_NEVER = np.iinfo(np.int64).max
_QUARANTINED = 1
_NEGATIVE = 2
# A query that hits a larger cluster is answered from its nearest hits, and said to be truncated.
_MAX_HITS_READ = 20_000


@dataclass(frozen=True, slots=True)
class _Entries:
    bank: NDArray[np.int32]
    expire_us: NDArray[np.int64]
    flags: NDArray[np.uint8]
    records: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class _Index:
    entry: NDArray[np.int64]
    ordinal: NDArray[np.int16]
    engine: Engine


@dataclass(frozen=True, slots=True)
class AlgorithmStatus:
    """What is searched for one algorithm. `segment_revision` is 0 where there is no segment."""

    algorithm: str
    entries: int
    signals: int
    engine: str
    segment_revision: int
    delta_signals: int
    withdrawn_signals: int
    bytes_mapped: int
    built_at: datetime


@dataclass(frozen=True, slots=True)
class _Hits:
    """Hits of one query signal that passed the rules, nearest first."""

    query: Signal
    rows: NDArray[np.int64]
    distances: NDArray[np.int64]
    thresholds: Thresholds


class Snapshot:
    """Banks, entries and indexes at `revision`, which was committed at `commit_time`."""

    def __init__(self, head: Head, banks: Sequence[Bank], entries: Iterable[Entry]) -> None:
        self.revision = head.revision
        self.commit_time = head.commit_time
        self._rules = BankRules.of(banks)
        self._entries, values, places = _columns(entries, self._rules.positions)
        built_at = datetime.now(UTC)
        self._indexes: dict[str, _Index] = {}
        self.status: tuple[AlgorithmStatus, ...] = ()
        for name in sorted(values):
            place = np.array(places[name], np.int64)
            engine = _engine(name, b"".join(values[name]))
            index = _Index(place[:, 0], place[:, 1].astype(np.int16), engine)
            self._indexes[name] = index
            self.status += (
                AlgorithmStatus(
                    name, len(np.unique(index.entry)), len(place), engine.name, 0, 0, 0, 0, built_at
                ),
            )

    @property
    def banks(self) -> tuple[Bank, ...]:
        return self._rules.banks

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Those that any entry has a signal of."""
        return tuple(self._indexes)

    def query_variants(self, options: MatchOptions) -> frozenset[str] | None:
        """Variants worth hashing for this request; None for all. Raises NotFound."""
        return self._rules.query_variants(options)

    def match(
        self, signals: Sequence[Signal], options: MatchOptions = DEFAULT_OPTIONS
    ) -> MatchResult:
        """Entries near to any of the signals, which are all of ONE piece of content.

        Raises NotFound for an unknown bank, UnknownAlgorithm, and InvalidInput for a value of the
        wrong length or an algorithm that is stored but never matched.
        """
        searched = self._rules.searched(options)
        low_quality = False
        hits: list[_Hits] = []
        now_us = time.time_ns() // 1000
        for signal in signals:
            _check(signal)
            if signal.low_quality and not options.match_low_quality:
                low_quality = True
                continue
            found = self._search(signal, searched, options, now_us)
            if found is not None:
                hits.append(found)
        suppressing = any(self._knows_as_safe(found) for found in hits)
        matches, truncated = self._matches(hits, options, suppressing)
        return MatchResult(matches, truncated, low_quality)

    def _search(
        self, signal: Signal, searched: Sequence[int], options: MatchOptions, now_us: int
    ) -> _Hits | None:
        index = self._indexes.get(signal.algorithm)
        kind = get_algorithm(signal.algorithm)
        thresholds = self._rules.thresholds(searched, kind, signal.variant, options)
        if index is None or thresholds.largest < 0:
            return None
        rows, distances = index.engine.search(signal.value, thresholds.largest)
        entry = index.entry[rows]
        bank = self._entries.bank[entry]
        flags = self._entries.flags[entry]
        matched = (
            (distances <= thresholds.by_bank[bank])
            & (self._entries.expire_us[entry] > now_us)
            & (flags & _QUARANTINED == 0)
            & ((flags & _NEGATIVE == 0) | self._rules.safe[bank])
        )
        rows, distances = rows[matched], distances[matched]
        order = np.lexsort((rows, distances))
        return _Hits(signal, rows[order], distances[order], thresholds)

    def _knows_as_safe(self, hits: _Hits) -> bool:
        entry = self._indexes[hits.query.algorithm].entry[hits.rows]
        return bool(self._rules.acting_safe[self._entries.bank[entry]].any())

    def _matches(
        self, hits: Sequence[_Hits], options: MatchOptions, suppressing: bool
    ) -> tuple[tuple[Match, ...], bool]:
        by_entry: dict[int, list[Evidence]] = {}
        query_of: dict[int, bytes] = {}
        found_by: dict[str, set[int]] = defaultdict(set)
        wanted = frozenset(options.labels)
        truncated = sum(len(found.rows) for found in hits) > _MAX_HITS_READ
        for query, entry, signal in self._nearest_first(hits):
            record = self._entries.records[entry]
            if not wanted.issubset(record.labels):
                continue
            found = found_by[query.algorithm]
            if options.top_k and entry not in found and len(found) >= options.top_k:
                continue
            if entry not in by_entry:
                if len(by_entry) >= options.limit:
                    truncated = True
                    continue
                query_of[entry] = query.value
            found.add(entry)
            evidence = by_entry.setdefault(entry, [])
            if len(evidence) <= MAX_EVIDENCE:
                evidence.append(signal)
        matches = (
            self._match(entry, query_of[entry], evidence, options, suppressing)
            for entry, evidence in by_entry.items()
        )
        return tuple(matches), truncated

    def _nearest_first(self, hits: Sequence[_Hits]) -> Iterable[tuple[Signal, int, Evidence]]:
        """Hits of all queries; by share of differing bits, so that algorithms compare."""
        if not hits:
            return
        share = np.concatenate([h.distances / get_algorithm(h.query.algorithm).bits for h in hits])
        which = np.repeat(np.arange(len(hits)), [len(h.rows) for h in hits])
        place = np.concatenate([np.arange(len(h.rows)) for h in hits])
        for i in np.argsort(share, kind="stable")[:_MAX_HITS_READ]:
            found = hits[which[i]]
            row = int(found.rows[place[i]])
            index = self._indexes[found.query.algorithm]
            entry = int(index.entry[row])
            signal = self._entries.records[entry].signals[index.ordinal[row]]
            evidence = Evidence(
                found.query.algorithm,
                int(found.distances[place[i]]),
                float(found.thresholds.by_bank[self._entries.bank[entry]]),
                found.query.variant,
                signal.variant,
                signal.value,
            )
            yield found.query, entry, evidence

    def _match(
        self,
        entry: int,
        query: bytes,
        evidence: Sequence[Evidence],
        options: MatchOptions,
        suppressing: bool,
    ) -> Match:
        record = self._entries.records[entry]
        bank = self._rules.banks[self._entries.bank[entry]]
        nearest = evidence[0]
        return Match(
            bank=bank.id,
            entry_id=record.id,
            external_id=record.external_id,
            algorithm=nearest.algorithm,
            distance=nearest.distance,
            threshold=nearest.threshold,
            threshold_overridden=nearest.algorithm in options.thresholds,
            query_variant=nearest.query_variant,
            entry_variant=nearest.entry_variant,
            mode=bank.mode,
            labels=record.labels,
            source=record.source,
            entry_signal=nearest.entry_signal,
            query_signal=query,
            safe=bank.safe,
            suppressed=suppressing and not bank.safe,
            evidence=tuple(evidence[1:]),
        )


def _check(signal: Signal) -> None:
    kind = get_algorithm(signal.algorithm)
    if not kind.matched:
        raise InvalidInput(
            f"signal: {kind.name} is stored but never matched; use one of "
            f"{', '.join(a.name for a in ALGORITHMS.values() if a.matched)}",
            field="signal",
        )
    if len(signal.value) != kind.bytes:
        raise InvalidInput(
            f"signal: a {kind.name} value has {kind.bytes} bytes, this one has {len(signal.value)}",
            field="signal",
        )


def _columns(
    entries: Iterable[Entry], positions: Mapping[str, int]
) -> tuple[_Entries, dict[str, list[bytes]], dict[str, list[tuple[int, int]]]]:
    """Columns of the entries, and per algorithm the values and where each belongs."""
    bank: list[int] = []
    expire: list[int] = []
    flags: list[int] = []
    records: list[Entry] = []
    values: dict[str, list[bytes]] = defaultdict(list)
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row, entry in enumerate(entries):
        bank.append(positions[entry.bank_id])
        expire.append(_NEVER if entry.expire_time is None else to_us(entry.expire_time))
        negative = _NEGATIVE if entry.opinion is Opinion.NEGATIVE else 0
        flags.append(negative | (_QUARANTINED if entry.quarantined else 0))
        records.append(entry)
        for ordinal, signal in enumerate(entry.signals):
            kind = find_algorithm(signal.algorithm)
            if kind is not None and kind.matched:
                values[signal.algorithm].append(signal.value)
                places[signal.algorithm].append((row, ordinal))
    columns = _Entries(
        np.array(bank, np.int32), np.array(expire, np.int64), np.array(flags, np.uint8),
        tuple(records),
    )  # fmt: skip
    return columns, values, places


def _engine(algorithm: str, values: bytes) -> Engine:
    kind = get_algorithm(algorithm)
    rows = np.frombuffer(values, np.uint8).reshape(-1, kind.bytes)
    return ExactEngine(rows) if kind.distance is Distance.EQUALITY else FaissFlatEngine(rows)
