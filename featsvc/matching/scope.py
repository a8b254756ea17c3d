"""Scopes: what a request searches, by algorithm, and which safe lists it heeds.

A scope tells an answer without matches from one that nothing was searched for. It depends on the
snapshot, the algorithms and a few options only, so that it is made once and shared by requests.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featsvc.matching.holdings import Groups, groups_of_rows
from featsvc.matching.matches import MatchOptions
from featsvc.matching.part_search import PartView
from featsvc.matching.parts import NEGATIVE, QUARANTINED
from featsvc.matching.rules import BankRules
from featsvc.signals.algorithms import find_algorithm
from featsvc.signals.hashes import ContentOutcome

MAX_NAMED = 20
"""Banks of an algorithm, safe lists, and banks in a reason, that are named; the rest is counted."""
_MAX_CACHED = 256
_RECOUNT_S = 60
"""Where entries expire, they are counted again after this time."""
_VARIED = "pdq"
"""The only algorithm that variants of a query are hashed by."""


@dataclass(frozen=True, slots=True)
class SearchedAlgorithm:
    """What was searched for one algorithm.

    `banks` are ids, at most MAX_NAMED of `bank_count`. `entries` and `signals` are those that could
    match: they are live and have the labels of the request. `set_aside` signals of the searched
    banks are in no index, so nothing was compared with them. `variants` of the query were tried
    besides the original.
    """

    algorithm: str
    banks: tuple[str, ...]
    bank_count: int
    entries: int
    signals: int
    set_aside: int
    variants: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SearchScope:
    """What a request searches; compared by identity, as it is shared.

    `safe_lists` are ids, at most MAX_NAMED of `safe_list_count`. `not_searched` says what had
    nothing to search, `degraded` which banks hold signals of an algorithm, of which none is
    indexed; each is empty where all is well.
    """

    algorithms: tuple[SearchedAlgorithm, ...]
    safe_lists: tuple[str, ...]
    safe_list_count: int
    not_searched: str
    degraded: str = ""

    def outcome(self, outcome: ContentOutcome, reason: str) -> tuple[ContentOutcome, str]:
        """Return the outcome and reason of an answer, from those of its content."""
        reason = "; ".join(filter(None, (self.not_searched, self.degraded, reason)))
        if self.not_searched:
            return ContentOutcome.NOT_SEARCHED, reason
        if self.degraded and not outcome.undecoded:
            return ContentOutcome.DEGRADED, reason
        return outcome, reason


class ScopeQuery(NamedTuple):
    """The algorithms of a request.

    `planned` are those that it asks for, `searched` those that there are signals of which may
    match. `named`: the caller named `planned`. `content`: the query is content, which has variants.
    """

    planned: tuple[str, ...]
    searched: frozenset[str]
    named: bool
    content: bool


class Scopes:
    """Makes the scopes of one snapshot, and keeps them. Thread-safe."""

    def __init__(self, views: Sequence[PartView], rules: BankRules) -> None:
        self._rules = rules
        self._views = tuple(views)
        self._expiring = any(len(view.holdings.expiring) for view in views)
        self._made: dict[tuple[object, ...], SearchScope] = {}
        self._holdings = _Holdings(self._views, rules)
        self._recount_at = time.monotonic() + _RECOUNT_S

    def scope(self, query: ScopeQuery, options: MatchOptions) -> SearchScope:
        """Return the scope of a request. Raises NotFound for an unknown bank."""
        if self._expiring and time.monotonic() > self._recount_at:
            self._recount_at = time.monotonic() + _RECOUNT_S
            self._holdings = _Holdings(self._views, self._rules)
            self._made = {}
        made = self._made
        key = query, options.banks, options.labels, options.variants, options.ignore_safe_lists
        scope = made.get(key)
        if scope is None:
            scope = _make(self._holdings, self._rules, query, options)
            if len(made) >= _MAX_CACHED:
                made.clear()
            made[key] = scope
        return scope


class _Held(NamedTuple):
    """Entries and signals that can match, int64 by the position of the bank."""

    entries: NDArray[np.int64]
    signals: NDArray[np.int64]


class _Holdings:
    """Counts what can match now: what is withdrawn, expired or quarantined is left out."""

    def __init__(self, views: Sequence[PartView], rules: BankRules) -> None:
        self._rules = rules
        self._groups: dict[str, list[tuple[PartView, Groups, int]]] = {}
        now_us = time.time_ns() // 1000
        for view in views:
            gone = _gone(view, now_us)
            for name, groups in view.holdings.groups.items():
                counted = self._groups.setdefault(name, [])
                counted.append((view, groups, 1))
                if len(gone):
                    index = view.part.indexes[name]
                    counted.append((view, groups_of_rows(view.part, index, gone), -1))
        self._all = {name: self._count(name, frozenset()) for name in self._groups}
        self._none = _Held(*np.zeros((2, len(rules.banks)), np.int64))
        self.set_aside: dict[str, NDArray[np.int64]] = defaultdict(self._none.signals.copy)
        """Signals that are in no index, by algorithm, and by the position of the bank."""
        for view in views:
            for number, (name, _) in enumerate(view.part.strings.causes):
                bank = view.positions[view.set_aside.bank[view.set_aside.cause == number]]
                np.add.at(self.set_aside[name], bank[bank >= 0], 1)
        self.signals = sum((held.signals for held in self._all.values()), self._none.signals)
        """Signals of every algorithm that can match, by the position of the bank."""

    def of(self, algorithm: str, labels: Collection[str] = ()) -> _Held:
        """Return what a bank holds of an algorithm in entries that have all of the labels."""
        if algorithm not in self._all:
            return self._none
        return self._count(algorithm, frozenset(labels)) if labels else self._all[algorithm]

    def algorithms(self, banks: Sequence[int]) -> list[str]:
        """Return the algorithms that any of these banks holds, sorted."""
        at = list(banks)
        return sorted(name for name, held in self._all.items() if held.signals[at].any())

    def _count(self, algorithm: str, labels: frozenset[str]) -> _Held:
        banks = len(self._rules.banks)
        entries, signals = np.zeros(banks, np.int64), np.zeros(banks, np.int64)
        for view, groups, sign in self._groups[algorithm]:
            bank = view.positions[groups.bank]
            keep = (
                (bank >= 0)
                & (groups.flags & QUARANTINED == 0)
                & ((groups.flags & NEGATIVE == 0) | self._rules.safe[bank])
            )
            if labels:
                sets = view.part.strings.labels
                keep &= np.array([labels.issubset(of_set) for of_set in sets], bool)[groups.labels]
            np.add.at(entries, bank[keep], sign * groups.entries[keep])
            np.add.at(signals, bank[keep], sign * groups.signals[keep])
        return _Held(entries, signals)


def _gone(view: PartView, now_us: int) -> NDArray[np.int64]:
    """Return the rows of withdrawn and expired entries."""
    expiring = view.holdings.expiring
    if not len(expiring):
        return view.withdrawn
    expired = expiring[view.part.entries.expire_us[expiring] <= now_us]
    return np.union1d(view.withdrawn, expired)


def _make(
    holdings: _Holdings, rules: BankRules, query: ScopeQuery, options: MatchOptions
) -> SearchScope:
    banks = rules.returned_banks(options)
    at = list(banks)
    held = {name: holdings.of(name, options.labels) for name in query.planned}
    tried = tuple(sorted(rules.query_variants(options))) if query.content else ()
    none = np.zeros(len(rules.banks), np.int64)
    algorithms = []
    for name in query.planned:
        if name in query.searched:
            ids = [rules.banks[i].id for i in banks if held[name].signals[i]]
            algorithms.append(
                SearchedAlgorithm(
                    algorithm=name,
                    banks=tuple(ids[:MAX_NAMED]),
                    bank_count=len(ids),
                    entries=int(held[name].entries[at].sum()),
                    signals=int(held[name].signals[at].sum()),
                    set_aside=int(holdings.set_aside.get(name, none)[at].sum()),
                    variants=tried if name == _VARIED else (),
                )
            )
    heeded = () if options.ignore_safe_lists else sorted(rules.safe_lists)
    safe_lists = [
        rules.banks[i].id
        for i in heeded
        if any(holdings.of(name).signals[i] for name in query.searched)
    ]
    lacking = [name for name in query.planned if not held[name].signals[at].any()]
    idle = (
        *_idle_banks(holdings, rules, banks, options),
        *_idle_algorithms(holdings, query, banks, options, lacking),
    )
    return SearchScope(
        tuple(algorithms),
        tuple(safe_lists[:MAX_NAMED]),
        len(safe_lists),
        "; ".join(idle),
        "; ".join(_unindexed(holdings, rules, banks, query)),
    )


def _unindexed(
    holdings: _Holdings, rules: BankRules, banks: Sequence[int], query: ScopeQuery
) -> Iterable[str]:
    """Say which banks hold signals of an algorithm of the query, and none of them is indexed.

    An algorithm that this build does not know may be one of any content.
    """
    for name, set_aside in sorted(holdings.set_aside.items()):
        unknown = find_algorithm(name) is None and query.content and not query.named
        if name not in query.planned and not unknown:
            continue
        held = holdings.of(name).signals
        if lacking := [i for i in banks if set_aside[i] and not held[i]]:
            yield (
                f"{_names(rules, lacking)}: no signal of {name} can be compared by this server; "
                "GetIndexStatus says why"
            )


def _idle_banks(
    holdings: _Holdings, rules: BankRules, banks: Sequence[int], options: MatchOptions
) -> Iterable[str]:
    """Say which banks had nothing to search: each that the caller named, or else all together."""
    named = sorted({rules.positions[bank] for bank in options.banks})
    if off := [i for i in named if i not in banks]:
        yield f"options.banks: {_names(rules, off)}: OFF, so never searched; set another mode"
    if empty := [i for i in named if i in banks and not holdings.signals[i]]:
        yield f"options.banks: {_names(rules, empty)}: no live entry that may match; add entries"
    if not named and not banks:
        yield "there is no bank that is not OFF; create one, or set another mode"
    elif not named and not holdings.signals[list(banks)].any():
        yield "no bank has a live entry that may match; add entries"


def _idle_algorithms(
    holdings: _Holdings,
    query: ScopeQuery,
    banks: Sequence[int],
    options: MatchOptions,
    lacking: Sequence[str],
) -> Iterable[str]:
    """Say why there was no signal of `lacking`: each that the caller named, or else all together.

    Says nothing where the banks hold nothing at all.
    """
    at = list(banks)
    if not (query.named or len(lacking) == len(query.planned)) or not holdings.signals[at].any():
        return
    unlabelled = [name for name in lacking if holdings.of(name).signals[at].any()]
    if unlabelled:
        yield (
            f"options.labels: no live entry with a signal of {_listed(unlabelled)} in the searched "
            f"banks has all of the labels {', '.join(options.labels)}"
        )
    others = [name for name in lacking if name not in unlabelled]
    if others and (query.named or not unlabelled):
        yield (
            f"no searched bank holds signals of {_listed(others)}; they hold signals of "
            f"{_listed(holdings.algorithms(banks))}"
        )


def _names(rules: BankRules, banks: Sequence[int]) -> str:
    return _listed([rules.banks[i].id for i in banks])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
