"""Measures: every distance with thresholds has one, and it equals the distance in steps."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featsvc.banks.interruption import Interruption
from featsvc.banks.tuning.measures import MEASURES, Values, measure_of
from featsvc.errors import TimedOut
from featsvc.signals.algorithms import ALGORITHMS, Algorithm
from featsvc.signals.distance import CONTAINMENT, EQUALITY
from tests.signals.values import values_of

MEASURED = [k for k in ALGORITHMS.values() if k.matched and k.distance is not EQUALITY]


MANY = 300
"""More queries than a block of a search."""


def stacked(kind: Algorithm, values: list[bytes]) -> Values:
    if not kind.distance.rows:
        return values
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)


def test_every_distance_with_thresholds_has_a_measure() -> None:
    assert MEASURES.keys() == {kind.distance for kind in MEASURED}, "see banks/tuning/measures.py"
    assert measure_of(ALGORITHMS["md5"]) is None


@pytest.mark.parametrize("kind", MEASURED, ids=[kind.name for kind in MEASURED])
@settings(max_examples=15)
@given(data=st.data())
def test_a_measure_is_the_distance_in_steps(kind: Algorithm, data: st.DataObject) -> None:
    measure = measure_of(kind)
    assert measure is not None
    values = data.draw(st.lists(values_of(kind), min_size=1, max_size=9))
    queries = [*data.draw(st.lists(values_of(kind), max_size=3)), values[-1]]
    samples, entries = stacked(kind, queries), stacked(kind, values)
    steps = measure.nearest(samples, entries).tolist()
    assert steps[-1] == 0
    assert measure.shown < measure.none == round(kind.largest_distance / measure.step) + 1
    distances = [[kind.distance.compare(kind, q, v) for v in values] for q in queries]
    if kind.distance is CONTAINMENT:
        # `compare` is symmetric, the measure is not: it is what the query lacks of an entry.
        return
    assert steps == [math.ceil(min(row) / measure.step - 1e-6) for row in distances]
    radius = kind.default_threshold
    within = [rows.tolist() for rows in measure.within(samples, entries, radius)]
    assert within == [[i for i, d in enumerate(row) if d <= radius] for row in distances]


@pytest.mark.parametrize("kind", MEASURED, ids=[kind.name for kind in MEASURED])
@settings(max_examples=3)
@given(data=st.data())
def test_many_queries_are_measured_like_each_alone_until_cancelled(
    kind: Algorithm, data: st.DataObject
) -> None:
    measure = measure_of(kind)
    assert measure is not None
    values = data.draw(st.lists(values_of(kind), min_size=1, max_size=5))
    entries, radius = stacked(kind, values), kind.default_threshold
    many = stacked(kind, [values[i % len(values)] for i in range(MANY)])
    assert measure.nearest(many, entries).tolist() == [0] * MANY
    within = [rows.tolist() for rows in measure.within(many, entries, radius)]
    alone = [rows.tolist() for rows in measure.within(entries, entries, radius)]
    assert within == [alone[i % len(values)] for i in range(MANY)]
    for search in (
        lambda: measure.nearest(many, entries),
        lambda: list(measure.within(many, entries, radius)),
    ):
        interruption = Interruption()
        with pytest.raises(TimedOut):
            interruption.run(partial(_cancel_and_run, interruption, search))


def _cancel_and_run(interruption: Interruption, search: Callable[[], object]) -> None:
    interruption.cancel()
    search()
