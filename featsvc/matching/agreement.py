"""Whether parts hold all that the banks of the store count.

A store that is half restored lacks entries, and nothing else tells: served as it is, what it lacks
would be "no match". So entries and signals are counted in the parts, and compared with the counts
that every change of a bank keeps.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import Bank
from featsvc.banks.sql.failures import unavailable
from featsvc.errors import Unavailable
from featsvc.matching.building import part_name
from featsvc.matching.holdings import Groups, PartHoldings, groups_of_rows
from featsvc.matching.parts import Part
from featsvc.matching.set_aside import SetAsideColumns
from featsvc.signals.algorithms import Kind, find_algorithm

_Signals = Counter[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class BankCounts:
    """Live entries of each bank, and their signals by bank and algorithm.

    Expired and quarantined entries count, and signals that are set aside. Signals of algorithms
    that are never matched do not: no part has them.
    """

    entries: Counter[str]
    signals: _Signals

    @classmethod
    def of(cls, part: Part, holdings: PartHoldings) -> "BankCounts":
        """Count all of a part."""
        names = part.strings.banks
        by_bank = np.bincount(part.entries.bank, minlength=len(names)).tolist()
        counts = cls(Counter(dict(zip(names, by_bank, strict=False))), Counter())
        for name, groups in holdings.groups.items():
            counts._add_groups(names, name, groups)
        counts._add_set_aside(part, part.set_aside)
        return counts

    @classmethod
    def of_rows(
        cls, part: Part, rows: NDArray[np.int64], set_aside: SetAsideColumns
    ) -> "BankCounts":
        """Count some entries of a part: `rows` are theirs, distinct, `set_aside` their signals."""
        names = part.strings.banks
        entries = Counter(names[bank] for bank in part.entries.bank[rows].tolist())
        counts = cls(entries, Counter())
        for name, index in part.indexes.items():
            counts._add_groups(names, name, groups_of_rows(part, index, rows))
        counts._add_set_aside(part, set_aside)
        return counts

    @classmethod
    def total(cls, counts: Iterable["BankCounts"]) -> "BankCounts":
        total = cls(Counter(), Counter())
        for more in counts:
            total.entries.update(more.entries)
            total.signals.update(more.signals)
        return total

    def without(self, fewer: "BankCounts") -> "BankCounts":
        left = BankCounts(self.entries.copy(), self.signals.copy())
        left.entries.subtract(fewer.entries)
        left.signals.subtract(fewer.signals)
        return left

    def _add_groups(self, banks: Sequence[str], algorithm: str, groups: Groups) -> None:
        by_bank = np.bincount(groups.bank, groups.signals).astype(np.int64)
        for bank in np.flatnonzero(by_bank).tolist():
            self.signals[banks[bank], algorithm] += by_bank.item(bank)

    def _add_set_aside(self, part: Part, columns: SetAsideColumns) -> None:
        if not len(columns):
            return
        banks, causes = part.strings.banks, part.strings.causes
        pairs = np.stack([columns.bank, columns.cause], axis=1)
        distinct, counts = np.unique(pairs, axis=0, return_counts=True)
        for (bank, cause), count in zip(distinct.tolist(), counts.tolist(), strict=True):
            algorithm = causes[cause][0]
            if _is_matched(algorithm):
                self.signals[banks[bank], algorithm] += count
        # The part has no row of a damaged entry.
        versions, first = np.unique(columns.version, return_index=True)
        damaged = first[~np.isin(versions, part.entries.version)]
        self.entries.update(banks[bank] for bank in columns.bank[damaged].tolist())


def check_counts(held: BankCounts, banks: Sequence[Bank]) -> None:
    """Compare what is held with what the banks count. Raises Unavailable for a difference."""
    if difference := _difference(held, banks):
        raise unavailable(
            f"half restored: {difference}; finish restoring, or restore it again. If nothing was "
            "restored, the counts of the bank are wrong: run featsvc bank recount"
        )


def check_models(banks: Iterable[Bank], dimensions: Mapping[str, int]) -> None:
    """Raises Unavailable for vectors whose length the store does not know.

    `dimensions` are those of the vectors of each model in the store.
    """
    names = {name for bank in banks for name, count in bank.signal_counts.items() if count > 0}
    for name in sorted(names - dimensions.keys()):
        kind = find_algorithm(name)
        if kind is not None and kind.kind is Kind.VECTOR:
            raise _half_restored(f"banks count vectors of {name}, vector_models lacks it")


def _half_restored(finding: str) -> Unavailable:
    return unavailable(f"half restored: {finding}; finish restoring, or restore it again")


def _difference(held: BankCounts, banks: Sequence[Bank]) -> str:
    counted = {bank.id: bank for bank in banks}
    signals: dict[str, dict[str, int]] = {}
    for (bank_id, algorithm), count in held.signals.items():
        if count:
            signals.setdefault(bank_id, {})[algorithm] = count
    for bank_id, entries in held.entries.items():
        if entries and bank_id not in counted:
            return f"{entries} entries are of bank {bank_id!r}, which banks lacks"
    names = _names_in_parts(banks)
    for bank in banks:
        entries = held.entries[bank.id]
        if entries != bank.entry_count:
            return f"bank {bank.id!r} counts {bank.entry_count} entries, {entries} are there"
        found, expected = signals.get(bank.id, {}), _expected(bank, names)
        # The name of an algorithm may be damaged: such signals are set aside under another one.
        if found != expected and (
            sum(found.values()) != sum(expected.values()) or _has_surplus(found, expected)
        ):
            return (
                f"bank {bank.id!r} counts {sum(expected.values())} signals, "
                f"{sum(found.values())} are there"
            )
    return ""


def _names_in_parts(banks: Iterable[Bank]) -> dict[str, str]:
    """Return the name that parts have for each algorithm that banks count, if it is matched."""
    names = {name for bank in banks for name in bank.signal_counts}
    return {name: part_name(name) for name in names if _is_matched(name)}


def _expected(bank: Bank, names: Mapping[str, str]) -> dict[str, int]:
    """Return the signals that a bank counts, by the names that parts have."""
    expected: dict[str, int] = {}
    for name, count in bank.signal_counts.items():
        if (in_part := names.get(name)) is not None:
            expected[in_part] = expected.get(in_part, 0) + count
    return expected


def _has_surplus(found: Mapping[str, int], expected: Mapping[str, int]) -> bool:
    return any(
        count > expected.get(name, 0)
        for name, count in found.items()
        if find_algorithm(name) is not None
    )


def _is_matched(algorithm: str) -> bool:
    kind = find_algorithm(algorithm)
    return kind is None or kind.matched
