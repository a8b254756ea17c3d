"""Which banks a request searches, at which thresholds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import Bank, BankMode
from featsvc.errors import NotFound
from featsvc.hashing.registry import Algorithm
from featsvc.matching.matches import MatchOptions, Variants

ORIGINAL = "original"
_MADE_KEPT = 256


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Of one algorithm and query variant: per bank position the largest distance that matches.

    -1 where the bank is not searched, and at the end, so that position -1 (no such bank any
    more) matches nothing. `largest` is the radius to search with, -1 for no search; a whole
    number where distances are.
    """

    by_bank: NDArray[np.float64]
    largest: float


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
        )

    def searched(self, options: MatchOptions) -> tuple[int, ...]:
        """Positions of the banks that a request searches. Raises NotFound for an unknown id."""
        for bank_id in options.banks:
            if bank_id not in self.positions:
                raise NotFound(
                    f"options.banks: there is no bank {bank_id[:64]!r}; list the banks",
                    field="options.banks",
                )
        chosen = {self.positions[b] for b in options.banks} or range(len(self.banks))
        return tuple(i for i in sorted(chosen) if self.banks[i].mode is not BankMode.OFF)

    def thresholds(
        self, searched: Sequence[int], kind: Algorithm, variant: str, options: MatchOptions
    ) -> Thresholds:
        """The request's override, else the bank's own, else the algorithm's default."""
        override = options.thresholds.get(kind.name)
        key = kind.name, variant, options.variants, override, tuple(searched)
        if key not in self._made:
            if len(self._made) >= _MADE_KEPT:
                self._made.clear()
            self._made[key] = self._thresholds(searched, kind, variant, options, override)
        return self._made[key]

    def _thresholds(
        self,
        searched: Sequence[int],
        kind: Algorithm,
        variant: str,
        options: MatchOptions,
        override: float | None,
    ) -> Thresholds:
        by_bank = np.full(len(self.banks) + 1, -1.0)
        for i in searched:
            bank = self.banks[i]
            if not _takes(bank, variant, options.variants):
                continue
            own = bank.thresholds.get(kind.name, kind.default_threshold)
            by_bank[i] = own if override is None else override
        largest = float(by_bank.max(initial=-1.0))
        return Thresholds(by_bank, largest if kind.distance.fractional else math.floor(largest))

    def query_variants(self, options: MatchOptions) -> frozenset[str] | None:
        """What a caller should hash besides the original; None stands for every variant."""
        if options.variants is Variants.ALL:
            return None
        if options.variants is Variants.NONE:
            return frozenset()
        return frozenset(v for i in self.searched(options) for v in self.banks[i].query_variants)


def _takes(bank: Bank, variant: str, variants: Variants) -> bool:
    if variant == ORIGINAL or variants is Variants.ALL:
        return True
    return variants is Variants.DEFAULT and variant in bank.query_variants
