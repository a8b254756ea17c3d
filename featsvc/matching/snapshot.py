"""Snapshots: everything that is searched, at one revision of the store.

A snapshot consists of the banks and of parts of an index: first the base (a segment, or all entries
read from the store), then the later changes (the delta), with the entries withdrawn since. It is
built off the request path and never changes: any number of threads may search it.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import Bank, StoreHead
from featsvc.errors import InvalidInput, NotFound
from featsvc.matching.engines import FAMILIES
from featsvc.matching.hits import TooManyHits, hit_ends
from featsvc.matching.match_builder import AlgorithmQuery, MatchBuilder
from featsvc.matching.matches import (
    DEFAULT_OPTIONS,
    MAX_BATCH,
    MAX_BATCH_MATCHES,
    BatchResult,
    Match,
    MatchOptions,
    MatchResult,
)
from featsvc.matching.part_search import (
    AcceptedHits,
    IndexedParts,
    PartView,
    apply_rules,
    filter_labels,
    join_hits,
    parts_by_algorithm,
    search_parts,
)
from featsvc.matching.rules import BankRules, Thresholds
from featsvc.matching.scope import ScopeQuery, Scopes, SearchScope
from featsvc.matching.set_aside import SetAside
from featsvc.matching.values import RaggedArray, Values
from featsvc.signals.algorithms import ALGORITHMS, Algorithm, Kind, find_algorithm, get_algorithm
from featsvc.signals.signal import Signal, low_quality
from featsvc.signals.variants import ORIGINAL

QUICK_SIGNALS = 2_000_000
"""A scan of this many signals, the worst case of a query, takes about a millisecond."""
_QUICK_HITS = 64


@dataclass(frozen=True, slots=True)
class AlgorithmStatus:
    """The state of the index of one algorithm. `segment_revision` is 0 without a segment."""

    algorithm: str
    entries: int
    signals: int
    engine: str
    segment_revision: int
    delta_signals: int
    withdrawn_signals: int
    bytes_mapped: int
    built_at: datetime


class _AlgorithmIndex(NamedTuple):
    """The indexes of one algorithm in all parts.

    `length` is the length of a value in bytes, 0 where values may have any length. `quick`: a
    search for one value at the default threshold is always short.
    """

    kind: Algorithm
    parts: IndexedParts
    length: int
    quick: bool

    @classmethod
    def of(cls, kind: Algorithm, parts: IndexedParts) -> "_AlgorithmIndex":
        values = [part.signals.values for part in parts]
        lengths = [v.shape[1] for v in values if not isinstance(v, RaggedArray)]
        few = sum(len(part.signals.entry) for part in parts) <= QUICK_SIGNALS
        chosen = any(part.view.choices for part in parts)
        length = kind.bytes or (lengths[0] if lengths else 0)
        quick = few and not chosen and FAMILIES[kind.distance].quick
        return cls(kind, parts, length, quick)

    @classmethod
    def empty(cls, kind: Algorithm) -> "_AlgorithmIndex":
        """Make the index of an algorithm that no entry has a signal of.

        Raises InvalidInput for an algorithm that is never matched.
        """
        if not kind.matched:
            raise InvalidInput(
                f"signal: {kind.name} is stored but never matched; use one of "
                f"{', '.join(a.name for a in ALGORITHMS.values() if a.matched)}",
                field="signal",
            )
        return cls(kind, (), kind.bytes, FAMILIES[kind.distance].quick)

    def check(self, length: int) -> None:
        """Raise InvalidInput for values of another length in bytes."""
        if self.length and length != self.length:
            raise InvalidInput(
                f"signal: a {self.kind.name} value has {self.length} bytes, not {length}",
                field="signal",
            )


class _BatchHits(NamedTuple):
    """The hits that a batch returns, whether each is suppressed, and the truncated queries."""

    hits: AcceptedHits
    suppressed: NDArray[np.bool_]
    truncated: tuple[int, ...]


class Snapshot:
    """Banks, entries and indexes at `revision`, which was committed at `commit_time`.

    `head` has both, and the identity of the store.
    """

    def __init__(
        self,
        head: StoreHead,
        banks: Sequence[Bank],
        views: Sequence[PartView],
        status: tuple[AlgorithmStatus, ...] = (),
        set_aside: Sequence[SetAside] = (),
    ) -> None:
        self.head = head
        self.revision = head.revision
        self.commit_time = head.commit_time
        self.status = status
        self.set_aside: Mapping[str, int] = MappingProxyType(_signals_by_algorithm(set_aside))
        """Live signals of each algorithm, in all banks, that are not searched."""
        self._rules = BankRules.of(banks)
        self._views = tuple(views)
        self._vectors: tuple[str, ...] | None = None
        """The vectors in all enabled banks, which most requests search; computed on first use."""
        self._builder = MatchBuilder(self._views, self._rules)
        self._scopes = Scopes(self._views, self._rules)
        self._indexes = {
            name: _AlgorithmIndex.of(get_algorithm(name), parts)
            for name, parts in parts_by_algorithm(views).items()
        }
        known = (name for name in self.set_aside if find_algorithm(name) is not None)
        self.algorithms = tuple(sorted({*self._indexes, *known}))
        """Names of the algorithms that any entry has a signal of, indexed or set aside."""

    def query_variants(self, options: MatchOptions) -> frozenset[str]:
        """Return the variants to hash for this request. Raises NotFound."""
        return self._rules.query_variants(options)

    def scope(self, query: ScopeQuery, options: MatchOptions) -> SearchScope:
        """Return what a request searches. Raises NotFound for an unknown bank."""
        return self._scopes.scope(query, options)

    def vectors_held(self, options: MatchOptions) -> tuple[str, ...]:
        """Return the vector algorithms of live entries in the searched banks. Raises NotFound."""
        if options.banks:
            return self._vectors_in(self._rules.searched_banks(options))
        if self._vectors is None:
            self._vectors = self._vectors_in(self._rules.searched_banks(options))
        return self._vectors

    def _vectors_in(self, positions: Sequence[int]) -> tuple[str, ...]:
        banks = (self._rules.banks[i] for i in positions)
        names = {name for bank in banks for name, count in bank.signal_counts.items() if count}
        kinds = {name: find_algorithm(name) for name in names}
        return tuple(sorted(n for n, kind in kinds.items() if kind and kind.kind is Kind.VECTOR))

    def value_bytes(self, algorithm: str) -> int:
        """Return the length of the indexed values; 0 for none, or for values of any length."""
        index = self._indexes.get(algorithm)
        return index.length if index is not None else 0

    def check_held(self, kind: Algorithm, options: MatchOptions) -> None:
        """Raise NotFound for vectors that no searched bank holds.

        Otherwise an answer without matches would suggest that vectors were compared. Safe lists
        that the request does not name do not count.
        """
        if kind.kind is not Kind.VECTOR:
            return
        held = self._vectors_in(self._rules.returned_banks(options))
        if kind.name not in held:
            raise NotFound(
                f"signal: no searched bank holds vectors of {kind.name}; they hold "
                f"{', '.join(held) or 'no vectors'}, and those of other models do not compare",
                reason="VECTORS_NOT_HELD",
                field="signal",
            )

    def match(
        self, signals: Sequence[Signal], options: MatchOptions = DEFAULT_OPTIONS
    ) -> MatchResult:
        """Return the entries that match any of the signals, which are all of ONE piece of content.

        Raises NotFound for an unknown bank, and InvalidInput for a value of the wrong length or an
        algorithm that is never matched.
        """
        # Raises NotFound, also where there are no signals.
        self._rules.searched_banks(options)
        low_quality = False
        # Signals with the same index, length and thresholds are searched together.
        groups: dict[tuple[str, int, int], tuple[_AlgorithmIndex, Thresholds, list[Signal]]] = {}
        for signal in signals:
            kind = signal.algorithm
            index = self._indexes.get(kind.name) or _AlgorithmIndex.empty(kind)
            index.check(len(signal.value))
            original = signal.variant == ORIGINAL
            if signal.low_quality and not (options.match_low_quality and original):
                # A poor variant is just skipped; a poor original means that nothing was matched.
                low_quality |= original
                continue
            thresholds = self._rules.thresholds(index.kind, signal.variant, options)
            key = kind.name, len(signal.value), id(thresholds)
            _, _, group = groups.setdefault(key, (index, thresholds, []))
            group.append(signal)
        queries = [
            query
            for index, thresholds, group in groups.values()
            for query in _search(index, group, thresholds)
        ]
        return self._builder.result(queries, options, low_quality)

    def match_if_quick(self, signal: Signal, options: MatchOptions) -> MatchResult | None:
        """Do the same as `match` of one signal, if that surely takes only part of a millisecond.

        Returns None for an index of more than QUICK_SIGNALS, an engine that a bank chose, a radius
        beyond the one that the index is built for, a vector or text, or many hits. Raises as
        `match` does.
        """
        kind = signal.algorithm
        index = self._indexes.get(kind.name) or _AlgorithmIndex.empty(kind)
        thresholds = self._rules.thresholds(index.kind, signal.variant, options)
        wide = thresholds.largest > index.kind.default_threshold
        if wide or not index.quick or signal.low_quality:
            return None
        index.check(len(signal.value))
        queries = _search(index, (signal,), thresholds)
        if queries[0].hit_count > _QUICK_HITS:
            return None
        return self._builder.result(queries, options, False)

    def match_batch(
        self,
        kind: Algorithm,
        values: NDArray[np.uint8],
        options: MatchOptions = DEFAULT_OPTIONS,
        qualities: NDArray[np.uint8] | None = None,
    ) -> BatchResult:
        """Match each row of `values` uint8 (q, bytes) as a separate piece of content; q <= 65,536.

        `qualities` (q,) are 0 to 100, None where they are unknown. The rules are those of `match`;
        there is no evidence. Raises as `match` does, and
        InvalidInput where the rows together match more than 1,048,576 entries.
        """
        index = self._indexes.get(kind.name) or _AlgorithmIndex.empty(kind)
        if not kind.distance.rows:
            raise InvalidInput(
                f"algorithm: {kind.name} values have different lengths, so they do not pack; "
                "send them one by one",
                field="algorithm",
            )
        index.check(values.shape[1])
        if len(values) > MAX_BATCH:
            raise InvalidInput(
                f"signals: at most {MAX_BATCH}, not {len(values)}; send several batches",
                field="signals",
            )
        thresholds = self._rules.thresholds(kind, ORIGINAL, options)
        low = low_quality(kind, values, qualities) & (not options.match_low_quality)
        matched = np.flatnonzero(~low)
        hits, suppressed, truncated = self._search_batch(
            index, values[matched], thresholds, options
        )
        hits = replace(hits, query=matched[hits.query])
        truncated = tuple(matched[list(truncated)].tolist())
        entries, entry_index = self._batch_entries(hits, suppressed, kind, thresholds, options)
        offsets = np.concatenate([[0], hit_ends(hits.query, len(values))]).astype(np.uint32)
        distances = hits.distance.astype(np.float32 if kind.distance.fractional else np.uint32)
        return BatchResult(offsets, distances, entry_index, entries, truncated, low)

    def _search_batch(
        self,
        index: _AlgorithmIndex,
        values: NDArray[np.uint8],
        thresholds: Thresholds,
        options: MatchOptions,
    ) -> _BatchHits:
        """Search all queries, in halves where they have too many hits."""
        try:
            parts = search_parts(index.parts, values, thresholds.largest)
        except TooManyHits:
            half = len(values) // 2
            first = self._search_batch(index, values[:half], thresholds, options)
            second = self._search_batch(index, values[half:], thresholds, options)
            _check_match_count(len(first.hits) + len(second.hits))
            second_hits = replace(second.hits, query=second.hits.query + half)
            return _BatchHits(
                join_hits([first.hits, second_hits]),
                np.concatenate([first.suppressed, second.suppressed]),
                (*first.truncated, *(query + half for query in second.truncated)),
            )
        hits = apply_rules(parts, self._rules, thresholds, time.time_ns() // 1000)
        suppressing = np.zeros(len(values), bool)
        if not options.ignore_safe_lists:
            suppressing[hits.query[self._rules.suppressing[hits.bank]]] = True
        if options.banks:
            hits = hits.take(self._rules.is_returned(options)[hits.bank])
        if options.labels:
            hits = filter_labels(self._views, hits, frozenset(options.labels))
        hits = _first_of_each_entry(hits.nearest_first())
        # Matches beyond `top_k` were not requested, so they do not count as truncated.
        requested = options.top_k or len(hits)
        limit = min(options.limit, requested)
        rank = _rank_in_query(hits.query)
        truncated = tuple(np.unique(hits.query[(rank >= limit) & (rank < requested)]).tolist())
        hits = hits.take(rank < limit)
        _check_match_count(len(hits))
        suppressed = suppressing[hits.query] & ~self._rules.safe[hits.bank]
        return _BatchHits(hits, suppressed, truncated)

    def _batch_entries(
        self,
        hits: AcceptedHits,
        suppressed: NDArray[np.bool_],
        kind: Algorithm,
        thresholds: Thresholds,
        options: MatchOptions,
    ) -> tuple[tuple[Match, ...], NDArray[np.uint32]]:
        """Return each signal that matched, and for every hit the number of its signal.

        A signal is returned twice where it is suppressed for some queries only.
        """
        keys = np.stack([hits.part, hits.signal, suppressed.astype(np.int64)], axis=1)
        _, first, number = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        query = Signal(kind, b"")
        matches = tuple(
            self._builder.match(query, thresholds, hits.hit(i), options, suppressed.item(i))
            for i in first.tolist()
        )
        return matches, number.reshape(-1).astype(np.uint32)


def _signals_by_algorithm(set_aside: Sequence[SetAside]) -> dict[str, int]:
    signals: Counter[str] = Counter()
    for cause in set_aside:
        signals[cause.algorithm] += cause.signals
    return dict(signals)


def _search(
    index: _AlgorithmIndex, signals: Sequence[Signal], thresholds: Thresholds
) -> Sequence[AlgorithmQuery]:
    """Search signals of one length, in halves where they have too many hits."""
    try:
        parts = search_parts(index.parts, _values(index.kind, signals), thresholds.largest)
    except TooManyHits:
        half = len(signals) // 2
        first = _search(index, signals[:half], thresholds)
        return (*first, *_search(index, signals[half:], thresholds))
    return (AlgorithmQuery(signals, thresholds, parts),)


def _values(kind: Algorithm, signals: Sequence[Signal]) -> Values:
    """Return the values of signals, in the form of the indexed values."""
    values = [signal.value for signal in signals]
    if not kind.distance.rows:
        return RaggedArray.of(values)
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(signals), -1)


def _check_match_count(matches: int) -> None:
    if matches > MAX_BATCH_MATCHES:
        raise InvalidInput(
            f"signals: together they match more than {MAX_BATCH_MATCHES} entries; send fewer "
            "signals, or set a smaller max_results or top_k",
            field="signals",
        )


def _first_of_each_entry(hits: AcceptedHits) -> AcceptedHits:
    """Return the first hit of each query and entry."""
    if not len(hits):
        return hits
    order = np.lexsort((np.arange(len(hits)), hits.entry, hits.part, hits.query))
    keys = np.stack([hits.query, hits.part, hits.entry])[:, order]
    is_first = np.ones(len(hits), bool)
    is_first[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    return hits.take(np.sort(order[is_first]))


def _rank_in_query(query: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0 for the first element of each run of equal numbers, 1 for the second, and so on."""
    starts = np.flatnonzero(np.diff(query, prepend=-1))
    counts = np.diff(np.append(starts, len(query)))
    return np.arange(len(query)) - np.repeat(starts, counts)
