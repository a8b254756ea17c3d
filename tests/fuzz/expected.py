"""What a search must answer: every stored signal compared with every signal of the query.

Nothing is indexed, cached or cut early. Rules are read from the settings of banks and the options
of the request, as `docs/curators.md` and the contract describe them, not from `featsvc.matching`.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import Bank, BankMode, Opinion, StoreHead
from featsvc.banks.sql.stored import SignalRow, split_stored_labels
from featsvc.banks.sql.view import StoreView
from featsvc.matching.matches import MAX_EVIDENCE, Evidence, Match, MatchOptions, MatchResult
from featsvc.matching.matches import Variants as Searched
from featsvc.signals.algorithms import Algorithm, get_algorithm
from featsvc.signals.distance import EQUALITY, HAMMING
from featsvc.signals.signal import Signal
from featsvc.signals.variants import VARIANTS


@dataclass(frozen=True)
class State:
    """All that a store holds at one revision: banks, and live signals in the order of versions."""

    head: StoreHead
    banks: dict[str, Bank]
    rows: dict[str, list[SignalRow]]

    @classmethod
    def of(cls, view: StoreView) -> "State":
        rows: dict[str, list[SignalRow]] = defaultdict(list)
        for row in view.live_signals():
            rows[row.algorithm].append(row)
        return cls(view.head, {bank.id: bank for bank in view.banks()}, dict(rows))


class _Hit(NamedTuple):
    """Hits sort by their first four fields: equal shares by group, query signal and version."""

    share: float
    group: int
    number: int
    row_number: int
    query: Signal
    row: SignalRow
    bank: Bank
    distance: float
    threshold: float


def heeded_safe_lists(state: State, options: MatchOptions) -> set[str]:
    """Return the banks whose hits suppress the other matches.

    These are the safe lists in ENFORCE, whatever banks, labels and limits a request names, unless
    it says `ignore_safe_lists`.
    """
    return {
        bank.id
        for bank in state.banks.values()
        if bank.safe and bank.mode is BankMode.ENFORCE and not options.ignore_safe_lists
    }


def threshold_of(
    state: State, bank: Bank, kind: Algorithm, options: MatchOptions
) -> tuple[float, bool]:
    """Return a bank's threshold in a request, and whether the request replaced it.

    A safe list that suppresses keeps its own.
    """
    if kind.name in options.thresholds and bank.id not in heeded_safe_lists(state, options):
        return options.thresholds[kind.name], True
    return bank.thresholds.get(kind.name, kind.default_threshold), False


def returned(bank: Bank, options: MatchOptions) -> bool:
    """Return whether matches of the bank are returned."""
    return bank.mode is not BankMode.OFF and (not options.banks or bank.id in options.banks)


def expected(
    state: State, signals: Sequence[Signal], options: MatchOptions, now_us: int
) -> MatchResult:
    """Return the matches of signals that are of ONE piece of content."""
    low_quality = False
    groups: dict[object, list[Signal]] = {}
    for signal in signals:
        floor = signal.algorithm.quality_floor
        poor = signal.quality is not None and floor is not None and signal.quality < floor
        # A plain picture has no PDQ but zeros, whatever quality comes with it.
        poor |= signal.algorithm.name == "pdq" and not any(signal.value)
        if poor and not (options.match_low_quality and signal.variant == "original"):
            low_quality |= signal.variant == "original"
            continue
        groups.setdefault(_group(state, signal, options), []).append(signal)
    hits = sorted(
        (
            hit
            for group, queries in enumerate(groups.values())
            for number, query in enumerate(queries)
            for hit in _hits(state, query, options, now_us, (group, number))
        ),
        key=lambda hit: hit[:4],
    )
    heeded = heeded_safe_lists(state, options)
    suppressing = any(hit.bank.id in heeded for hit in hits)
    labels = set(options.labels)
    shown = [
        hit
        for hit in hits
        if returned(hit.bank, options) and labels <= set(split_stored_labels(hit.row.labels))
    ]
    return MatchResult(*_matches(state, shown, options, suppressing), low_quality)


def searched(state: State, kind: Algorithm, options: MatchOptions, now_us: int) -> bool:
    """Return whether there was anything to search for a signal, in every bank that is named."""
    live = {
        name: [row for row in rows if _may_match(state.banks[row.bank_id], row, now_us)]
        for name, rows in state.rows.items()
    }
    holding = {row.bank_id for rows in live.values() for row in rows}
    for bank_id in options.banks:
        if state.banks[bank_id].mode is BankMode.OFF or bank_id not in holding:
            return False
    return any(
        returned(state.banks[row.bank_id], options)
        and set(options.labels) <= set(split_stored_labels(row.labels))
        for row in live.get(kind.name, [])
    )


def _may_match(bank: Bank, row: SignalRow, now_us: int) -> bool:
    """Return whether a live signal may match at all: it is the version that is computed here."""
    expired = row.expire_time is not None and row.expire_time <= now_us
    against = row.opinion == Opinion.NEGATIVE.value and not bank.safe
    current = row.algorithm_version == get_algorithm(row.algorithm).version
    return current and not (row.quarantined or expired or against)


def _share(variant: str) -> float:
    return VARIANTS[variant].share if variant in VARIANTS else 1.0


def _searched(bank: Bank, variant: str, options: MatchOptions, heeded: set[str]) -> bool:
    """Return whether the bank is searched for this variant of the query."""
    if not returned(bank, options) and bank.id not in heeded:
        return False
    if variant == "original" or options.variants is Searched.ALL:
        return True
    return options.variants is Searched.DEFAULT and variant in bank.query_variants


def _group(state: State, signal: Signal, options: MatchOptions) -> object:
    """Signals with one algorithm and equal thresholds are one group, in the order of the query."""
    kind, heeded = signal.algorithm, heeded_safe_lists(state, options)
    thresholds = tuple(
        threshold_of(state, bank, kind, options)[0]
        if _searched(bank, signal.variant, options, heeded)
        else -1
        for bank in state.banks.values()
    )
    return kind.name, _share(signal.variant), thresholds


def _hits(
    state: State, query: Signal, options: MatchOptions, now_us: int, place: tuple[int, int]
) -> Iterator[_Hit]:
    kind, heeded = query.algorithm, heeded_safe_lists(state, options)
    rows = state.rows.get(kind.name, [])
    distances = _distances(kind, query.value, rows)
    largest = kind.largest_distance or 1
    for number, row in enumerate(rows):
        bank = state.banks[row.bank_id]
        if not _searched(bank, query.variant, options, heeded):
            continue
        if not _may_match(bank, row, now_us):
            continue
        threshold, _ = threshold_of(state, bank, kind, options)
        share = min(_share(query.variant), _share(row.variant))
        if share < 1:
            threshold *= share
            threshold = threshold if kind.distance.fractional else math.floor(threshold)
        distance = distances[number]
        if distance <= threshold:
            yield _Hit(
                distance / largest, *place, number, query, row, bank, distance, float(threshold)
            )


def _distances(kind: Algorithm, value: bytes, rows: Sequence[SignalRow]) -> list[float]:
    if kind.distance is EQUALITY:
        return [0 if row.value == value else math.inf for row in rows]
    if kind.distance is HAMMING:
        query = int.from_bytes(value)
        return [(int.from_bytes(row.value) ^ query).bit_count() for row in rows]
    return [kind.distance.compare(kind, value, row.value) for row in rows]


def _matches(
    state: State, hits: Sequence[_Hit], options: MatchOptions, suppressing: bool
) -> tuple[tuple[Match, ...], bool]:
    """Return the matches and whether there are more."""
    of_entry: dict[int, list[_Hit]] = {}
    of_algorithm: dict[str, set[int]] = defaultdict(set)
    for hit in hits:
        nearest = of_algorithm[hit.row.algorithm]
        if options.top_k and len(nearest | {hit.row.version}) > options.top_k:
            continue
        nearest.add(hit.row.version)
        of_entry.setdefault(hit.row.version, []).append(hit)
    limit = options.max_results or 100
    entries = list(of_entry.values())
    made = tuple(_match(state, found, options, suppressing) for found in entries[:limit])
    return made, len(entries) > limit


def _match(state: State, hits: Sequence[_Hit], options: MatchOptions, suppressing: bool) -> Match:
    first = hits[0]
    row, query, bank = first.row, first.query, first.bank
    return Match(
        bank=bank.id,
        entry_id=row.id,
        external_id=row.external_id,
        algorithm=query.algorithm,
        distance=first.distance,
        threshold=first.threshold,
        threshold_overridden=threshold_of(state, bank, query.algorithm, options)[1],
        query_variant=query.variant,
        entry_variant=row.variant,
        mode=bank.mode,
        labels=split_stored_labels(row.labels),
        source=row.source,
        entry_signal=row.value,
        query_signal=query.value,
        safe=bank.safe,
        suppressed=suppressing and not bank.safe,
        evidence=tuple(
            Evidence(
                get_algorithm(hit.row.algorithm),
                hit.distance,
                hit.threshold,
                hit.query.variant,
                hit.row.variant,
                hit.row.value,
            )
            for hit in hits[1 : MAX_EVIDENCE + 1]
        ),
        frame=query.frame,
    )


def packed(values: Sequence[bytes]) -> NDArray[np.uint8]:
    """Return values of one length as rows."""
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)
