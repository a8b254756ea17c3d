"""The banks that a request searches, and their thresholds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import Bank, BankMode
from featsvc.errors import NotFound, shown
from featsvc.matching.matches import DEFAULT_OPTIONS, MatchOptions, Variants
from featsvc.signals.algorithms import Algorithm
from featsvc.signals.variants import ORIGINAL, QUERY_VARIANTS, share_of

_MAX_CACHED = 256


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of one algorithm and query variant, by the position of the bank.

    `by_bank` is the largest distance that matches: -1 where a bank is not searched, and in one more
    element at the end, so that position -1 (a bank that no longer exists) matches nothing.
    `largest` is the search radius, -1 for no search; a whole number unless distances are
    `fractional`. `unscaled` are the banks' thresholds without the `share` of the query variant. An
    entry variant has a share too, and the smaller share applies.
    """

    by_bank: NDArray[np.float64]
    largest: float
    unscaled: NDArray[np.float64]
    share: float
    fractional: bool

    @classmethod
    def of(cls, unscaled: NDArray[np.float64], share: float, *, fractional: bool) -> "Thresholds":
        by_bank = np.where(unscaled > 0, _scaled(unscaled, share, fractional), unscaled)
        largest = float(by_bank.max(initial=-1.0))
        if not fractional:
            largest = math.floor(largest)
        return cls(by_bank, largest, unscaled, share, fractional)

    def for_entries(
        self, bank: NDArray[np.int64], shares: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the thresholds of hits in these banks, whose entry variants have these shares."""
        of_entries = _scaled(self.unscaled[bank], shares, self.fractional)
        return np.where(shares < self.share, of_entries, self.by_bank[bank])

    def for_entry(self, bank: int, entry_variant: str) -> float:
        """Return the threshold of a hit in this bank."""
        share = share_of(entry_variant)
        if share >= self.share:
            return float(self.by_bank[bank])
        threshold = float(self.unscaled[bank]) * share
        return threshold if self.fractional else float(math.floor(threshold))


def _scaled(
    thresholds: NDArray[np.float64], share: float | NDArray[np.float64], fractional: bool
) -> NDArray[np.float64]:
    """Return the share of thresholds; a share of 1 leaves them as they are."""
    scaled = thresholds * share
    return scaled if fractional else np.where(np.equal(share, 1), thresholds, np.floor(scaled))


@dataclass(frozen=True, slots=True)
class BankRules:
    """The banks of a snapshot, by position, with the columns that the rules need."""

    banks: tuple[Bank, ...]
    positions: Mapping[str, int]
    suppressing: NDArray[np.bool_]
    """Safe lists whose matches suppress the others. Those of a safe list in SHADOW do not."""
    safe: NDArray[np.bool_]
    any_suppressing: bool
    safe_lists: frozenset[int]
    """Positions of the safe lists whose matches suppress the others."""
    enabled: tuple[int, ...]
    """Positions of the banks that are not OFF."""
    _defaults: dict[str, Thresholds] = field(default_factory=dict)
    """Thresholds of originals with default options, by algorithm."""
    _cache: dict[tuple[object, ...], Thresholds] = field(default_factory=dict)
    """Thresholds by the options that they depend on, which few requests vary."""

    @classmethod
    def of(cls, banks: Sequence[Bank]) -> "BankRules":
        suppressing = [bank.safe and bank.mode is BankMode.ENFORCE for bank in banks]
        return cls(
            banks=tuple(banks),
            positions={bank.id: i for i, bank in enumerate(banks)},
            suppressing=np.array(suppressing, bool),
            safe=np.array([*(bank.safe for bank in banks), False], bool),
            any_suppressing=any(suppressing),
            safe_lists=frozenset(i for i, suppresses in enumerate(suppressing) if suppresses),
            enabled=tuple(i for i, b in enumerate(banks) if b.mode is not BankMode.OFF),
        )

    def searched_banks(self, options: MatchOptions) -> tuple[int, ...]:
        """Return the positions of the banks to search. Raises NotFound for an unknown id.

        They are those whose matches are returned, and the safe lists that the request must heed.
        """
        if not options.banks:
            return self.enabled
        searched = self.returned_banks(options)
        if options.ignore_safe_lists or self.safe_lists.issubset(searched):
            return searched
        return tuple(sorted(self.safe_lists.union(searched)))

    def returned_banks(self, options: MatchOptions) -> tuple[int, ...]:
        """Return the positions of the banks whose matches are returned, ascending.

        Raises NotFound for an unknown id.
        """
        if not options.banks:
            return self.enabled
        for bank_id in options.banks:
            if bank_id not in self.positions:
                raise NotFound(
                    f"options.banks: there is no bank {shown(bank_id)!r}; list the banks",
                    field="options.banks",
                )
        chosen = {self.positions[b] for b in options.banks}
        return tuple(i for i in self.enabled if i in chosen)

    def is_returned(self, options: MatchOptions) -> NDArray[np.bool_]:
        """Return for each bank whether its matches are returned. Raises NotFound."""
        returned = np.zeros(len(self.banks), bool)
        returned[list(self.returned_banks(options))] = True
        return returned

    def overrides(self, bank: int, kind: Algorithm, options: MatchOptions) -> bool:
        """Return whether the request replaces the threshold of the bank in this position.

        That of an enforced safe list stays: a narrow search must not lose what it suppresses.
        """
        if kind.name not in options.thresholds:
            return False
        return options.ignore_safe_lists or bank not in self.safe_lists

    def thresholds(self, kind: Algorithm, variant: str, options: MatchOptions) -> Thresholds:
        """Return the request's threshold, or else the bank's, or else the algorithm's default.

        Enforced safe lists keep their own; see `overrides`.
        Variants with equal thresholds get the same object, so that they are searched together.
        Raises NotFound for an unknown bank.
        """
        if options is not DEFAULT_OPTIONS or variant != ORIGINAL:
            return self._cached(kind, variant, options)
        thresholds = self._defaults.get(kind.name)
        if thresholds is None:
            thresholds = self._defaults[kind.name] = self._cached(kind, variant, options)
        return thresholds

    def _cached(self, kind: Algorithm, variant: str, options: MatchOptions) -> Thresholds:
        searched = self.searched_banks(options)
        override = options.thresholds.get(kind.name)
        key = kind.name, variant, options.variants, override, searched, options.ignore_safe_lists
        thresholds = self._cache.get(key)
        if thresholds is None:
            unscaled = np.full(len(self.banks) + 1, -1.0)
            for i in searched:
                bank = self.banks[i]
                if _matches_variant(bank, variant, options.variants):
                    of_bank = bank.thresholds.get(kind.name, kind.default_threshold)
                    replaced = override is not None and self.overrides(i, kind, options)
                    unscaled[i] = override if replaced else of_bank
            share, fractional = share_of(variant), kind.distance.fractional
            contents = share, fractional, unscaled.tobytes()
            # Other threads may clear the cache at any moment, so nothing is read from it again.
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            made = Thresholds.of(unscaled, share, fractional=fractional)
            thresholds = self._cache[key] = self._cache.setdefault(contents, made)
        return thresholds

    def query_variants(self, options: MatchOptions) -> frozenset[str]:
        """Return the variants that a caller should hash besides the original. Raises NotFound."""
        if options.variants is Variants.ALL:
            return frozenset(QUERY_VARIANTS)
        if options.variants is Variants.NONE:
            return frozenset()
        return frozenset(
            v for i in self.searched_banks(options) for v in self.banks[i].query_variants
        )


def _matches_variant(bank: Bank, variant: str, variants: Variants) -> bool:
    if variant == ORIGINAL or variants is Variants.ALL:
        return True
    return variants is Variants.DEFAULT and variant in bank.query_variants
