"""Everything that is searched, frozen at one revision of the store.

A snapshot is the banks, and parts of an index: a segment or what was read from the store, then
what came since (the delta), with the entries withdrawn since. It is made off the request path
and never changes: any number of threads may search it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import Bank, Head
from featsvc.errors import InvalidInput, NotFound
from featsvc.matching.answers import AlgorithmQuery, Answers
from featsvc.matching.engines import FAMILIES
from featsvc.matching.hits import TooManyHits
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
    parts_by_algorithm,
    search_parts,
)
from featsvc.matching.rules import BankRules, Thresholds
from featsvc.matching.values import Ragged, Values
from featsvc.signals.algorithms import ALGORITHMS, Algorithm, Kind, get_algorithm
from featsvc.signals.signal import Signal
from featsvc.signals.variants import ORIGINAL

QUICK_SIGNALS = 2_000_000
"""A scan of so many, the worst that can become of a query, takes about a millisecond."""
_QUICK_HITS = 64


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


class _Table(NamedTuple):
    """What is searched for one algorithm.

    `length` is a value's, in bytes, 0 where values may have any; `quick` whether a search of one
    value at the default threshold is always short.
    """

    kind: Algorithm
    searched: IndexedParts
    length: int
    quick: bool

    @classmethod
    def of(cls, kind: Algorithm, searched: IndexedParts) -> "_Table":
        values = [place.signals.values for place in searched]
        lengths = [v.shape[1] for v in values if not isinstance(v, Ragged)]
        few = sum(len(place.signals.entry) for place in searched) <= QUICK_SIGNALS
        chosen = any(place.searched.choices for place in searched)
        length = kind.bytes or (lengths[0] if lengths else 0)
        quick = few and not chosen and FAMILIES[kind.distance].quick
        return cls(kind, searched, length, quick)

    @classmethod
    def empty(cls, kind: Algorithm) -> "_Table":
        """No entry has such a signal. Raises InvalidInput where none ever matches."""
        if not kind.matched:
            raise InvalidInput(
                f"signal: {kind.name} is stored but never matched; use one of "
                f"{', '.join(a.name for a in ALGORITHMS.values() if a.matched)}",
                field="signal",
            )
        return cls(kind, (), kind.bytes, FAMILIES[kind.distance].quick)

    def check(self, length: int) -> None:
        """Raises InvalidInput for a value of that many bytes."""
        if self.length and length != self.length:
            raise InvalidInput(
                f"signal: a {self.kind.name} value has {self.length} bytes, this one has {length}",
                field="signal",
            )


class _BatchHits(NamedTuple):
    """What is returned of each query, whether it is suppressed, and which queries were cut."""

    found: AcceptedHits
    suppressed: NDArray[np.bool_]
    truncated: tuple[int, ...]


class Snapshot:
    """Banks, entries and indexes at `revision`, which was committed at `commit_time`."""

    def __init__(
        self,
        head: Head,
        banks: Sequence[Bank],
        parts: Sequence[PartView],
        status: tuple[AlgorithmStatus, ...] = (),
    ) -> None:
        self.revision = head.revision
        self.commit_time = head.commit_time
        self.status = status
        self._rules = BankRules.of(banks)
        self._parts = tuple(parts)
        self._vectors: tuple[str, ...] | None = None
        """Kinds in the banks that are not OFF, once asked for: most requests search these."""
        self._answers = Answers(self._parts, self._rules)
        self._tables = {
            name: _Table.of(get_algorithm(name), searched)
            for name, searched in parts_by_algorithm(parts).items()
        }
        self.algorithms = tuple(sorted(self._tables))
        """Those that any entry has a signal of."""

    @property
    def banks(self) -> tuple[Bank, ...]:
        return self._rules.banks

    def query_variants(self, options: MatchOptions) -> frozenset[str]:
        """Variants worth hashing for this request. Raises NotFound."""
        return self._rules.query_variants(options)

    def vectors_held(self, options: MatchOptions) -> tuple[str, ...]:
        """Kinds of vectors that live entries of the searched banks have. Raises NotFound."""
        if options.banks:
            return self._vectors_in(self._rules.searched(options))
        if self._vectors is None:
            self._vectors = self._vectors_in(self._rules.searched(options))
        return self._vectors

    def _vectors_in(self, searched: Sequence[int]) -> tuple[str, ...]:
        banks = (self._rules.banks[i] for i in searched)
        names = {name for bank in banks for name, count in bank.signal_counts.items() if count}
        return tuple(sorted(name for name in names if get_algorithm(name).kind is Kind.VECTOR))

    def value_bytes(self, algorithm: str) -> int:
        """Length of the values that are searched, 0 where there are none, or of any length."""
        table = self._tables.get(algorithm)
        return table.length if table is not None else 0

    def check_held(self, kind: Algorithm, options: MatchOptions) -> None:
        """Raises NotFound where it is a kind of vectors that no searched bank holds: an answer
        without matches would read as if some had been compared."""
        if kind.kind is not Kind.VECTOR:
            return
        held = self.vectors_held(options)
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
        """Entries near to any of the signals, which are all of ONE piece of content.

        Raises NotFound for an unknown bank, and InvalidInput for a value of the wrong length or an
        algorithm that is stored but never matched.
        """
        # Raises for a bank that is not there, signals or none.
        self._rules.searched(options)
        low_quality = False
        # Those that are searched alike are searched at once.
        together: dict[tuple[str, int, int], tuple[_Table, Thresholds, list[Signal]]] = {}
        for signal in signals:
            kind = signal.algorithm
            table = self._tables.get(kind.name) or _Table.empty(kind)
            table.check(len(signal.value))
            original = signal.variant == ORIGINAL
            if signal.low_quality and not (options.match_low_quality and original):
                # A poor variant is no further try; a poor original is one that was not made.
                low_quality |= original
                continue
            thresholds = self._rules.thresholds(table.kind, signal.variant, options)
            key = kind.name, len(signal.value), id(thresholds)
            _, _, group = together.setdefault(key, (table, thresholds, []))
            group.append(signal)
        asked = [
            one
            for table, thresholds, group in together.values()
            for one in _ask(table, group, thresholds)
        ]
        return self._answers.result(asked, options, low_quality)

    def match_at_once(self, signal: Signal, options: MatchOptions) -> MatchResult | None:
        """`match` of one signal where that takes a fraction of a millisecond at most; None where
        it might not: more than QUICK_SIGNALS of them, an engine that a bank chose, a radius beyond
        the one that the index is built for, a vector or text, or many hits. Raises as `match` does.
        """
        table = self._tables.get(signal.algorithm.name) or _Table.empty(signal.algorithm)
        thresholds = self._rules.thresholds(table.kind, signal.variant, options)
        wide = thresholds.largest > table.kind.default_threshold
        if wide or not table.quick or signal.low_quality:
            return None
        table.check(len(signal.value))
        asked = _ask(table, (signal,), thresholds)
        return None if asked[0].hits > _QUICK_HITS else self._answers.result(asked, options, False)

    def match_batch(
        self,
        kind: Algorithm,
        values: NDArray[np.uint8],
        options: MatchOptions = DEFAULT_OPTIONS,
    ) -> BatchResult:
        """Each row of `values` uint8 (q, bytes) matched as content of its own; q <= 65,536.

        The same rules as `match`, one algorithm, no evidence. Raises as `match` does, and
        InvalidInput where all of them match more than 1,048,576 entries.
        """
        table = self._tables.get(kind.name) or _Table.empty(kind)
        if not kind.distance.rows:
            raise InvalidInput(
                f"algorithm: {kind.name} values have different lengths, so they do not pack; "
                "send them one by one",
                field="algorithm",
            )
        table.check(values.shape[1])
        if len(values) > MAX_BATCH:
            raise InvalidInput(f"signals: {len(values)}, at most {MAX_BATCH}", field="signals")
        thresholds = self._rules.thresholds(kind, ORIGINAL, options)
        found, suppressed, truncated = self._find_batch(table, values, thresholds, options)
        entries, entry_index = self._batch_entries(found, suppressed, kind, thresholds, options)
        ends = np.cumsum(np.bincount(found.query, minlength=len(values)))
        offsets = np.concatenate([[0], ends]).astype(np.uint32)
        distances = found.distance.astype(np.float32 if kind.distance.fractional else np.uint32)
        return BatchResult(offsets, distances, entry_index, entries, truncated)

    def _find_batch(
        self,
        table: _Table,
        values: NDArray[np.uint8],
        thresholds: Thresholds,
        options: MatchOptions,
    ) -> _BatchHits:
        """Half of the queries at a time where all of them hit too much to hold."""
        try:
            hits = search_parts(table.searched, values, thresholds.largest)
        except TooManyHits:
            half = len(values) // 2
            one = self._find_batch(table, values[:half], thresholds, options)
            two = self._find_batch(table, values[half:], thresholds, options)
            _check_answer(len(one.found) + len(two.found))
            return _BatchHits(
                one.found.followed_by(two.found, half),
                np.concatenate([one.suppressed, two.suppressed]),
                (*one.truncated, *(query + half for query in two.truncated)),
            )
        found = apply_rules(hits, self._rules, thresholds, time.time_ns() // 1000)
        suppressing = np.zeros(len(values), bool)
        suppressing[found.query[self._rules.acting_safe[found.bank]]] = True
        if options.labels:
            found = filter_labels(self._parts, found, frozenset(options.labels))
        found = _once_an_entry(found.nearest_first())
        # What `top_k` leaves out was not asked for, so it is not "truncated".
        wanted = options.top_k or len(found)
        limit = min(options.limit, wanted)
        place = _place_in_query(found.query)
        truncated = tuple(np.unique(found.query[(place >= limit) & (place < wanted)]).tolist())
        found = found.take(place < limit)
        _check_answer(len(found))
        suppressed = suppressing[found.query] & ~self._rules.safe[found.bank]
        return _BatchHits(found, suppressed, truncated)

    def _batch_entries(
        self,
        found: AcceptedHits,
        suppressed: NDArray[np.bool_],
        kind: Algorithm,
        thresholds: Thresholds,
        options: MatchOptions,
    ) -> tuple[tuple[Match, ...], NDArray[np.uint32]]:
        """Each signal that matched once (twice where it is suppressed for some queries only)."""
        keys = np.stack([found.part, found.signal, suppressed.astype(np.int64)], axis=1)
        _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        query = Signal(kind, b"")
        matches = tuple(
            self._answers.match(query, thresholds, found.hit(i), options, suppressed.item(i))
            for i in first.tolist()
        )
        return matches, index.reshape(-1).astype(np.uint32)


def _ask(
    table: _Table, signals: Sequence[Signal], thresholds: Thresholds
) -> Sequence[AlgorithmQuery]:
    """What is near signals of one length: in halves, where it is too much to hold at once."""
    queries = _queries(table.kind, signals)
    try:
        return (
            AlgorithmQuery(
                signals, thresholds, search_parts(table.searched, queries, thresholds.largest)
            ),
        )
    except TooManyHits:
        half = len(signals) // 2
        one = _ask(table, signals[:half], thresholds)
        return (*one, *_ask(table, signals[half:], thresholds))


def _queries(kind: Algorithm, signals: Sequence[Signal]) -> Values:
    """In the form of the values that they are compared with."""
    data = np.frombuffer(b"".join([signal.value for signal in signals]), np.uint8)
    if not kind.distance.rows:
        return Ragged(data, np.cumsum([len(signal.value) for signal in signals], dtype=np.int64))
    return data.reshape(len(signals), -1)


def _check_answer(matches: int) -> None:
    if matches > MAX_BATCH_MATCHES:
        raise InvalidInput(
            f"signals: they match more than {MAX_BATCH_MATCHES} entries together; send fewer at "
            "once, or ask for fewer with max_results or top_k",
            field="signals",
        )


def _once_an_entry(found: AcceptedHits) -> AcceptedHits:
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
