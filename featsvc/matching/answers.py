"""From what is near to matches: the rules, the order, one match an entry."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from featsvc.matching.matches import MAX_EVIDENCE, Evidence, Match, MatchOptions, MatchResult
from featsvc.matching.part_search import (
    AcceptedHit,
    PartHits,
    PartView,
    apply_rules,
    apply_rules_to_few,
    filter_labels,
)
from featsvc.matching.rules import BankRules, Thresholds
from featsvc.signals.algorithms import Algorithm
from featsvc.signals.signal import Signal

# A query that hits a larger cluster is answered from its nearest hits, and said to be truncated.
_MAX_HITS_READ = 20_000
FEW = 16
"""So many hits are looked at one by one sooner than in columns; the answer is the same."""

_NOTHING = MatchResult((), False, low_quality=False)
_NOTHING_POOR = MatchResult((), False, low_quality=True)


class AlgorithmQuery(NamedTuple):
    """Query signals of one algorithm, the thresholds that apply, and what is near them."""

    signals: Sequence[Signal]
    thresholds: Thresholds
    near: Sequence[PartHits]

    @property
    def algorithm(self) -> Algorithm:
        return self.signals[0].algorithm

    @property
    def hits(self) -> int:
        """How many, before the rules."""
        return sum([len(one.hits.rows) for one in self.near])


class Answers:
    """Makes the answers of a snapshot from its parts and its rules."""

    def __init__(self, parts: Sequence[PartView], rules: BankRules) -> None:
        self._parts = tuple(parts)
        self._rules = rules

    def result(
        self, queries: Sequence[AlgorithmQuery], options: MatchOptions, low_quality: bool
    ) -> MatchResult:
        """Of signals that are all of ONE piece of content."""
        hits = sum([one.hits for one in queries])
        if not hits:
            return _NOTHING_POOR if low_quality else _NOTHING
        if hits > FEW:
            return self._many(queries, options, low_quality)
        nearest, suppressing = self._few(queries, options)
        if len(nearest) == 1:
            ((one, hit),) = nearest
            match = self.match(one.signals[hit.query], one.thresholds, hit, options, suppressing)
            return MatchResult((match,), False, low_quality)
        matches, truncated = self._by_entry(nearest, options, suppressing)
        return MatchResult(matches, truncated, low_quality)

    def _few(
        self, queries: Sequence[AlgorithmQuery], options: MatchOptions
    ) -> tuple[list[tuple[AlgorithmQuery, AcceptedHit]], bool]:
        """Nearest first, and whether a safe list suppresses."""
        now_us = time.time_ns() // 1000
        nearest = [
            (one, hit)
            for one in queries
            for hit in apply_rules_to_few(one.near, self._rules, one.thresholds, now_us)
        ]
        suppressing = self._rules.suppressing and any(
            self._rules.acting_safe[hit.bank] for _, hit in nearest
        )
        if options.labels:
            wanted = frozenset(options.labels)
            nearest = [pair for pair in nearest if wanted.issubset(self._labels(pair[1]))]
        if len(queries) > 1:
            nearest.sort(key=lambda pair: pair[1].distance / _span(pair[0]))
        return nearest, suppressing

    def _many(
        self, queries: Sequence[AlgorithmQuery], options: MatchOptions, low_quality: bool
    ) -> MatchResult:
        """In columns."""
        now_us = time.time_ns() // 1000
        found = [
            apply_rules(one.near, self._rules, one.thresholds, now_us).nearest_first()
            for one in queries
        ]
        suppressing = self._rules.suppressing and any(
            self._rules.acting_safe[one.bank].any() for one in found
        )
        if options.labels:
            wanted = frozenset(options.labels)
            found = [filter_labels(self._parts, one, wanted) for one in found]
        # By share of the largest distance, so that algorithms compare.
        share = np.concatenate([f.distance / _span(a) for a, f in zip(queries, found, strict=True)])
        which = np.repeat(np.arange(len(queries)), [len(one) for one in found])
        at = np.concatenate([np.arange(len(one)) for one in found])
        order = np.argsort(share, kind="stable")[:_MAX_HITS_READ]
        nearest = (
            (queries[i], found[i].hit(row))
            for i, row in zip(which[order].tolist(), at[order].tolist(), strict=True)
        )
        matches, cut = self._by_entry(nearest, options, suppressing)
        return MatchResult(matches, cut or len(share) > _MAX_HITS_READ, low_quality)

    def _by_entry(
        self,
        nearest: Iterable[tuple[AlgorithmQuery, AcceptedHit]],
        options: MatchOptions,
        suppressing: bool,
    ) -> tuple[tuple[Match, ...], bool]:
        """One match an entry, and whether some were cut. Hits come nearest first."""
        first: dict[tuple[int, int], tuple[AlgorithmQuery, AcceptedHit]] = {}
        evidence: dict[tuple[int, int], list[Evidence]] = {}
        found_by: dict[str, set[tuple[int, int]]] = defaultdict(set)
        cut = False
        for one, hit in nearest:
            place = hit.part, hit.entry
            if options.top_k:
                mine = found_by[one.algorithm.name]
                if place not in mine and len(mine) >= options.top_k:
                    continue
                mine.add(place)
            if place not in first:
                if len(first) >= options.limit:
                    cut = True
                    continue
                first[place] = one, hit
                evidence[place] = []
            elif len(evidence[place]) < MAX_EVIDENCE:
                evidence[place].append(self._evidence(one, hit))
        matches = (
            self.match(
                one.signals[hit.query], one.thresholds, hit, options, suppressing, evidence[place]
            )
            for place, (one, hit) in first.items()
        )
        return tuple(matches), cut

    def match(
        self,
        query: Signal,
        thresholds: Thresholds,
        hit: AcceptedHit,
        options: MatchOptions,
        suppressing: bool,
        evidence: Sequence[Evidence] = (),
    ) -> Match:
        """The entry of `hit`, its nearest signal."""
        part = self._parts[hit.part].part
        index, entries, tables = part.indexes[query.algorithm.name], part.entries, part.tables
        bank = self._rules.banks[hit.bank]
        entry_variant = tables.variants[index.variant.item(hit.signal)]
        return Match(
            bank=bank.id,
            entry_id=entries.id.item(hit.entry),
            external_id=entries.external_id(hit.entry),
            algorithm=query.algorithm,
            distance=hit.distance,
            threshold=thresholds.at(hit.bank, entry_variant),
            threshold_overridden=query.algorithm.name in options.thresholds,
            query_variant=query.variant,
            entry_variant=entry_variant,
            mode=bank.mode,
            labels=tables.labels[entries.labels.item(hit.entry)],
            source=tables.sources[entries.source.item(hit.entry)],
            entry_signal=index.values[hit.signal].tobytes(),
            query_signal=query.value,
            safe=bank.safe,
            suppressed=suppressing and not bank.safe,
            evidence=tuple(evidence),
            frame=query.frame,
        )

    def _evidence(self, one: AlgorithmQuery, hit: AcceptedHit) -> Evidence:
        part = self._parts[hit.part].part
        index = part.indexes[one.algorithm.name]
        entry_variant = part.tables.variants[index.variant.item(hit.signal)]
        return Evidence(
            one.algorithm,
            hit.distance,
            one.thresholds.at(hit.bank, entry_variant),
            one.signals[hit.query].variant,
            entry_variant,
            index.values[hit.signal].tobytes(),
        )

    def _labels(self, hit: AcceptedHit) -> tuple[str, ...]:
        part = self._parts[hit.part].part
        return part.tables.labels[part.entries.labels.item(hit.entry)]


def _span(one: AlgorithmQuery) -> int:
    return one.algorithm.largest_distance or 1
