"""Every family of engines: each engine finds what brute force finds, built and opened alike."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featsvc.banks.records import ENGINES
from featsvc.matching import vector_engines
from featsvc.matching.engines import FAMILIES, build_engine, open_engine
from featsvc.matching.hits import Engine
from featsvc.matching.values import RaggedArray, Values
from featsvc.signals.algorithms import ALGORITHMS, Algorithm
from featsvc.signals.distance import CONTAINMENT, COSINE, EQUALITY, HAMMING, Distance
from featsvc.signals.text import hash_text
from featsvc.signals.text_grams import grams_of
from tests.signals.values import values_of
from tests.texts import ENTRIES

DOCS = Path(__file__).parents[2] / "docs" / "matching.md"
MATCHED = [kind for kind in ALGORITHMS.values() if kind.matched]
every_matched = pytest.mark.parametrize("kind", MATCHED, ids=[kind.name for kind in MATCHED])


def stacked(kind: Algorithm, values: Sequence[bytes]) -> Values:
    if kind.distance.rows:
        return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)
    return RaggedArray.of(values)


def engines(kind: Algorithm, values: Values) -> list[Engine]:
    """As a bank may choose them, for few values and as if there were many."""
    choices = ("auto", *FAMILIES[kind.distance].choices)
    made = [build_engine(kind, values, choice=choice) for choice in choices]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_engines, "PROJECTED_ROWS", 1)
        made.append(build_engine(kind, values))
    return made


def found(engine: Engine, queries: Values, radius: float) -> list[dict[int, float]]:
    """Of each query, rows and their distances."""
    hits = engine.search(queries, radius)
    pairs = list(zip(hits.rows.tolist(), hits.distances.tolist(), strict=True))
    return [dict(pairs[first:end]) for first, end in pairwise([0, *hits.ends.tolist()])]


def drawn(kind: Algorithm) -> st.SearchStrategy[bytes]:
    """Of texts single ones, each no longer than a window."""
    if kind.distance is CONTAINMENT:
        return st.sampled_from([hash_text(text, [kind.name]).signals[0].value for text in ENTRIES])
    return values_of(kind)


def apart(kind: Algorithm, query: bytes, value: bytes) -> float:
    """Of texts what the query lacks, and not what the value lacks where that is less."""
    if kind.distance is CONTAINMENT:
        held, wanted = (set(grams_of(np.frombuffer(v, np.uint8)).tolist()) for v in (query, value))
        return len(wanted - held) / len(wanted)
    return kind.distance.compare(kind, query, value)


@every_matched
def test_what_is_matched_has_a_family(kind: Algorithm) -> None:
    assert kind.distance in FAMILIES, f"no engine of {kind.distance!r} in matching/engines.py"
    assert set(FAMILIES[kind.distance].choices) < set(ENGINES)


def test_families_are_of_what_is_matched() -> None:
    assert FAMILIES.keys() == {kind.distance for kind in MATCHED}
    chosen = {choice for family in FAMILIES.values() for choice in family.choices}
    assert chosen == set(ENGINES) - {"auto"}


@every_matched
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_search_equals_brute_force(kind: Algorithm, data: st.DataObject) -> None:
    values = data.draw(st.lists(drawn(kind), min_size=1, max_size=40))
    queries = [*data.draw(st.lists(drawn(kind), max_size=3)), values[0]]
    distances = [[apart(kind, query, value) for value in values] for query in queries]
    near = [d for d in distances[0] if d <= kind.largest_distance]
    # Of texts no engine promises to find those that share little.
    radii = [0.0, kind.default_threshold, *(near if kind.distance is not CONTAINMENT else ())]
    radius = data.draw(st.sampled_from(radii))
    expected = [{i: d for i, d in enumerate(mine) if d <= radius} for mine in distances]
    for engine in engines(kind, stacked(kind, values)):
        again = open_engine(engine.name, kind, engine.arrays)
        assert again.name == engine.name
        for one in (engine, again):
            assert found(one, stacked(kind, queries), radius) == expected, engine.name


@pytest.mark.parametrize("distance", FAMILIES, ids=repr)
@settings(max_examples=1)
@given(data=st.data())
def test_every_engine_is_reached_and_documented(distance: Distance, data: st.DataObject) -> None:
    kind = next(kind for kind in MATCHED if kind.distance is distance)
    made = engines(kind, stacked(kind, [data.draw(drawn(kind))]))
    assert {engine.name for engine in made} == FAMILIES[distance].open.keys()
    for name in FAMILIES[distance].open:
        assert re.search(rf"^\| `{name}`", DOCS.read_text(), re.M), f"{DOCS.name}: no row of {name}"


def test_a_family_heeds_the_choices_that_mean_it() -> None:
    # One that it does not name is passed over, and nobody is told.
    heeded = {distance: set(family.choices) for distance, family in FAMILIES.items()}
    assert {distance: choices for distance, choices in heeded.items() if choices} == {
        HAMMING: {"faiss", "scan", "multi-index"},
        COSINE: {"faiss", "scan"},
    }


def test_searches_on_the_event_loop_are_short_ones() -> None:
    quick = {distance for distance, family in FAMILIES.items() if family.quick}
    assert quick == {HAMMING, EQUALITY}
