"""The engines of texts, also on disk and in layers."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featsvc.banks.records import NO_CONTEXT
from featsvc.banks.results import ImportOptions
from featsvc.banks.store import BankStore
from featsvc.errors import TimedOut
from featsvc.matching.building import build_part
from featsvc.matching.engines import build_engine, open_engine
from featsvc.matching.follower import Follower
from featsvc.matching.hits import TooManyHits
from featsvc.matching.indexer import Indexer
from featsvc.matching.layers import Layers
from featsvc.matching.segments import open_segment, write_segment
from featsvc.matching.text_engine import MinHashEngine
from featsvc.matching.values import RaggedArray
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from featsvc.signals.text import hash_text
from featsvc.signals.tlsh import tlsh_distance
from tests.banks.lists import list_file
from tests.matching.rows import head_at, row
from tests.texts import EDITS, ENTRIES, negatives

TEXT = get_algorithm("text")


def ragged(*values: bytes) -> RaggedArray:
    return RaggedArray.of(values)


def value_of(text: str, algorithm: str = "text") -> bytes:
    return hash_text(text, [algorithm]).signals[0].value


VALUES = ragged(*map(value_of, ENTRIES))
EDITED = [EDITS["leetspeak"](text, random.Random(i)) for i, text in enumerate(ENTRIES)]


def test_several_queries_are_answered_as_each_alone() -> None:
    engine = build_engine(TEXT, VALUES)
    queries = [*EDITED, "nothing of this text is to be found anywhere in the index"]
    hits = engine.search(ragged(*map(value_of, queries)), 0.4)
    assert hits.rows.tolist() == list(range(len(ENTRIES)))
    assert hits.ends.tolist() == [*range(1, len(ENTRIES) + 1), len(ENTRIES)]
    for number, query in enumerate(queries[:-1]):
        alone = engine.search(ragged(value_of(query)), 0.4)
        assert alone.rows.tolist() == [number]
        assert alone.distances.tolist() == [hits.distances[number]]


def test_radius_is_inclusive_and_a_negative_one_finds_nothing() -> None:
    engine = build_engine(TEXT, VALUES)
    query = ragged(value_of(EDITED[0]))
    (distance,) = engine.search(query, 1.0).distances.tolist()
    assert 0 < distance < 0.4
    assert engine.search(query, distance).rows.tolist() == [0]
    assert engine.search(query, distance - 1e-9).rows.tolist() == []
    assert engine.search(query, -1).ends.tolist() == [0]


def test_an_engine_is_restored_from_its_arrays() -> None:
    engine = build_engine(TEXT, VALUES)
    again = open_engine("minhash", TEXT, engine.arrays)
    query = ragged(value_of(EDITED[3]))
    assert again.search(query, 0.4).rows.tolist() == [3]


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("sets", lambda a: a[:-1]),
        ("set_ends", lambda a: a[:-1]),
        ("set_ends", lambda a: a - 500),
        ("owners", lambda a: a + 99),
        ("starts", lambda a: a[:-1]),
        ("starts", lambda a: a[::-1]),
        ("postings", lambda a: a + 1000),
        ("postings", lambda a: a[:-1]),
    ],
)
def test_wrong_arrays_are_refused(name: str, spoil: object) -> None:
    """Arrays are checked before a search, because kernels do not check them."""
    arrays = dict(build_engine(TEXT, VALUES).arrays)
    assert callable(spoil)
    arrays[name] = spoil(arrays[name])
    with pytest.raises(ValueError, match=r"fit each other|do not exist"):
        open_engine("minhash", TEXT, arrays)


def test_an_empty_index() -> None:
    engine = MinHashEngine.build(ragged())
    assert engine.search(ragged(value_of(ENTRIES[0])), 1.0).rows.tolist() == []
    again = open_engine("minhash", TEXT, engine.arrays)
    assert again.search(ragged(), 1.0).ends.tolist() == []


def test_too_many_hits_of_several_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featsvc.matching.hits.MAX_HITS", 30)
    values = ragged(*[value_of(ENTRIES[0])] * 20)
    engine = build_engine(TEXT, values)
    assert len(engine.search(ragged(value_of(ENTRIES[0])), 0).rows) == 20
    with pytest.raises(TooManyHits):
        engine.search(ragged(*[value_of(ENTRIES[0])] * 2), 0)


@pytest.mark.slow
def test_a_long_query_is_searched_in_spans_as_if_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies where spans meet, at the end, and in the middle of one."""
    prose = " ".join(negatives())
    pieces = (prose[:16_100], ENTRIES[0], prose[20_000:35_000], ENTRIES[1], prose[40_000:56_000])
    query = value_of(" ".join((*pieces, ENTRIES[2])))
    engine = build_engine(TEXT, VALUES)
    hits = engine.search(ragged(query), 0.4)
    assert hits.rows.tolist() == [0, 1, 2]
    assert hits.distances.max() < 0.1
    monkeypatch.setattr("featsvc.matching.text_engine.MAX_SEARCH_S", -1)
    with pytest.raises(TimedOut, match="letters took longer"):
        engine.search(ragged(query), 0.4)


@pytest.mark.slow
def test_texts_and_tlsh_are_restored_from_their_segment(tmp_path: Path) -> None:
    rows = [
        row(version, algorithm=name, value=value_of(text, name))
        for version, text in enumerate([*ENTRIES, *negatives()[:50]])
        for name in ("text", "tlsh")
        if hash_text(text, [name]).signals
    ]
    indexes = open_segment(write_segment(tmp_path, build_part(rows), head_at(7, 1))).part.indexes
    texts, digests = indexes["text"], indexes["tlsh"]
    assert (texts.engine.name, digests.engine.name) == ("minhash", "tlsh-scan")
    hits = texts.engine.search(ragged(value_of(EDITED[4])), 0.4)
    assert texts.entry[hits.rows].tolist() == [4]
    query = np.frombuffer(value_of(ENTRIES[4], "tlsh"), np.uint8)[None, :]
    assert not isinstance(digests.values, RaggedArray)
    for radius in (0, 30, 150):
        near = digests.engine.search(query, radius)
        expected = {
            i: d
            for i, value in enumerate(digests.values)
            if (d := tlsh_distance(query.tobytes(), value.tobytes())) <= radius
        }
        assert dict(zip(near.rows.tolist(), near.distances.tolist(), strict=True)) == expected


def test_a_follower_serves_texts_from_a_segment_and_from_layers(
    store: BankStore, tmp_path: Path
) -> None:
    def add(texts: Sequence[str]) -> None:
        lines = [
            json.dumps({"external_id": t, "signals": [{"algorithm": "raw_text", "signal": t}]})
            for t in texts
        ]
        store.import_entries("b", list_file("\n".join(lines)), ImportOptions())

    store.create_bank("b")
    add(ENTRIES[:8])
    Indexer(store, tmp_path).build()
    add(ENTRIES[8:])
    store.withdraw_entries("b", [], [ENTRIES[2], ENTRIES[9]], NO_CONTEXT)
    follower = Follower(store, segments=tmp_path)
    follower.start()
    try:
        status = {a.algorithm: a for a in follower.snapshot.status}["text"]
        assert (status.entries, status.segment_revision > 0, status.delta_signals) == (10, True, 3)
        assert status.bytes_mapped > 10_000
        for number, text in enumerate(EDITED):
            query = Signal(TEXT, value_of(text))
            matches = follower.snapshot.match([query]).matches
            assert [m.external_id for m in matches] == (
                [] if number in (2, 9) else [ENTRIES[number]]
            )
    finally:
        follower.stop()


@settings(max_examples=60)
@given(st.lists(st.text(min_size=1, max_size=200), max_size=6), st.integers(0, 50))
def test_every_text_finds_itself_at_distance_0(texts: list[str], extra: int) -> None:
    texts = [*texts, "".join(chr(97 + (i * i + extra) % 26) for i in range(40 + extra))]
    values = [s.value for text in texts for s in hash_text(text, ["text"]).signals]
    engine = build_engine(TEXT, ragged(*values))
    hits = engine.search(ragged(*values), 0.0)
    begin = 0
    for number, end in enumerate(hits.ends.tolist()):
        assert number in hits.rows[begin:end]
        begin = end


def test_layers_of_texts_are_joined() -> None:
    """Texts are added in many small layers and one is withdrawn; a query does not find it."""
    layers = Layers.on_rows([])
    for version, text in enumerate(ENTRIES, 1):
        layers = layers.advance([row(version, algorithm="text", value=value_of(text))], [])
    layers = layers.advance([], [3])
    (status,) = layers.status()
    assert (status.algorithm, status.entries, status.engine) == ("text", 11, "minhash")
    found = [
        int(view.part.entries.version[row])
        for view in layers.views([])
        for index in view.part.indexes.values()
        for row in view.search(index, ragged(value_of(EDITED[2])), 0.4).rows
        if row not in view.withdrawn
    ]
    assert found == []
