"""Laws of every row of the table of algorithms, and of every distance."""

import re
from pathlib import Path

import numpy as np
import pytest
from featsvc_client.v1 import hashing_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from featsvc.errors import InvalidSignal
from featsvc.service.conversions.signals import algorithm_message
from featsvc.signals.algorithms import ALGORITHMS, Algorithm, Kind, get_algorithm
from featsvc.signals.distance import COSINE, DISTANCES, HAMMING, OPAQUE, Distance, ScannedDistance
from tests.signals.values import VALUES, values_of

DOCS = Path(__file__).parents[2] / "docs"
EVERY = [*ALGORITHMS.values(), *map(get_algorithm, ("phash-3", "whash_db4-16", "sscd@3"))]
every_kind = pytest.mark.parametrize("kind", EVERY, ids=[kind.name for kind in EVERY])
every_distance = pytest.mark.parametrize("distance", DISTANCES.values(), ids=list(DISTANCES))


def test_every_distance_is_used_and_can_be_drawn() -> None:
    assert {kind.distance for kind in EVERY} == set(DISTANCES.values()) == VALUES.keys()


@every_kind
def test_a_row_is_consistent(kind: Algorithm) -> None:
    assert kind.matched or kind.kind in (Kind.PICTURE, Kind.STORED)
    assert kind.computed == (kind.kind not in (Kind.VECTOR, Kind.STORED))
    assert 0 <= kind.default_threshold <= kind.largest_distance
    assert kind.distance.fractional or kind.default_threshold == int(kind.default_threshold)
    assert (kind.sizes is None) == (kind.size == 0)
    if kind.sizes is not None:
        assert kind.size in kind.sizes.taken
        assert kind.sizes.bits(kind.size) == kind.bits
    assert kind.description


@pytest.mark.parametrize("kind", ALGORITHMS.values(), ids=list(ALGORITHMS))
def test_the_docs_have_its_row(kind: Algorithm) -> None:
    page = "models.md" if kind.kind is Kind.VECTOR else "hashing.md"
    text = (DOCS / page).read_text()
    if kind.kind is not Kind.VECTOR:
        text = text.partition("<!-- algorithms -->")[2].partition("<!-- /algorithms -->")[0]
    rows = re.findall(rf"^\| `{re.escape(kind.name)}` \|(.*)\|$", text, re.M)
    assert len(rows) == 1, f"docs/{page} has {len(rows)} rows of {kind.name}, not one"
    cells = [cell.strip() for cell in rows[0].split("|")]
    shown = f"{kind.default_threshold:g}"
    if kind.kind is Kind.VECTOR:
        assert cells[0] == shown, f"docs/{page}: the threshold of {kind.name} is {shown}"
    elif kind.kind is not Kind.STORED:
        assert cells[:3] == [str(kind.bits or "any"), kind.distance.name, shown], f"docs/{page}"
    if kind.kind is Kind.TEXT:
        assert f"`{kind.name}`" in (DOCS / "text.md").read_text(), f"docs/text.md: {kind.name}"


@every_distance
def test_it_has_a_value_on_the_wire(distance: Distance) -> None:
    kind = next(kind for kind in EVERY if kind.distance is distance)
    sent = hashing_pb2.Algorithm.Distance.Name(algorithm_message(kind).distance)
    assert sent == ("DISTANCE_EQUALITY" if distance is OPAQUE else f"DISTANCE_{distance!r}")


@every_kind
@settings(max_examples=25)
@given(data=st.data())
def test_text_form_and_value_go_back_and_forth(kind: Algorithm, data: st.DataObject) -> None:
    value = data.draw(values_of(kind))
    text = kind.distance.format(kind, value)
    assert kind.distance.parse_listed(kind, f" {text}\n") == value
    if kind.kind is Kind.STORED:
        with pytest.raises(InvalidSignal, match="never compared"):
            kind.distance.parse(kind, text)
        return
    assert kind.distance.parse(kind, f" {text.upper()}\n") == value
    assert kind.distance.parse(kind, text.lower()) == value
    for wrong in (text[:-1], "g" + text[1:], "", text + "00"):
        with pytest.raises(InvalidSignal, match=r"^here: "):
            kind.distance.parse(kind, wrong, field="here")


@every_kind
@settings(max_examples=25)
@given(data=st.data())
def test_distances_keep_their_laws(kind: Algorithm, data: st.DataObject) -> None:
    a, b = (data.draw(values_of(kind)) for _ in range(2))
    if kind.distance is OPAQUE:
        a, b = a[:1], b[:1]
    distance = kind.distance.compare(kind, a, b)
    assert kind.distance.compare(kind, a, a) == 0
    assert kind.distance.compare(kind, b, a) == distance
    # Equality gives 0 or 1, and no threshold reaches 1.
    assert 0 <= distance <= (kind.largest_distance or 1)
    assert kind.distance.fractional or distance == int(distance)
    if isinstance(kind.distance, ScannedDistance):
        query, rows = (np.frombuffer(v, np.uint8) for v in (a, a + b))
        distances = kind.distance.to_all(query, rows.reshape(2, -1))
        assert distances.tolist() == [0, distance]


def test_hashes_of_pictures_and_vectors_are_scanned() -> None:
    scanned = {d for d in DISTANCES.values() if isinstance(d, ScannedDistance)}
    assert scanned == {HAMMING, COSINE}


@every_kind
def test_values_of_other_lengths_do_not_compare(kind: Algorithm) -> None:
    if not kind.bytes:
        return
    with pytest.raises(InvalidSignal, match=f"a {kind.name} value has {kind.bytes} bytes"):
        kind.distance.compare(kind, bytes(kind.bytes), bytes(kind.bytes - 1))


def test_the_largest_distance_is_reached() -> None:
    """For algorithms by Hamming distance, whose most distant values are known."""
    for kind in EVERY:
        if kind.distance is HAMMING:
            ones = (2**kind.bits - 1).to_bytes(kind.bytes)
            assert kind.distance.compare(kind, ones, bytes(kind.bytes)) == kind.largest_distance
