"""Searches the parts of a snapshot and applies the rules, all in columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import Bank
from featsvc.matching.engines import FAMILIES
from featsvc.matching.hits import Distances, RawHits
from featsvc.matching.parts import NEGATIVE, QUARANTINED, Part, SignalIndex
from featsvc.matching.rules import BankRules, Thresholds
from featsvc.matching.values import Values
from featsvc.signals.variants import share_of

_I64 = NDArray[np.int64]


class AcceptedHit(NamedTuple):
    """One signal that is near: its distance, the number of the query, the number of the part, the
    rows of the signal and of its entry there, the position of the bank. Hits sort nearest first,
    then by query, then as they arrived."""

    distance: float
    query: int
    part: int
    signal: int
    entry: int
    bank: int


@dataclass(frozen=True, slots=True)
class AcceptedHits:
    """Hits that passed the rules, one an element: number of the query, number of the part, row of
    the signal and of its entry there, position of the bank, distance (float64 where fractional)."""

    query: _I64
    part: _I64
    signal: _I64
    entry: _I64
    bank: _I64
    distance: Distances

    @classmethod
    def none(cls) -> "AcceptedHits":
        empty = np.empty(0, np.int64)
        return cls(empty, empty, empty, empty, empty, empty)

    def __len__(self) -> int:
        return len(self.query)

    def take(self, which: NDArray[np.generic]) -> "AcceptedHits":
        return AcceptedHits(
            self.query[which], self.part[which], self.signal[which], self.entry[which],
            self.bank[which], self.distance[which],
        )  # fmt: skip

    def hit(self, i: int) -> AcceptedHit:
        return AcceptedHit(
            self.distance.item(i), self.query.item(i), self.part.item(i), self.signal.item(i),
            self.entry.item(i), self.bank.item(i),
        )  # fmt: skip

    def followed_by(self, other: "AcceptedHits", queries: int) -> "AcceptedHits":
        """Both, the queries of `other` numbered from `queries` on."""
        return joined([self, replace(other, query=other.query + queries)])

    def nearest_first(self) -> "AcceptedHits":
        """By query, then distance, then part and row, which is the order of arrival."""
        if len(self) <= 1:
            return self
        return self.take(np.lexsort((self.signal, self.part, self.distance, self.query)))


@dataclass(frozen=True, slots=True)
class PartView:
    """A part as a snapshot sees it: `dead` are the rows of entries withdrawn since, ascending;
    `positions` the place of each of its banks in the snapshot's, -1 where it is gone;
    `choices` the banks that chose an engine for themselves, by engine; `shares` what each of its
    variants has of the threshold, None where all have all of it."""

    part: Part
    dead: _I64
    positions: _I64
    choices: tuple[tuple[str, tuple[str, ...]], ...]
    shares: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, part: Part, dead: _I64, banks: Sequence[Bank]) -> "PartView":
        place = {bank.id: i for i, bank in enumerate(banks)}
        mine = frozenset(part.tables.banks)
        chosen: dict[str, list[str]] = {}
        for bank in banks:
            if bank.engine != "auto" and bank.id in mine:
                chosen.setdefault(bank.engine, []).append(bank.id)
        positions = np.array([place.get(b, -1) for b in part.tables.banks], np.int64)
        choices = tuple((engine, tuple(ids)) for engine, ids in sorted(chosen.items()))
        shares = np.array([share_of(variant) for variant in part.tables.variants], np.float64)
        return cls(part, dead, positions, choices, shares if (shares < 1).any() else None)

    def hits(self, index: SignalIndex, queries: Values, radius: float) -> RawHits:
        """Of every engine of an index of this part; those of a bank come from the one it chose."""
        hits = index.engine.search(queries, radius)
        known = FAMILIES[index.kind.distance].choices
        choices = [chosen for chosen in self.choices if chosen[0] in known]
        return self._with_choices(index, choices, hits, queries, radius) if choices else hits

    def _with_choices(
        self,
        index: SignalIndex,
        choices: Sequence[tuple[str, tuple[str, ...]]],
        hits: RawHits,
        queries: Values,
        radius: float,
    ) -> RawHits:
        banks = self.part.tables.banks
        apart = [i for i, b in enumerate(banks) if any(b in ids for _, ids in choices)]
        others = ~np.isin(self.part.entries.bank[index.entry[hits.rows]], apart)
        query = [_query_of(hits)[others]]
        rows, distances = [hits.rows[others]], [hits.distances[others]]
        for choice, ids in choices:
            mine, engine = self.part.subset(index.kind.name, choice, ids)
            found = engine.search(queries, radius)
            query.append(_query_of(found))
            rows.append(mine[found.rows])
            distances.append(found.distances)
        together = np.concatenate(query)
        order = np.argsort(together, kind="stable")
        ends = np.cumsum(np.bincount(together, minlength=len(queries))).astype(np.int64)
        return RawHits(ends, np.concatenate(rows)[order], np.concatenate(distances)[order])


class PartHits(NamedTuple):
    """What the engines of part `number` found."""

    number: int
    searched: PartView
    signals: SignalIndex
    hits: RawHits


class IndexedPart(NamedTuple):
    """Where signals of one algorithm are: in part `number` of all."""

    number: int
    searched: PartView
    signals: SignalIndex


IndexedParts: TypeAlias = Sequence[IndexedPart]
"""Of one algorithm: the parts that have it."""


def parts_by_algorithm(parts: Sequence[PartView]) -> dict[str, IndexedParts]:
    """By algorithm."""
    found: dict[str, list[IndexedPart]] = {}
    for number, searched in enumerate(parts):
        for name, index in searched.part.indexes.items():
            found.setdefault(name, []).append(IndexedPart(number, searched, index))
    return {name: tuple(places) for name, places in found.items()}


def search_parts(searched_parts: IndexedParts, queries: Values, radius: float) -> list[PartHits]:
    """What the engines find, of the parts where they find anything; the rules are yet to come.

    `queries` have the form of the index's values.
    """
    found: list[PartHits] = []
    for place in searched_parts:
        if place.searched.choices:
            hits = place.searched.hits(place.signals, queries, radius)
        else:
            hits = place.signals.engine.search(queries, radius)
        if len(hits.rows):
            found.append(PartHits(place.number, place.searched, place.signals, hits))
    return found


def apply_rules(
    found: Sequence[PartHits], rules: BankRules, thresholds: Thresholds, now_us: int
) -> AcceptedHits:
    """Those of live entries that the rules let match. Nothing is sorted."""
    return joined([_apply_rules(one, rules, thresholds, now_us) for one in found])


def _apply_rules(
    near: PartHits, rules: BankRules, thresholds: Thresholds, now_us: int
) -> AcceptedHits:
    number, searched, index, hits = near
    entries = searched.part.entries
    entry = index.entry[hits.rows].astype(np.int64)
    bank = searched.positions[entries.bank[entry]]
    flags = entries.flags[entry]
    largest = thresholds.by_bank[bank]
    if searched.shares is not None:
        largest = thresholds.for_entries(bank, searched.shares[index.variant[hits.rows]])
    matched = (
        (hits.distances <= largest)
        & (entries.expire_us[entry] > now_us)
        & (flags & QUARANTINED == 0)
        & ((flags & NEGATIVE == 0) | rules.safe[bank])
    )
    if len(searched.dead):
        at = np.searchsorted(searched.dead, entry)
        matched &= searched.dead[np.minimum(at, len(searched.dead) - 1)] != entry
    part = np.full(len(entry), number, np.int64)
    all_of_it = AcceptedHits(_query_of(hits), part, hits.rows, entry, bank, hits.distances)
    return all_of_it if matched.all() else all_of_it.take(matched)


def apply_rules_to_few(
    found: Sequence[PartHits], rules: BankRules, thresholds: Thresholds, now_us: int
) -> list[AcceptedHit]:
    """The same, nearest first, for so few that arrays cost more than they save."""
    passed: list[AcceptedHit] = []
    for number, searched, index, hits in found:
        entries, dead = searched.part.entries, searched.dead
        queries = _query_of(hits).tolist()
        for i, (row, distance) in enumerate(
            zip(hits.rows.tolist(), hits.distances.tolist(), strict=True)
        ):
            entry = index.entry.item(row)
            bank = searched.positions.item(entries.bank.item(entry))
            flags = entries.flags.item(entry)
            if (
                distance > _largest(searched, index, row, bank, thresholds)
                or entries.expire_us.item(entry) <= now_us
                or flags & QUARANTINED
                or (flags & NEGATIVE and not rules.safe.item(bank))
            ):
                continue
            if len(dead):
                at = int(np.searchsorted(dead, entry))
                if at < len(dead) and dead.item(at) == entry:
                    continue
            passed.append(AcceptedHit(distance, queries[i], number, row, entry, bank))
    if len(passed) > 1:
        passed.sort()
    return passed


def _largest(
    searched: PartView, index: SignalIndex, row: int, bank: int, thresholds: Thresholds
) -> float:
    """The largest distance at which that signal matches."""
    if searched.shares is None:
        return thresholds.by_bank.item(bank)
    return thresholds.at(bank, searched.part.tables.variants[index.variant.item(row)])


def filter_labels(
    parts: Sequence[PartView], found: AcceptedHits, wanted: frozenset[str]
) -> AcceptedHits:
    """Those whose entries carry all the labels."""
    keep = np.ones(len(found), bool)
    for number, searched in enumerate(parts):
        here = np.flatnonzero(found.part == number)
        places = searched.part.entries.labels[found.entry[here]]
        table = searched.part.tables.labels
        good = [place for place in np.unique(places) if wanted.issubset(table[place])]
        keep[here] = np.isin(places, good)
    return found.take(keep)


def _query_of(hits: RawHits) -> _I64:
    if len(hits.ends) == 1:
        return np.zeros(len(hits.rows), np.int64)
    return np.repeat(np.arange(len(hits.ends)), np.diff(hits.ends, prepend=0))


def joined(found: Sequence[AcceptedHits]) -> AcceptedHits:
    if not found:
        return AcceptedHits.none()
    if len(found) == 1:
        return found[0]
    columns = ("query", "part", "signal", "entry", "bank", "distance")
    return AcceptedHits(*(np.concatenate([getattr(f, c) for f in found]) for c in columns))
