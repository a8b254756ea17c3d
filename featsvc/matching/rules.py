"""Which banks a request searches, at which thresholds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import Bank, BankMode
from featsvc.errors import NotFound
from featsvc.matching.matches import DEFAULT_OPTIONS, MatchOptions, Variants
from featsvc.signals.algorithms import Algorithm
from featsvc.signals.variants import ORIGINAL, QUERY_VARIANTS, share_of

_MADE_KEPT = 256


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Of one algorithm and query variant: per bank position the largest distance that matches.

    -1 where the bank is not searched, and at the end, so that position -1 (no such bank any
    more) matches nothing. `largest` is the radius to search with, -1 for no search; a whole
    number where distances are (not `fractional`). A query variant has its `share` of the bank's
    threshold, `whole`; an entry variant has its own share, and the smaller one holds.
    """

    by_bank: NDArray[np.float64]
    largest: float
    whole: NDArray[np.float64]
    share: float
    fractional: bool

    @classmethod
    def of(cls, whole: NDArray[np.float64], share: float, *, fractional: bool) -> "Thresholds":
        by_bank = np.where(whole > 0, _part(whole, share, fractional), whole)
        largest = float(by_bank.max(initial=-1.0))
        if not fractional:
            largest = math.floor(largest)
        return cls(by_bank, largest, whole, share, fractional)

    def for_entries(
        self, bank: NDArray[np.int64], shares: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Of hits in these banks, by the share of each one's entry variant."""
        of_entry = _part(self.whole[bank], shares, self.fractional)
        return np.where(shares < self.share, of_entry, self.by_bank[bank])

    def at(self, bank: int, entry_variant: str) -> float:
        """The one that applied to a hit."""
        share = share_of(entry_variant)
        if share >= self.share:
            return float(self.by_bank[bank])
        threshold = float(self.whole[bank]) * share
        return threshold if self.fractional else float(math.floor(threshold))


def _part(
    whole: NDArray[np.float64], share: float | NDArray[np.float64], fractional: bool
) -> NDArray[np.float64]:
    """The share of a threshold; the original's is left as it was given."""
    part = whole * share
    return part if fractional else np.where(np.equal(share, 1), whole, np.floor(part))


@dataclass(frozen=True, slots=True)
class BankRules:
    """The banks of a snapshot, by position, with what the rules ask of them as columns."""

    banks: tuple[Bank, ...]
    positions: Mapping[str, int]
    acting_safe: NDArray[np.bool_]
    """Safe lists whose matches suppress: a safe list in SHADOW is only watched."""
    safe: NDArray[np.bool_]
    suppressing: bool
    """Whether any of them acts."""
    everywhere: tuple[int, ...]
    """Positions of the banks that are not OFF."""
    _usual: dict[str, Thresholds] = field(default_factory=dict)
    """By algorithm, where a request asks for nothing else."""
    _made: dict[tuple[object, ...], Thresholds] = field(default_factory=dict)
    """Thresholds by what they were made for: most requests ask for the same few."""

    @classmethod
    def of(cls, banks: Sequence[Bank]) -> "BankRules":
        return cls(
            banks=tuple(banks),
            positions={bank.id: i for i, bank in enumerate(banks)},
            acting_safe=np.array([b.safe and b.mode is BankMode.ENFORCE for b in banks], bool),
            safe=np.array([*(b.safe for b in banks), False], bool),
            suppressing=any(b.safe and b.mode is BankMode.ENFORCE for b in banks),
            everywhere=tuple(i for i, b in enumerate(banks) if b.mode is not BankMode.OFF),
        )

    def searched(self, options: MatchOptions) -> tuple[int, ...]:
        """Positions of the banks that a request searches. Raises NotFound for an unknown id."""
        if not options.banks:
            return self.everywhere
        for bank_id in options.banks:
            if bank_id not in self.positions:
                raise NotFound(
                    f"options.banks: there is no bank {bank_id[:64]!r}; list the banks",
                    field="options.banks",
                )
        chosen = {self.positions[b] for b in options.banks}
        return tuple(i for i in self.everywhere if i in chosen)

    def thresholds(self, kind: Algorithm, variant: str, options: MatchOptions) -> Thresholds:
        """The request's override, else the bank's own, else the algorithm's default.

        Variants with the same ones have the same object, so that they are searched together.
        Raises NotFound for an unknown bank.
        """
        if options is not DEFAULT_OPTIONS or variant != ORIGINAL:
            return self._asked_for(kind, variant, options)
        usual = self._usual.get(kind.name)
        if usual is None:
            usual = self._usual[kind.name] = self._asked_for(kind, variant, options)
        return usual

    def _asked_for(self, kind: Algorithm, variant: str, options: MatchOptions) -> Thresholds:
        searched = self.searched(options)
        override = options.thresholds.get(kind.name)
        key = kind.name, variant, options.variants, override, searched
        if key not in self._made:
            if len(self._made) >= _MADE_KEPT:
                self._made.clear()
            made = self._thresholds(searched, kind, variant, options, override)
            same = made.share, made.fractional, made.whole.tobytes()
            self._made[key] = self._made.setdefault(same, made)
        return self._made[key]

    def _thresholds(
        self,
        searched: Sequence[int],
        kind: Algorithm,
        variant: str,
        options: MatchOptions,
        override: float | None,
    ) -> Thresholds:
        whole = np.full(len(self.banks) + 1, -1.0)
        for i in searched:
            bank = self.banks[i]
            if not _takes(bank, variant, options.variants):
                continue
            own = bank.thresholds.get(kind.name, kind.default_threshold)
            whole[i] = own if override is None else override
        share = share_of(variant)
        return Thresholds.of(whole, share, fractional=kind.distance.fractional)

    def query_variants(self, options: MatchOptions) -> frozenset[str]:
        """What a caller should hash besides the original. Raises NotFound as `searched` does."""
        if options.variants is Variants.ALL:
            return frozenset(QUERY_VARIANTS)
        if options.variants is Variants.NONE:
            return frozenset()
        return frozenset(v for i in self.searched(options) for v in self.banks[i].query_variants)


def _takes(bank: Bank, variant: str, variants: Variants) -> bool:
    if variant == ORIGINAL or variants is Variants.ALL:
        return True
    return variants is Variants.DEFAULT and variant in bank.query_variants
