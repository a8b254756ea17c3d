"""Every family of engines: each engine, built or restored, finds what brute force finds."""

import re
from collections.abc import Sequence
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
from tests.matching.rows import by_query
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
    """Build engines by every choice of a bank, and as if there were many values."""
    choices = ("auto", *FAMILIES[kind.distance].choices)
    made = [build_engine(kind, values, choice=choice) for choice in choices]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_engines, "PROJECTED_ROWS", 1)
        made.append(build_engine(kind, values))
    return made


def drawn(kind: Algorithm) -> st.SearchStrategy[bytes]:
    """Draw values; texts no longer than a window."""
    if kind.distance is CONTAINMENT:
        return st.sampled_from([hash_text(text, [kind.name]).signals[0].value for text in ENTRIES])
    return values_of(kind)


def directed_distance(kind: Algorithm, query: bytes, value: bytes) -> float:
    """Compare; for texts what the query lacks, although the value may lack less."""
    if kind.distance is CONTAINMENT:
        held, grams = (set(grams_of(np.frombuffer(v, np.uint8)).tolist()) for v in (query, value))
        return len(grams - held) / len(grams)
    return kind.distance.compare(kind, query, value)


@every_matched
def test_every_matched_algorithm_has_a_family(kind: Algorithm) -> None:
    assert kind.distance in FAMILIES, f"no engine of {kind.distance!r} in matching/engines.py"
    assert set(FAMILIES[kind.distance].choices) < set(ENGINES)


def test_every_family_is_of_a_matched_algorithm() -> None:
    assert FAMILIES.keys() == {kind.distance for kind in MATCHED}
    chosen = {choice for family in FAMILIES.values() for choice in family.choices}
    assert chosen == set(ENGINES) - {"auto"}


@every_matched
@settings(max_examples=20)
@given(data=st.data())
def test_search_equals_brute_force(kind: Algorithm, data: st.DataObject) -> None:
    values = data.draw(st.lists(drawn(kind), min_size=1, max_size=40))
    queries = [*data.draw(st.lists(drawn(kind), max_size=3)), values[0]]
    distances = [[directed_distance(kind, query, value) for value in values] for query in queries]
    near = [d for d in distances[0] if d <= kind.largest_distance]
    # No engine promises to find texts that share little.
    radii = [0.0, kind.default_threshold, *(near if kind.distance is not CONTAINMENT else ())]
    radius = data.draw(st.sampled_from(radii))
    expected = [[(i, d) for i, d in enumerate(row) if d <= radius] for row in distances]
    for engine in engines(kind, stacked(kind, values)):
        again = open_engine(engine.name, kind, engine.arrays)
        assert again.name == engine.name
        for searched in (engine, again):
            hits = searched.search(stacked(kind, queries), radius)
            assert by_query(hits) == expected, engine.name


@pytest.mark.parametrize("distance", FAMILIES, ids=repr)
@settings(max_examples=1)
@given(data=st.data())
def test_every_engine_is_reached_and_documented(distance: Distance, data: st.DataObject) -> None:
    kind = next(kind for kind in MATCHED if kind.distance is distance)
    made = engines(kind, stacked(kind, [data.draw(drawn(kind))]))
    assert {engine.name for engine in made} == FAMILIES[distance].open.keys()
    for name in FAMILIES[distance].open:
        assert re.search(rf"^\| `{name}`", DOCS.read_text(), re.M), f"{DOCS.name}: no row of {name}"


def test_the_engines_that_a_bank_may_choose() -> None:
    # A family silently ignores any other choice.
    choices = {distance: set(family.choices) for distance, family in FAMILIES.items()}
    assert {distance: names for distance, names in choices.items() if names} == {
        HAMMING: {"faiss", "scan", "multi-index"},
        COSINE: {"faiss", "scan"},
    }


def test_only_short_searches_run_on_the_event_loop() -> None:
    quick = {distance for distance, family in FAMILIES.items() if family.quick}
    assert quick == {HAMMING, EQUALITY}
