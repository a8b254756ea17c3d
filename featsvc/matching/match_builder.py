"""Builds matches from the hits of a search: applies the rules, sorts, and joins hits by entry."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from featsvc.matching.many_hits import HitColumns
from featsvc.matching.matches import MAX_EVIDENCE, Evidence, Match, MatchOptions, MatchResult
from featsvc.matching.part_search import (
    AcceptedHit,
    AcceptedHits,
    PartHits,
    PartView,
    apply_rules,
    apply_rules_to_few,
    filter_labels,
)
from featsvc.matching.rules import BankRules, Thresholds
from featsvc.signals.algorithms import Algorithm
from featsvc.signals.signal import Signal

FEW = 16
"""Up to this many hits are handled one by one, which is faster than columns, with equal results."""
MANY = 512
"""Of more hits, those that are in no match are left out in columns, with equal results."""

_NO_MATCH = MatchResult((), False, low_quality=False)
_NO_MATCH_LOW_QUALITY = MatchResult((), False, low_quality=True)


class AlgorithmQuery(NamedTuple):
    """Query signals of one algorithm, the thresholds that apply, and their hits in each part."""

    signals: Sequence[Signal]
    thresholds: Thresholds
    parts: Sequence[PartHits]

    @property
    def algorithm(self) -> Algorithm:
        return self.signals[0].algorithm

    @property
    def hit_count(self) -> int:
        """The number of hits before the rules."""
        return sum([len(part.hits.rows) for part in self.parts])


QueryHit: TypeAlias = tuple[AlgorithmQuery, AcceptedHit]


class MatchBuilder:
    """Builds matches of entries in the parts of a snapshot, by its rules."""

    def __init__(self, views: Sequence[PartView], rules: BankRules) -> None:
        self._views = tuple(views)
        self._rules = rules
        sizes = np.array([len(view.part) for view in self._views], np.int64)
        self._first_entries = np.cumsum(sizes) - sizes
        """For each part, the number of its first entry among the entries of all parts."""

    def result(
        self, queries: Sequence[AlgorithmQuery], options: MatchOptions, low_quality: bool
    ) -> MatchResult:
        """Return the matches of signals that are all of ONE piece of content."""
        hits = sum([query.hit_count for query in queries])
        if not hits:
            return _NO_MATCH_LOW_QUALITY if low_quality else _NO_MATCH
        if hits > FEW:
            return self._result_of_many(queries, options, low_quality)
        nearest, suppressing = self._accept_few(queries, options)
        if len(nearest) == 1:
            ((query, hit),) = nearest
            signal = query.signals[hit.query]
            match = self.match(signal, query.thresholds, hit, options, suppressing)
            return MatchResult((match,), False, low_quality)
        matches, truncated = self._by_entry(nearest, options, suppressing)
        return MatchResult(matches, truncated, low_quality)

    def _accept_few(
        self, queries: Sequence[AlgorithmQuery], options: MatchOptions
    ) -> tuple[list[QueryHit], bool]:
        """Return the accepted hits, nearest first, and whether a safe list suppresses matches."""
        now_us = time.time_ns() // 1000
        nearest = [
            (query, hit)
            for query in queries
            for hit in apply_rules_to_few(query.parts, self._rules, query.thresholds, now_us)
        ]
        suppressing = (
            self._rules.any_suppressing
            and not options.ignore_safe_lists
            and any(self._rules.suppressing[hit.bank] for _, hit in nearest)
        )
        if options.banks:
            returned = self._rules.is_returned(options)
            nearest = [pair for pair in nearest if returned[pair[1].bank]]
        if options.labels:
            labels = frozenset(options.labels)
            nearest = [pair for pair in nearest if labels.issubset(self._labels(pair[1]))]
        if len(queries) > 1:
            nearest.sort(key=lambda pair: pair[1].distance / _largest_distance(pair[0]))
        return nearest, suppressing

    def _result_of_many(
        self, queries: Sequence[AlgorithmQuery], options: MatchOptions, low_quality: bool
    ) -> MatchResult:
        """Do the same as `result`, in columns."""
        now_us = time.time_ns() // 1000
        accepted = [
            apply_rules(query.parts, self._rules, query.thresholds, now_us) for query in queries
        ]
        suppressing = (
            self._rules.any_suppressing
            and not options.ignore_safe_lists
            and any(self._rules.suppressing[hits.bank].any() for hits in accepted)
        )
        if options.banks:
            returned = self._rules.is_returned(options)
            accepted = [hits.take(returned[hits.bank]) for hits in accepted]
        if options.labels:
            labels = frozenset(options.labels)
            accepted = [filter_labels(self._views, hits, labels) for hits in accepted]
        if sum(map(len, accepted)) > MANY:
            # One entry more than the limit, and the hit of each match besides its evidence.
            columns = self._columns(queries, accepted)
            order = columns.returned(options.limit + 1, options.top_k, MAX_EVIDENCE + 1)
        else:
            accepted = [hits.nearest_first() for hits in accepted]
            # Sorted by share of the largest distance, so that algorithms compare.
            pairs = zip(queries, accepted, strict=True)
            shares = [hits.distance / _largest_distance(query) for query, hits in pairs]
            order = np.argsort(np.concatenate(shares), kind="stable")
        first = np.cumsum([0, *map(len, accepted)])
        which = np.searchsorted(first, order, "right") - 1
        nearest = (
            (queries[i], accepted[i].hit(j))
            for i, j in zip(which.tolist(), (order - first[which]).tolist(), strict=True)
        )
        matches, truncated = self._by_entry(nearest, options, suppressing)
        return MatchResult(matches, truncated, low_quality)

    def _columns(
        self, queries: Sequence[AlgorithmQuery], accepted: Sequence[AcceptedHits]
    ) -> HitColumns:
        """Join the hits of all queries, ranked by query, part and row."""
        columns = HitColumns.empty(sum(map(len, accepted)))
        names = [query.algorithm.name for query in queries]
        end = ranks = 0
        for query, hits in zip(queries, accepted, strict=True):
            of_query = slice(end, end := end + len(hits))
            sizes = np.zeros(len(self._views), np.int64)
            for part in query.parts:
                sizes[part.number] = len(part.signals.entry)
            signals = int(sizes.sum())
            # Into the columns, because temporary arrays of a million hits take longer.
            np.divide(hits.distance, _largest_distance(query), out=columns.share[of_query])
            rank, entry = columns.rank[of_query], columns.entry[of_query]
            np.take(ranks + np.cumsum(sizes) - sizes, hits.part, out=rank, mode="clip")
            rank += hits.signal
            if len(query.signals) > 1:
                rank += hits.query * signals
            np.take(self._first_entries, hits.part, out=entry, mode="clip")
            entry += hits.entry
            columns.algorithm[of_query] = names.index(query.algorithm.name)
            ranks += len(query.signals) * signals
        return columns

    def _by_entry(
        self, nearest: Iterable[QueryHit], options: MatchOptions, suppressing: bool
    ) -> tuple[tuple[Match, ...], bool]:
        """Return one match for each entry, and whether some were cut. Takes hits nearest first."""
        first: dict[tuple[int, int], QueryHit] = {}
        evidence: dict[tuple[int, int], list[Evidence]] = {}
        entries_of: dict[str, set[tuple[int, int]]] = defaultdict(set)
        truncated = False
        for query, hit in nearest:
            entry = hit.part, hit.entry
            if options.top_k:
                entries = entries_of[query.algorithm.name]
                if entry not in entries and len(entries) >= options.top_k:
                    continue
                entries.add(entry)
            if entry not in first:
                if len(first) >= options.limit:
                    truncated = True
                    continue
                first[entry] = query, hit
                evidence[entry] = []
            elif len(evidence[entry]) < MAX_EVIDENCE:
                evidence[entry].append(self._evidence(query, hit))
        matches = (
            self.match(
                query.signals[hit.query],
                query.thresholds,
                hit,
                options,
                suppressing,
                evidence[entry],
            )
            for entry, (query, hit) in first.items()
        )
        return tuple(matches), truncated

    def match(
        self,
        query: Signal,
        thresholds: Thresholds,
        hit: AcceptedHit,
        options: MatchOptions,
        suppressing: bool,
        evidence: Sequence[Evidence] = (),
    ) -> Match:
        """Build the match of the entry of `hit`, which is its nearest signal."""
        part, algorithm = self._views[hit.part].part, query.algorithm
        index, entries, strings = part.indexes[algorithm.name], part.entries, part.strings
        bank = self._rules.banks[hit.bank]
        entry_variant = strings.variants[index.variant.item(hit.signal)]
        return Match(
            bank=bank.id,
            entry_id=entries.id.item(hit.entry),
            external_id=entries.external_id(hit.entry),
            algorithm=algorithm,
            distance=hit.distance,
            threshold=thresholds.for_entry(hit.bank, entry_variant),
            threshold_overridden=bool(options.thresholds)
            and self._rules.overrides(hit.bank, algorithm, options),
            query_variant=query.variant,
            entry_variant=entry_variant,
            mode=bank.mode,
            labels=strings.labels[entries.labels.item(hit.entry)],
            source=strings.sources[entries.source.item(hit.entry)],
            entry_signal=index.values[hit.signal].tobytes(),
            query_signal=query.value,
            safe=bank.safe,
            suppressed=suppressing and not bank.safe,
            evidence=tuple(evidence),
            frame=query.frame,
        )

    def _evidence(self, query: AlgorithmQuery, hit: AcceptedHit) -> Evidence:
        part, signal = self._views[hit.part].part, query.signals[hit.query]
        index = part.indexes[signal.algorithm.name]
        entry_variant = part.strings.variants[index.variant.item(hit.signal)]
        return Evidence(
            signal.algorithm,
            hit.distance,
            query.thresholds.for_entry(hit.bank, entry_variant),
            signal.variant,
            entry_variant,
            index.values[hit.signal].tobytes(),
        )

    def _labels(self, hit: AcceptedHit) -> tuple[str, ...]:
        part = self._views[hit.part].part
        return part.strings.labels[part.entries.labels.item(hit.entry)]


def _largest_distance(query: AlgorithmQuery) -> int:
    return query.algorithm.largest_distance or 1
