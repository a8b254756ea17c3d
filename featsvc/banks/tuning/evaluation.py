"""Evaluates the thresholds of a bank with samples that are known to belong to it or not.

Confidence intervals are Wilson's at 95 % (E. B. Wilson, "Probable inference, the law of
succession, and statistical inference", 1927, eq. 5), which also hold for rates near 0.
"""

import importlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement

from featsvc.banks.records import Entry
from featsvc.banks.sql.schema import entries
from featsvc.banks.sql.vector_models import check_dimensions
from featsvc.banks.sql.view import StoreView
from featsvc.banks.tuning.measures import Measure, Values, measure_of
from featsvc.errors import InvalidInput
from featsvc.signals.algorithms import Algorithm, Kind, get_algorithm

MAX_SAMPLES = 100_000
DEFAULT_NOISY = 20
MAX_NOISY = 1000
_BLOCK_ROWS = 65_536
_Z = 1.959964
"""Two-sided 95 %."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % confidence interval; all None without samples."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ThresholdEffect:
    """`recall`: share of the positive samples that match; `false_matches`: of the negative ones."""

    threshold: float
    recall: Rate
    false_matches: Rate


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of an evaluation.

    Item i of a histogram counts the samples whose nearest entry is i steps of `step` away, rounded
    up. `suggested` is the threshold that meets the maximal rate of false matches and finds most of
    the positive samples; of several, the smallest. Without positive samples it is the largest that
    meets the rate, but at most the algorithm's default. Above the default, where matches by chance
    begin, the whole confidence interval must meet the rate. It is None if no threshold meets the
    rate, or without negative samples. `own` is the bank's threshold. `noisy` are entries and the
    number of negative samples that they match at `suggested`, or at `own` without a suggestion;
    `noisy_count` is the number of all such entries.
    """

    positive_histogram: tuple[int, ...]
    negative_histogram: tuple[int, ...]
    thresholds: tuple[ThresholdEffect, ...]
    suggested: float | None
    own: float
    noisy: tuple[tuple[Entry, int], ...]
    noisy_count: int
    step: float


def wilson(hits: int, total: int) -> Rate:
    """Return the share of hits and its confidence interval."""
    if not total:
        return Rate(None, None, None)
    share = hits / total
    spread = _Z * math.sqrt(share * (1 - share) / total + (_Z / total) ** 2 / 4)
    centre = share + _Z**2 / (2 * total)
    scale = 1 + _Z**2 / total
    return Rate(share, max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale))


def evaluate(
    view: StoreView,
    bank_id: str,
    algorithm: str,
    samples: Sequence[tuple[bytes, bool]],
    max_false_match_rate: float,
    *,
    max_noisy: int = 0,
) -> Evaluation:
    """Evaluate samples: values, and whether they are known to belong to the bank.

    Entries that never match (quarantined or negative) are left out. Memory does not grow with the
    bank. Raises NotFound for the bank, InvalidInput for an algorithm that is not compared by
    distance, for a rate outside 0 to 1, or for `max_noisy` over MAX_NOISY.
    """
    kind = get_algorithm(algorithm)
    measure = measure_of(kind)
    if measure is None or not kind.matched:
        raise InvalidInput.at("algorithm", f"{algorithm} is not matched by a threshold")
    if not 0 <= max_false_match_rate <= 1:
        raise InvalidInput.at(
            "max_false_match_rate", f"must be 0 to 1, not {max_false_match_rate:g}"
        )
    if max_noisy > MAX_NOISY:
        raise InvalidInput.at("max_noisy_entries", f"must be 0 to {MAX_NOISY}, not {max_noisy}")
    bank = view.bank(bank_id)
    condition = view.matchable_entries(bank)
    if kind.kind is Kind.VECTOR and not bank.signal_counts.get(algorithm):
        raise InvalidInput.at("algorithm", f"bank {bank_id!r} holds no vectors of {algorithm}")
    # An evaluation must not take all cores from the requests that this worker serves.
    importlib.import_module("faiss").omp_set_num_threads(1)
    queries = _stack(kind, [value for value, _ in samples])
    negative = _stack(kind, [value for value, belongs in samples if not belongs])
    if kind.kind is Kind.VECTOR and samples:
        check_dimensions(view.connection, kind.name, queries.shape[1], field="sample")
    positive = np.array([belongs for _, belongs in samples], np.bool_)
    nearest = _nearest(view, algorithm, condition, queries, measure)
    positives = np.bincount(nearest[positive], minlength=measure.none + 1)
    negatives = np.bincount(nearest[~positive], minlength=measure.none + 1)
    effects = _effects(positives, negatives, measure)
    suggested = _suggest(effects, max_false_match_rate, kind.default_threshold)
    own = bank.thresholds.get(algorithm, kind.default_threshold)
    radius = own if suggested is None else suggested
    noisy = _noisy(view, algorithm, condition, negative, radius, measure)
    return Evaluation(
        _until_last(positives[:-1]),
        _until_last(negatives[:-1]),
        effects,
        suggested,
        own,
        _first_entries(view, noisy, max_noisy or DEFAULT_NOISY),
        len(noisy),
        measure.step,
    )


def _suggest(
    effects: Sequence[ThresholdEffect], max_false_match_rate: float, default: float
) -> float | None:
    meeting = [
        effect
        for effect in effects
        if (rate := effect.false_matches).value is not None
        and rate.high is not None
        and (rate.value if effect.threshold <= default else rate.high) <= max_false_match_rate
    ]
    if not meeting:
        return None
    if meeting[0].recall.value is None:
        return min(meeting[-1].threshold, default)
    # Of thresholds with equal recall the smallest has the lowest risk.
    return max(meeting, key=lambda effect: (effect.recall.value, -effect.threshold)).threshold


def _stack(kind: Algorithm, values: Sequence[bytes]) -> Values:
    if not kind.distance.rows:
        return list(values)
    sizes = {len(value) for value in values} | ({kind.bytes} if kind.bytes else set())
    if len(sizes) > 1:
        raise InvalidInput.at(
            "sample",
            f"{kind.name} values of {' and '.join(map(str, sorted(sizes)))} bytes do not "
            "compare; send samples of one length",
        )
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1 if values else 0)


def _blocks(
    view: StoreView, algorithm: str, condition: ColumnElement[bool]
) -> Iterator[tuple[list[int], Values]]:
    """Yield versions and values in blocks that are large enough for an efficient search."""
    kind = get_algorithm(algorithm)
    versions: list[int] = []
    values: list[bytes] = []
    for batch in view.signals_where(algorithm, condition):
        versions += batch.versions
        values += batch.values
        if len(versions) >= _BLOCK_ROWS:
            yield versions, _stack(kind, values)
            versions, values = [], []
    if versions:
        yield versions, _stack(kind, values)


def _nearest(
    view: StoreView,
    algorithm: str,
    condition: ColumnElement[bool],
    queries: Values,
    measure: Measure,
) -> NDArray[np.int64]:
    """Return int64 (n,): steps from each of n queries to the bank; `none` for an empty bank."""
    nearest = np.full(len(queries), measure.none, np.int64)
    if not len(queries):
        return nearest
    for _, values in _blocks(view, algorithm, condition):
        nearest = np.minimum(nearest, measure.nearest(queries, values))
    return nearest


def _effects(
    positives: NDArray[np.int64], negatives: NDArray[np.int64], measure: Measure
) -> tuple[ThresholdEffect, ...]:
    recalled, false = np.cumsum(positives), np.cumsum(negatives)
    return tuple(
        ThresholdEffect(
            # Rounded, because 13 times the step is not exactly 0.0325.
            round(step * measure.step, 6),
            wilson(int(recalled[step]), int(recalled[-1])),
            wilson(int(false[step]), int(false[-1])),
        )
        for step in range(measure.shown + 1)
    )


def _noisy(
    view: StoreView,
    algorithm: str,
    condition: ColumnElement[bool],
    queries: Values,
    radius: float,
    measure: Measure,
) -> Counter[int]:
    """Count the queries that each version matches."""
    matches: Counter[int] = Counter()
    if len(queries):
        for versions, values in _blocks(view, algorithm, condition):
            for rows in measure.within(queries, values, radius):
                # An entry with many signals matches a sample once.
                matches.update({versions[row] for row in rows})
    return matches


def _first_entries(
    view: StoreView, matches: Counter[int], limit: int
) -> tuple[tuple[Entry, int], ...]:
    """Return the entries of the versions with most matches, and their matches."""
    most = matches.most_common(limit)
    by_version = dict(view.versioned(entries.c.version.in_([version for version, _ in most])))
    return tuple((by_version[version], number) for version, number in most)


def _until_last(histogram: NDArray[np.int64]) -> tuple[int, ...]:
    """Return the counts without the zeros at the end."""
    filled = np.flatnonzero(histogram)
    return tuple(int(n) for n in histogram[: filled[-1] + 1]) if len(filled) else ()
