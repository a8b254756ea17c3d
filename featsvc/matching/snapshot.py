"""Everything that is searched, frozen at one revision of the store.

A snapshot is the banks, and parts of an index: a segment or what was read from the store, then
what came since (the delta), with the entries withdrawn since. It is made off the request path
and never changes: any number of threads may search it.
"""

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import Bank, Head
from featsvc.errors import InvalidInput, NotFound
from featsvc.hashing.registry import ALGORITHMS, Algorithm, Distance, get_algorithm
from featsvc.hashing.signals import Signal
from featsvc.hashing.variants import ORIGINAL
from featsvc.matching.finding import Found, SearchedPart, find, with_labels
from featsvc.matching.hits import TooManyHitsError
from featsvc.matching.matches import (
    DEFAULT_OPTIONS,
    MAX_BATCH,
    MAX_BATCH_MATCHES,
    MAX_EVIDENCE,
    BatchResult,
    Evidence,
    Match,
    MatchOptions,
    MatchResult,
)
from featsvc.matching.rules import BankRules, Thresholds
from featsvc.matching.values import Ragged, Values

# A query that hits a larger cluster is answered from its nearest hits, and said to be truncated.
_MAX_HITS_READ = 20_000

QUICK_SIGNALS = 2_000_000
"""A scan of so many, the worst that can become of a query, takes about a millisecond."""
_QUICK_HITS = 64
_QUICK = (Distance.HAMMING, Distance.EQUALITY)

_NOTHING = MatchResult((), False, low_quality=False)
_NOTHING_POOR = MatchResult((), False, low_quality=True)


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
class _Asked:
    """Query signals of one algorithm, the thresholds that applied, and their hits by number."""

    signals: Sequence[Signal]
    thresholds: Thresholds
    found: Found

    @property
    def algorithm(self) -> str:
        return self.signals[0].algorithm

    def signal(self, row: int) -> Signal:
        """That a hit is of."""
        return self.signals[int(self.found.query[row])]


class Snapshot:
    """Banks, entries and indexes at `revision`, which was committed at `commit_time`."""

    def __init__(
        self,
        head: Head,
        banks: Sequence[Bank],
        parts: Sequence[SearchedPart],
        status: tuple[AlgorithmStatus, ...] = (),
    ) -> None:
        self.revision = head.revision
        self.commit_time = head.commit_time
        self.status = status
        self._rules = BankRules.of(banks)
        self._parts = tuple(parts)
        self._signals = _signals_searched(parts)
        self._lengths = _value_lengths(parts)

    @property
    def banks(self) -> tuple[Bank, ...]:
        return self._rules.banks

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Those that any entry has a signal of."""
        return tuple(sorted({name for p in self._parts for name in p.part.indexes}))

    def query_variants(self, options: MatchOptions) -> frozenset[str]:
        """Variants worth hashing for this request. Raises NotFound."""
        return self._rules.query_variants(options)

    def vectors_held(self, options: MatchOptions) -> tuple[str, ...]:
        """Kinds of vectors that live entries of the searched banks have. Raises NotFound."""
        banks = (self._rules.banks[i] for i in self._rules.searched(options))
        names = {name for bank in banks for name, count in bank.signal_counts.items() if count}
        return tuple(sorted(name for name in names if get_algorithm(name).vector))

    def check_held(self, algorithm: str, options: MatchOptions) -> None:
        """Raises NotFound where it is a kind of vectors that no searched bank holds: an answer
        without matches would read as if some had been compared."""
        if not get_algorithm(algorithm).vector:
            return
        held = self.vectors_held(options)
        if algorithm not in held:
            raise NotFound(
                f"signal: no searched bank holds vectors of {algorithm}; they hold "
                f"{', '.join(held) or 'no vectors'}, and those of other models do not compare",
                reason="VECTORS_NOT_HELD",
                field="signal",
            )

    def match(
        self, signals: Sequence[Signal], options: MatchOptions = DEFAULT_OPTIONS
    ) -> MatchResult:
        """Entries near to any of the signals, which are all of ONE piece of content.

        Raises NotFound for an unknown bank, UnknownAlgorithm, and InvalidInput for a value of the
        wrong length or an algorithm that is stored but never matched.
        """
        searched = self._rules.searched(options)
        now_us = time.time_ns() // 1000
        low_quality = False
        # Those that are searched alike are searched at once.
        together: dict[tuple[str, int, int], tuple[Thresholds, list[Signal]]] = {}
        for signal in signals:
            kind = _matched_kind(signal.algorithm)
            self._check_length(kind, len(signal.value))
            original = signal.variant == ORIGINAL
            if signal.low_quality and not (options.match_low_quality and original):
                # A poor variant is no further try; a poor original is one that was not made.
                low_quality |= original
                continue
            thresholds = self._rules.thresholds(searched, kind, signal.variant, options)
            key = kind.name, len(signal.value), id(thresholds)
            together.setdefault(key, (thresholds, []))[1].append(signal)
        asked = [self._ask(group, thresholds, now_us) for thresholds, group in together.values()]
        return self._answer(asked, options, low_quality)

    def match_at_once(self, signal: Signal, options: MatchOptions) -> MatchResult | None:
        """`match` of one signal where that takes a fraction of a millisecond at most; None where
        it might not: more than QUICK_SIGNALS of them, an engine that a bank chose, a radius beyond
        the one that the index is built for, a vector or text, or many hits. Raises as `match` does.
        """
        kind = _matched_kind(signal.algorithm)
        if kind.distance not in _QUICK or self._signals.get(kind.name, 0) > QUICK_SIGNALS:
            return None
        searched = self._rules.searched(options)
        thresholds = self._rules.thresholds(searched, kind, signal.variant, options)
        if thresholds.largest > kind.default_threshold or signal.low_quality:
            return None
        self._check_length(kind, len(signal.value))
        asked = self._ask((signal,), thresholds, time.time_ns() // 1000)
        return self._answer((asked,), options, False) if len(asked.found) <= _QUICK_HITS else None

    def _check_length(self, kind: Algorithm, length: int) -> None:
        """Raises InvalidInput. What the algorithm does not say, the values searched do."""
        wanted = kind.bytes or self._lengths.get(kind.name, 0)
        if wanted and length != wanted:
            raise InvalidInput(
                f"signal: a {kind.name} value has {wanted} bytes, this one has {length}",
                field="signal",
            )

    def _ask(self, signals: Sequence[Signal], thresholds: Thresholds, now_us: int) -> _Asked:
        try:
            found = find(
                self._parts, self._rules, signals[0].algorithm, _queries(signals), thresholds,
                now_us,
            )  # fmt: skip
        except TooManyHitsError:
            half = len(signals) // 2
            one = self._ask(signals[:half], thresholds, now_us).found
            two = self._ask(signals[half:], thresholds, now_us).found
            found = one.followed_by(two, half)
        return _Asked(signals, thresholds, found)

    def _answer(
        self, asked: Sequence[_Asked], options: MatchOptions, low_quality: bool
    ) -> MatchResult:
        asked = [_Asked(a.signals, a.thresholds, a.found.nearest_first()) for a in asked if a.found]
        if not asked:
            return _NOTHING_POOR if low_quality else _NOTHING
        suppressing = self._rules.suppressing and any(
            self._rules.acting_safe[a.found.bank].any() for a in asked
        )
        matches, truncated = self._matches(asked, options, suppressing)
        return MatchResult(matches, truncated, low_quality)

    def match_batch(
        self,
        algorithm: str,
        values: NDArray[np.uint8],
        options: MatchOptions = DEFAULT_OPTIONS,
    ) -> BatchResult:
        """Each row of `values` uint8 (q, bytes) matched as content of its own; q <= 65,536.

        The same rules as `match`, one algorithm, no evidence. Raises as `match` does, and
        InvalidInput where all of them match more than 1,048,576 entries.
        """
        kind = _matched_kind(algorithm)
        if kind.distance is Distance.CONTAINMENT:
            raise InvalidInput(
                f"algorithm: {kind.name} values have different lengths, so they do not pack; "
                "send them one by one",
                field="algorithm",
            )
        self._check_length(kind, values.shape[1])
        if len(values) > MAX_BATCH:
            raise InvalidInput(f"signals: {len(values)}, at most {MAX_BATCH}", field="signals")
        searched = self._rules.searched(options)
        thresholds = self._rules.thresholds(searched, kind, ORIGINAL, options)
        found, suppressed, truncated = self._find_batch(kind, values, thresholds, options)
        entries, entry_index = self._batch_entries(found, suppressed, kind, thresholds, options)
        ends = np.cumsum(np.bincount(found.query, minlength=len(values)))
        offsets = np.concatenate([[0], ends]).astype(np.uint32)
        distances = found.distance.astype(np.float32 if kind.distance.fractional else np.uint32)
        return BatchResult(offsets, distances, entry_index, entries, truncated)

    def _find_batch(
        self,
        kind: Algorithm,
        values: NDArray[np.uint8],
        thresholds: Thresholds,
        options: MatchOptions,
    ) -> tuple[Found, NDArray[np.bool_], tuple[int, ...]]:
        """What is returned of each query, whether it is suppressed, and which queries were cut.

        Half of the queries at a time where all of them hit too much to hold.
        """
        now_us = time.time_ns() // 1000
        try:
            found = find(self._parts, self._rules, kind.name, values, thresholds, now_us)
        except TooManyHitsError:
            half = len(values) // 2
            one = self._find_batch(kind, values[:half], thresholds, options)
            two = self._find_batch(kind, values[half:], thresholds, options)
            _check_answer(len(one[0]) + len(two[0]))
            cut = (*one[2], *(query + half for query in two[2]))
            return one[0].followed_by(two[0], half), np.concatenate([one[1], two[1]]), cut
        suppressing = np.zeros(len(values), bool)
        suppressing[found.query[self._rules.acting_safe[found.bank]]] = True
        if options.labels:
            found = with_labels(self._parts, found, frozenset(options.labels))
        found = _once_an_entry(found.nearest_first())
        # What `top_k` leaves out was not asked for, so it is not "truncated".
        wanted = options.top_k or len(found)
        limit = min(options.limit, wanted)
        place = _place_in_query(found.query)
        truncated = tuple(np.unique(found.query[(place >= limit) & (place < wanted)]).tolist())
        found = found.take(place < limit)
        _check_answer(len(found))
        return found, suppressing[found.query] & ~self._rules.safe[found.bank], truncated

    def _batch_entries(
        self,
        found: Found,
        suppressed: NDArray[np.bool_],
        kind: Algorithm,
        thresholds: Thresholds,
        options: MatchOptions,
    ) -> tuple[tuple[Match, ...], NDArray[np.uint32]]:
        """Each signal that matched once (twice where it is suppressed for some queries only)."""
        keys = np.stack([found.part, found.signal, suppressed.astype(np.int64)], axis=1)
        _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        query = Signal(kind.name, b"")
        matches = tuple(
            self._match(
                int(found.part[i]), int(found.entry[i]),
                [self._evidence(query, thresholds, found, int(i))],
                options, bool(suppressed[i]), query,
            )
            for i in first
        )  # fmt: skip
        return matches, index.reshape(-1).astype(np.uint32)

    def _matches(
        self, asked: Sequence[_Asked], options: MatchOptions, suppressing: bool
    ) -> tuple[tuple[Match, ...], bool]:
        if len(asked) == 1 and len(asked[0].found) == 1 and not options.labels:
            (only,) = asked
            place = int(only.found.part[0]), int(only.found.entry[0])
            query = only.signal(0)
            evidence = [self._evidence(query, only.thresholds, only.found, 0)]
            return (self._match(*place, evidence, options, suppressing, query),), False
        by_entry: dict[tuple[int, int], list[Evidence]] = {}
        query_of: dict[tuple[int, int], Signal] = {}
        found_by: dict[str, set[tuple[int, int]]] = defaultdict(set)
        truncated = sum(len(a.found) for a in asked) > _MAX_HITS_READ
        for query, place, signal in self._nearest_first(asked, options):
            mine = found_by[query.algorithm]
            if options.top_k and place not in mine and len(mine) >= options.top_k:
                continue
            if place not in by_entry:
                if len(by_entry) >= options.limit:
                    truncated = True
                    continue
                query_of[place] = query
            mine.add(place)
            seen = by_entry.setdefault(place, [])
            if len(seen) <= MAX_EVIDENCE:
                seen.append(signal)
        matches = (
            self._match(*place, seen, options, suppressing, query_of[place])
            for place, seen in by_entry.items()
        )
        return tuple(matches), truncated

    def _nearest_first(
        self, asked: Sequence[_Asked], options: MatchOptions
    ) -> Iterator[tuple[Signal, tuple[int, int], Evidence]]:
        """Hits of all queries; by share of the largest distance, so that algorithms compare."""
        if options.labels:
            wanted = frozenset(options.labels)
            asked = [
                _Asked(a.signals, a.thresholds, with_labels(self._parts, a.found, wanted))
                for a in asked
            ]
        if len(asked) == 1 and len(asked[0].signals) == 1:
            (one,) = asked
            for row in range(min(len(one.found), _MAX_HITS_READ)):
                place = int(one.found.part[row]), int(one.found.entry[row])
                query = one.signals[0]
                yield query, place, self._evidence(query, one.thresholds, one.found, row)
            return
        share = np.concatenate([a.found.distance / _span(a.algorithm) for a in asked])
        which = np.repeat(np.arange(len(asked)), [len(a.found) for a in asked])
        at = np.concatenate([np.arange(len(a.found)) for a in asked])
        for i in np.argsort(share, kind="stable")[:_MAX_HITS_READ]:
            one, row = asked[which[i]], int(at[i])
            place = int(one.found.part[row]), int(one.found.entry[row])
            query = one.signal(row)
            yield query, place, self._evidence(query, one.thresholds, one.found, row)

    def _evidence(self, query: Signal, thresholds: Thresholds, found: Found, i: int) -> Evidence:
        part = self._parts[found.part[i]].part
        index = part.indexes[query.algorithm]
        row = found.signal[i]
        variant = part.tables.variants[index.variant[row]]
        return Evidence(
            query.algorithm,
            found.distance[i].item(),
            thresholds.at(int(found.bank[i]), variant),
            query.variant,
            variant,
            index.values[row].tobytes(),
        )

    def _match(
        self,
        part: int,
        entry: int,
        evidence: Sequence[Evidence],
        options: MatchOptions,
        suppressing: bool,
        query: Signal,
    ) -> Match:
        searched = self._parts[part]
        entries, tables = searched.part.entries, searched.part.tables
        bank = self._rules.banks[searched.positions[entries.bank[entry]]]
        nearest = evidence[0]
        return Match(
            bank=bank.id,
            entry_id=int(entries.id[entry]),
            external_id=entries.external_id(entry),
            algorithm=nearest.algorithm,
            distance=nearest.distance,
            threshold=nearest.threshold,
            threshold_overridden=nearest.algorithm in options.thresholds,
            query_variant=nearest.query_variant,
            entry_variant=nearest.entry_variant,
            mode=bank.mode,
            labels=tables.labels[entries.labels[entry]],
            source=tables.sources[entries.source[entry]],
            entry_signal=nearest.entry_signal,
            query_signal=query.value,
            safe=bank.safe,
            suppressed=suppressing and not bank.safe,
            evidence=tuple(evidence[1:]),
            frame=query.frame,
        )


def _signals_searched(parts: Sequence[SearchedPart]) -> dict[str, float]:
    """By algorithm; infinite where a bank chose how."""
    counts: dict[str, float] = defaultdict(float)
    for searched in parts:
        for name, index in searched.part.indexes.items():
            counts[name] += math.inf if searched.choices else len(index.entry)
    return dict(counts)


def _value_lengths(parts: Sequence[SearchedPart]) -> dict[str, int]:
    """Bytes of a value, by algorithm; none of those whose values have any length."""
    return {
        name: index.values.shape[1]
        for searched in parts
        for name, index in searched.part.indexes.items()
        if not isinstance(index.values, Ragged)
    }


def _span(algorithm: str) -> int:
    return get_algorithm(algorithm).largest_distance or 1


def _queries(signals: Sequence[Signal]) -> Values:
    """Of one algorithm, in the form of the values that they are compared with."""
    data = np.frombuffer(b"".join(signal.value for signal in signals), np.uint8)
    if get_algorithm(signals[0].algorithm).distance is Distance.CONTAINMENT:
        ends = np.cumsum([len(signal.value) for signal in signals], dtype=np.int64)
        return Ragged(data, ends)
    return data.reshape(len(signals), -1)


def _matched_kind(algorithm: str) -> Algorithm:
    kind = get_algorithm(algorithm)
    if not kind.matched:
        raise InvalidInput(
            f"signal: {kind.name} is stored but never matched; use one of "
            f"{', '.join(a.name for a in ALGORITHMS.values() if a.matched)}",
            field="signal",
        )
    return kind


def _check_answer(matches: int) -> None:
    if matches > MAX_BATCH_MATCHES:
        raise InvalidInput(
            f"signals: they match more than {MAX_BATCH_MATCHES} entries together; send fewer at "
            "once, or ask for fewer with max_results or top_k",
            field="signals",
        )


def _once_an_entry(found: Found) -> Found:
    """The first hit of each query and entry."""
    if not len(found):
        return found
    order = np.lexsort((np.arange(len(found)), found.entry, found.part, found.query))
    sorted_ = found.take(order)
    again = np.zeros(len(found), bool)
    again[1:] = (
        (sorted_.query[1:] == sorted_.query[:-1])
        & (sorted_.part[1:] == sorted_.part[:-1])
        & (sorted_.entry[1:] == sorted_.entry[:-1])
    )
    return found.take(np.sort(order[~again]))


def _place_in_query(query: NDArray[np.int64]) -> NDArray[np.int64]:
    """0 for the first element of each run of equal numbers, 1 for the second, ..."""
    starts = np.flatnonzero(np.diff(query, prepend=-1))
    counts = np.diff(np.append(starts, len(query)))
    return np.arange(len(query)) - np.repeat(starts, counts)
