"""What each threshold of a bank would do to samples that are known to belong to it or not.

The confidence intervals are Wilson's at 95 % (E. B. Wilson, "Probable inference, the law of
succession, and statistical inference", 1927, eq. 5), which hold for rates near 0 too.
"""

import importlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, and_, literal, or_

from featsvc.banks.records import Bank, Entry, Opinion
from featsvc.banks.sql.schema import entries
from featsvc.banks.sql.vector_models import check_dimensions
from featsvc.banks.sql.view import StoreView
from featsvc.banks.tuning.measures import Measure, Values, measure_of
from featsvc.errors import InvalidInput
from featsvc.signals.algorithms import Algorithm, Kind, get_algorithm

MAX_SAMPLES = 100_000
MAX_NOISY = 20
_BLOCK_ROWS = 65_536
_Z = 1.959964
"""Two-sided 95 %."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % confidence interval; all None where there was nothing to count."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ThresholdEffect:
    """`recall`: of the positive samples; `false_matches`: of the negative ones."""

    threshold: float
    recall: Rate
    false_matches: Rate


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`histograms[i]` counts samples whose nearest entry lies i steps of `step` away, rounded up.

    `suggested` meets the rate and finds most of the positive samples, the smallest of those that
    find as many; without positive samples it is the largest that meets the rate, the algorithm's
    default at most; None where none does, or where there are no negative samples. Above the
    default, where chance matches begin, the whole interval must meet it. `noisy` are entries with
    the negative samples that they match at that threshold, or at the bank's `own` where there is
    none.
    """

    positive_histogram: tuple[int, ...]
    negative_histogram: tuple[int, ...]
    thresholds: tuple[ThresholdEffect, ...]
    suggested: float | None
    own: float
    noisy: tuple[tuple[Entry, int], ...]
    step: float


def wilson(hits: int, total: int) -> Rate:
    """The share and its interval."""
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
) -> Evaluation:
    """`samples`: values with whether they are known to belong to the bank.

    Entries that never match (quarantined, negative ones) are left out. Memory does not grow
    with the bank. Raises NotFound for the bank, InvalidInput for an algorithm that is not
    compared by distance, or a rate that is none.
    """
    kind = get_algorithm(algorithm)
    measure = measure_of(kind)
    if measure is None or not kind.matched:
        raise InvalidInput(
            f"algorithm: {algorithm} has no distance to choose a threshold for", field="algorithm"
        )
    if not 0 <= max_false_match_rate <= 1:
        raise InvalidInput(
            f"max_false_match_rate: {max_false_match_rate:g} is not within 0 to 1",
            field="max_false_match_rate",
        )
    bank = view.bank(bank_id)
    condition = _matching(view, bank)
    if kind.kind is Kind.VECTOR and not bank.signal_counts.get(algorithm):
        raise InvalidInput(
            f"algorithm: bank {bank_id!r} holds no vectors of {algorithm}", field="algorithm"
        )
    # A curator's question takes one core from those who serve, not all.
    importlib.import_module("faiss").omp_set_num_threads(1)
    queries = _rows(kind, [value for value, _ in samples])
    negative = _rows(kind, [value for value, belongs in samples if not belongs])
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
    return Evaluation(
        _until_last(positives[:-1]),
        _until_last(negatives[:-1]),
        effects,
        suggested,
        own,
        _noisy(view, algorithm, condition, negative, radius, measure),
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
    # Beyond what finds more, a larger threshold is only a larger risk.
    return max(meeting, key=lambda effect: (effect.recall.value, -effect.threshold)).threshold


def _matching(view: StoreView, bank: Bank) -> ColumnElement[bool]:
    table = entries.c
    believed = or_(table.opinion != Opinion.NEGATIVE.value, literal(bank.safe))
    return and_(
        table.bank_key == view.bank_key(bank.id),
        table.removed_revision.is_(None),
        ~table.quarantined,
        believed,
    )


def _rows(kind: Algorithm, values: Sequence[bytes]) -> Values:
    if not kind.distance.rows:
        return list(values)
    sizes = {len(value) for value in values} | ({kind.bytes} if kind.bytes else set())
    if len(sizes) > 1:
        raise InvalidInput(
            f"sample: {kind.name} values of {' and '.join(map(str, sorted(sizes)))} bytes do not "
            "compare",
            field="sample",
        )
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1 if values else 0)


def _blocks(
    view: StoreView, algorithm: str, condition: ColumnElement[bool]
) -> Iterator[tuple[list[int], Values]]:
    """Versions and values, so many at a time that a search pays."""
    kind = get_algorithm(algorithm)
    versions: list[int] = []
    values: list[bytes] = []
    for batch in view.signals_where(algorithm, condition):
        versions += batch.versions
        values += batch.values
        if len(versions) >= _BLOCK_ROWS:
            yield versions, _rows(kind, values)
            versions, values = [], []
    if versions:
        yield versions, _rows(kind, values)


def _nearest(
    view: StoreView,
    algorithm: str,
    condition: ColumnElement[bool],
    queries: Values,
    measure: Measure,
) -> NDArray[np.int64]:
    """int64[n]: steps from each query to the bank, `none` where the bank is empty."""
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
            # As a person would write it: 0.0325, not thirteen times the step.
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
) -> tuple[tuple[Entry, int], ...]:
    matches: Counter[int] = Counter()
    if len(queries):
        for versions, values in _blocks(view, algorithm, condition):
            for rows in measure.within(queries, values, radius):
                # An entry with many signals matches a sample once.
                matches.update({versions[row] for row in rows})
    most = matches.most_common(MAX_NOISY)
    named = entries.c.version.in_([version for version, _ in most])
    found = {v.version: v.entry for v in view.versioned(named)}
    return tuple((found[version], number) for version, number in most)


def _until_last(histogram: NDArray[np.int64]) -> tuple[int, ...]:
    filled = np.flatnonzero(histogram)
    return tuple(int(n) for n in histogram[: filled[-1] + 1]) if len(filled) else ()
