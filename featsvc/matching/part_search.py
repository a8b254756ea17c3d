"""Searches the parts of a snapshot and applies the rules, both in columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import Bank
from featsvc.matching.engines import FAMILIES
from featsvc.matching.hits import Distances, RawHits, hit_ends, hit_queries
from featsvc.matching.holdings import PartHoldings
from featsvc.matching.parts import NEGATIVE, QUARANTINED, Part, SignalIndex
from featsvc.matching.rules import BankRules, Thresholds
from featsvc.matching.set_aside import SetAsideColumns
from featsvc.matching.values import Values
from featsvc.signals.variants import share_of

_I64: TypeAlias = NDArray[np.int64]


class AcceptedHit(NamedTuple):
    """One hit that the rules accept, as in AcceptedHits.

    Hits sort nearest first, then by query, then in the order of parts and rows.
    """

    distance: float
    query: int
    part: int
    signal: int
    entry: int
    bank: int


@dataclass(frozen=True, slots=True)
class AcceptedHits:
    """Hits that the rules accept, in columns.

    The columns are the distance (float64 where fractional), the number of the query, the number of
    the part, the rows of the signal and of its entry in that part, and the position of the bank.
    """

    distance: Distances
    query: _I64
    part: _I64
    signal: _I64
    entry: _I64
    bank: _I64

    def __len__(self) -> int:
        return len(self.query)

    def take(self, selection: NDArray[np.generic]) -> "AcceptedHits":
        """Return the hits that a mask or row numbers select."""
        return AcceptedHits(*(getattr(self, name)[selection] for name in self.__slots__))

    def hit(self, i: int) -> AcceptedHit:
        """Return hit i."""
        return AcceptedHit(
            self.distance.item(i),
            self.query.item(i),
            self.part.item(i),
            self.signal.item(i),
            self.entry.item(i),
            self.bank.item(i),
        )

    def nearest_first(self) -> "AcceptedHits":
        """Sort by query, then distance, then part and row."""
        if len(self) <= 1:
            return self
        return self.take(np.lexsort((self.signal, self.part, self.distance, self.query)))


def join_hits(hits: Sequence[AcceptedHits]) -> AcceptedHits:
    """Concatenate hits."""
    if len(hits) == 1:
        return hits[0]
    if not hits:
        return AcceptedHits(*[np.empty(0, np.int64)] * len(AcceptedHits.__slots__))
    columns = ([getattr(h, name) for h in hits] for name in AcceptedHits.__slots__)
    return AcceptedHits(*map(np.concatenate, columns))


@dataclass(frozen=True, slots=True)
class PartView:
    """A part as a snapshot searches it.

    - `withdrawn`: rows of the entries that were withdrawn since the part was built, ascending.
    - `positions`: for each bank of the part its position in the snapshot, -1 where it is deleted.
    - `choices`: the banks that chose an engine, by engine.
    - `holdings`: what the part holds, withdrawn entries included.
    - `set_aside`: the signals of live entries that no index holds.
    - `shares`: the share of the threshold of each variant in the part; None where all are 1.
    """

    part: Part
    withdrawn: _I64
    positions: _I64
    choices: tuple[tuple[str, tuple[str, ...]], ...]
    holdings: PartHoldings
    set_aside: SetAsideColumns
    shares: NDArray[np.float64] | None = None

    @classmethod
    def of(
        cls,
        part: Part,
        withdrawn: _I64,
        banks: Sequence[Bank],
        holdings: PartHoldings,
        set_aside: SetAsideColumns,
    ) -> "PartView":
        position = {bank.id: i for i, bank in enumerate(banks)}
        in_part = frozenset(part.strings.banks)
        chosen: dict[str, list[str]] = {}
        for bank in banks:
            if bank.engine != "auto" and bank.id in in_part:
                chosen.setdefault(bank.engine, []).append(bank.id)
        positions = np.array([position.get(b, -1) for b in part.strings.banks], np.int64)
        choices = tuple((engine, tuple(ids)) for engine, ids in sorted(chosen.items()))
        shares = np.array([share_of(variant) for variant in part.strings.variants], np.float64)
        varied = shares if (shares < 1).any() else None
        return cls(part, withdrawn, positions, choices, holdings, set_aside, varied)

    def search(self, index: SignalIndex, queries: Values, radius: float) -> RawHits:
        """Search an index of this part, with the chosen engine for a bank that chose one."""
        hits = index.engine.search(queries, radius)
        known = FAMILIES[index.kind.distance].choices
        choices = [choice for choice in self.choices if choice[0] in known]
        if not choices:
            return hits
        choosers = {bank for _, banks in choices for bank in banks}
        numbers = [i for i, bank in enumerate(self.part.strings.banks) if bank in choosers]
        others = ~np.isin(self.part.entries.bank[index.entry[hits.rows]], numbers)
        query = [hit_queries(hits)[others]]
        rows, distances = [hits.rows[others]], [hits.distances[others]]
        for choice, banks in choices:
            subset, engine = self.part.subset(index.kind.name, choice, banks)
            chosen = engine.search(queries, radius)
            query.append(hit_queries(chosen))
            rows.append(subset[chosen.rows])
            distances.append(chosen.distances)
        joined = np.concatenate(query)
        order = np.argsort(joined, kind="stable")
        ends = hit_ends(joined, len(queries))
        return RawHits(ends, np.concatenate(rows)[order], np.concatenate(distances)[order])


class IndexedPart(NamedTuple):
    """The index of one algorithm in part `number` of a snapshot."""

    number: int
    view: PartView
    signals: SignalIndex


IndexedParts: TypeAlias = Sequence[IndexedPart]
"""The parts of a snapshot that have signals of one algorithm."""


class PartHits(NamedTuple):
    """The hits of a search of part `number` of a snapshot."""

    number: int
    view: PartView
    signals: SignalIndex
    hits: RawHits


def parts_by_algorithm(views: Sequence[PartView]) -> dict[str, IndexedParts]:
    """Return the parts that have signals of an algorithm, by its name."""
    parts: dict[str, list[IndexedPart]] = {}
    for number, view in enumerate(views):
        for name, index in view.part.indexes.items():
            parts.setdefault(name, []).append(IndexedPart(number, view, index))
    return {name: tuple(indexed) for name, indexed in parts.items()}


def search_parts(parts: IndexedParts, queries: Values, radius: float) -> list[PartHits]:
    """Search parts, without the rules yet. Returns those with hits.

    `queries` have the form of the indexed values.
    """
    found: list[PartHits] = []
    for part in parts:
        if part.view.choices:
            hits = part.view.search(part.signals, queries, radius)
        else:
            hits = part.signals.engine.search(queries, radius)
        if len(hits.rows):
            found.append(PartHits(part.number, part.view, part.signals, hits))
    return found


def apply_rules(
    parts: Sequence[PartHits], rules: BankRules, thresholds: Thresholds, now_us: int
) -> AcceptedHits:
    """Return the hits of live entries that the rules accept, unsorted."""
    return join_hits([_apply_rules(part, rules, thresholds, now_us) for part in parts])


def _apply_rules(
    part: PartHits, rules: BankRules, thresholds: Thresholds, now_us: int
) -> AcceptedHits:
    number, view, index, hits = part
    entries = view.part.entries
    entry = index.entry[hits.rows].astype(np.int64)
    bank = view.positions[entries.bank[entry]]
    flags = entries.flags[entry]
    largest = thresholds.by_bank[bank]
    if view.shares is not None:
        largest = thresholds.for_entries(bank, view.shares[index.variant[hits.rows]])
    accepted = (
        (hits.distances <= largest)
        & (entries.expire_us[entry] > now_us)
        & (flags & QUARANTINED == 0)
        & ((flags & NEGATIVE == 0) | rules.safe[bank])
    )
    if len(view.withdrawn):
        at = np.searchsorted(view.withdrawn, entry)
        accepted &= view.withdrawn[np.minimum(at, len(view.withdrawn) - 1)] != entry
    numbers = np.full(len(entry), number, np.int64)
    every = AcceptedHits(hits.distances, hit_queries(hits), numbers, hits.rows, entry, bank)
    return every if accepted.all() else every.take(accepted)


def apply_rules_to_few(
    parts: Sequence[PartHits], rules: BankRules, thresholds: Thresholds, now_us: int
) -> list[AcceptedHit]:
    """Do the same as `apply_rules`, sorted, for so few hits that arrays would be slower."""
    accepted: list[AcceptedHit] = []
    for number, view, index, hits in parts:
        entries, withdrawn = view.part.entries, view.withdrawn
        queries = hit_queries(hits).tolist()
        for i, (row, distance) in enumerate(
            zip(hits.rows.tolist(), hits.distances.tolist(), strict=True)
        ):
            entry = index.entry.item(row)
            bank = view.positions.item(entries.bank.item(entry))
            flags = entries.flags.item(entry)
            if (
                distance > _threshold(view, index, row, bank, thresholds)
                or entries.expire_us.item(entry) <= now_us
                or flags & QUARANTINED
                or (flags & NEGATIVE and not rules.safe.item(bank))
            ):
                continue
            if len(withdrawn):
                at = int(np.searchsorted(withdrawn, entry))
                if at < len(withdrawn) and withdrawn.item(at) == entry:
                    continue
            accepted.append(AcceptedHit(distance, queries[i], number, row, entry, bank))
    if len(accepted) > 1:
        accepted.sort()
    return accepted


def _threshold(
    view: PartView, index: SignalIndex, row: int, bank: int, thresholds: Thresholds
) -> float:
    """Return the largest distance at which the signal in `row` matches."""
    if view.shares is None:
        return thresholds.by_bank.item(bank)
    return thresholds.for_entry(bank, view.part.strings.variants[index.variant.item(row)])


def filter_labels(
    views: Sequence[PartView], hits: AcceptedHits, labels: frozenset[str]
) -> AcceptedHits:
    """Return the hits whose entries have all the labels."""
    keep = np.ones(len(hits), bool)
    for number, view in enumerate(views):
        in_part = np.flatnonzero(hits.part == number)
        label_sets = view.part.entries.labels[hits.entry[in_part]]
        strings = view.part.strings.labels
        matching = [i for i in np.unique(label_sets) if labels.issubset(strings[i])]
        keep[in_part] = np.isin(label_sets, matching)
    return hits.take(keep)
