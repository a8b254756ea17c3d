"""Segments: a part is restored from its segment, and a damaged segment is never served."""

import gc
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.errors import DataCorrupt
from featsvc.matching import segments
from featsvc.matching.building import build_part
from featsvc.matching.engines import build_engine
from featsvc.matching.hits import Arrays, Engine, RawHits
from featsvc.matching.parts import Part
from featsvc.matching.segments import (
    OtherFormatError,
    collect,
    newer_segments,
    newest_segment,
    open_segment,
    published,
    revision_of,
    write_segment,
)
from featsvc.matching.values import RaggedArray, Values, as_rows, take
from featsvc.matching.vector_engines import ProjectionEngine, as_vectors
from featsvc.signals.algorithms import Algorithm, Kind
from featsvc.signals.text_grams import stored_values
from tests.matching.rows import head_at, row, value, vector
from tests.matching.test_vector_engines import unit
from tests.texts import ENTRIES

QUERY = np.frombuffer(value(3), np.uint8)[None, :]


def made(count: int) -> Part:
    md5 = row(count + 1, algorithm="md5", value=bytes(16), labels="a\x1fb", source="s")
    return build_part([*(row(v, variant=f"v{v % 3}") for v in range(1, count + 1)), md5])


def same(one: Part, other: Part) -> bool:
    assert one.strings == other.strings
    for column in ("version", "id", "expire_us", "name_ends", "source", "labels", "bank", "flags"):
        np.testing.assert_array_equal(getattr(one.entries, column), getattr(other.entries, column))
    assert one.indexes.keys() == other.indexes.keys()
    for name, index in one.indexes.items():
        again = other.indexes[name]
        assert again.engine.name == index.engine.name
        np.testing.assert_array_equal(again.values, index.values)
        np.testing.assert_array_equal(again.entry, index.entry)
        np.testing.assert_array_equal(again.variant, index.variant)
    hits, others = (p.indexes["pdq"].engine.search(QUERY, 31) for p in (one, other))
    return bool(hits.rows.tolist() == others.rows.tolist() == [2])


@pytest.mark.parametrize("count", [10, 6_000])
def test_a_part_is_restored_from_its_segment(tmp_path: Path, count: int) -> None:
    part = made(count)
    head = head_at(7, 123, "a store")
    path = write_segment(tmp_path, part, head)
    opened = open_segment(path)
    assert (opened.revision, opened.head, opened.path) == (7, head, path)
    assert same(part, opened.part)
    assert opened.part.entries.external_id(2) == "x3"
    assert sum(opened.bytes_mapped.values()) == sum(
        f.stat().st_size for f in path.iterdir() if f.name != "manifest.json"
    )
    with pytest.raises(ValueError, match="read-only"):
        opened.part.entries.flags[0] = 1


def test_an_empty_part_has_a_segment(tmp_path: Path) -> None:
    assert len(open_segment(write_segment(tmp_path, build_part([]), head_at(1, 1))).part) == 0


def projected(kind: Algorithm, values: Values) -> Engine:
    """Build a projection, as for many vectors."""
    if kind.kind is Kind.VECTOR:
        return ProjectionEngine.build(as_vectors(as_rows(values)))
    return build_engine(kind, values)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        row(v, algorithm=("pdq", "sscd@3")[v % 2], value=(value, vector)[v % 2](v))
        for v in range(1, 81)
    ]
    part = build_part(rows, projected)
    assert part.indexes["sscd@3"].engine.name == "projection"
    return write_segment(tmp_path_factory.mktemp("segments"), part, head_at(7, 1))


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_any_damaged_byte_is_detected(pristine: Path, data: st.DataObject) -> None:
    files = sorted(f for f in pristine.iterdir() if f.stat().st_size)
    file = data.draw(st.sampled_from(files))
    content = file.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    damaged = bytearray(content)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.booleans())
    try:
        file.write_bytes(content[:at] if cut else bytes(damaged))
        with pytest.raises(DataCorrupt, match=r"rebuild it"):
            open_segment(pristine)
    finally:
        file.write_bytes(content)
    open_segment(pristine)


def test_a_missing_file_is_detected(tmp_path: Path) -> None:
    path = write_segment(tmp_path, made(5), head_at(7, 1))
    (path / "entries.id").unlink()
    with pytest.raises(DataCorrupt, match=r"entries\.id is missing"):
        open_segment(path)


def relabel(path: Path, old: str, new: str) -> None:
    """Replace a text in the manifest of a segment, with the checksum that fits."""
    manifest = path / "manifest.json"
    text = json.dumps(json.loads(manifest.read_text())["segment"], separators=(",", ":"))
    assert old in text
    changed = text.replace(old, new).encode()
    checksum = segments._crc(changed)
    manifest.write_bytes(b'{"checksum":"%s","segment":%s}' % (checksum.encode(), changed))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"entries.id":', '"../entries.id":', "bad manifest entry"),
        ('"dtype":"<i8"', '"dtype":"|O"', "bad manifest entry"),
        ('"shape":[6]', '"shape":[-6]', "bad manifest entry"),
        ('"engine":"scan","signals":5', '"engine":"scan","signals":4', "do not fit"),
        ('"entries":6', '"entries":5', "do not fit"),
        ('"revision":7', '"revision":"7"', "int"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    """The checksum fits."""
    path = write_segment(tmp_path, made(5), head_at(7, 1))
    relabel(path, old, new)
    with pytest.raises(DataCorrupt, match=message):
        open_segment(path)


def test_a_damaged_segment_is_set_aside_and_an_older_one_opened(tmp_path: Path) -> None:
    good = write_segment(tmp_path, made(5), head_at(7, 1))
    bad = write_segment(tmp_path, made(6), head_at(8, 1))
    (bad / "entries.id").write_bytes(b"")
    newest = newest_segment(published(tmp_path))
    assert newest is not None
    assert newest.path == good
    assert [revision_of(p) for p in published(tmp_path)] == [7]
    assert len(list(tmp_path.glob("corrupt-*"))) == 1
    assert newer_segments(tmp_path, above=7, up_to=9, refused=()) == []
    assert newer_segments(tmp_path, above=0, up_to=6, refused=()) == []
    assert newer_segments(tmp_path, above=6, up_to=7, refused={good.name}) == []
    assert newer_segments(tmp_path, above=6, up_to=7, refused=()) == [good]


def test_only_segments_that_are_not_mapped_are_collected(tmp_path: Path) -> None:
    first = write_segment(tmp_path, made(5), head_at(7, 1))
    mapped = open_segment(first)
    write_segment(tmp_path, made(5), head_at(8, 1))
    (tmp_path / "building-123-x").mkdir()
    assert collect(tmp_path) == 1
    assert not list(tmp_path.glob("building-*"))
    assert first.exists()
    assert same(mapped.part, made(5))
    del mapped
    gc.collect()
    assert collect(tmp_path) == 1
    assert [revision_of(p) for p in published(tmp_path)] == [8]
    with pytest.raises(FileNotFoundError):
        open_segment(first)


def test_vectors_are_restored_from_their_segment(tmp_path: Path) -> None:
    values = unit(3, 40, 58)
    kinds = ("sscd@3", "colour_layout@1")
    rows = [
        row(v, algorithm=kinds[v % 2], value=values[v].tobytes()) for v in range(1, len(values))
    ]
    part = build_part(rows)
    restored = open_segment(write_segment(tmp_path, part, head_at(7, 1))).part
    for name in kinds:
        index, again = part.indexes[name], restored.indexes[name]
        np.testing.assert_array_equal(again.values, index.values)
        query = values[:1, : 4 * 58]
        hits, others = (i.engine.search(query, 0.5) for i in (index, again))
        assert hits.rows.tolist() == others.rows.tolist()
        assert hits.distances.tolist() == others.distances.tolist()


def test_values_of_any_length_are_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form of texts, with an engine of equal values in place of theirs."""
    monkeypatch.setattr(segments, "open_engine", lambda _name, _kind, arrays: Equal(arrays))
    texts = [next(stored_values(view)) for view in ENTRIES]
    rows = [row(v, algorithm="text", value=text) for v, text in enumerate(texts, 1)]

    def build(_: Algorithm, values: Values) -> Engine:
        assert isinstance(values, RaggedArray)
        return Equal({"values": values.data, "ends": values.ends})

    part = build_part(rows, build)
    index = open_segment(write_segment(tmp_path, part, head_at(7, 1))).part.indexes["text"]
    assert isinstance(index.values, RaggedArray)
    assert [index.values[i].tobytes() for i in range(len(texts))] == texts
    assert index.engine.search(take(index.values, np.array([2, 1])), 0).rows.tolist() == [2, 1]


class Equal:
    name = "equal"

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self._values = RaggedArray(arrays["values"], arrays["ends"])

    def search(self, queries: Values, radius: float) -> RawHits:
        every = [
            [i for i in range(len(self._values)) if bytes(self._values[i]) == bytes(queries[q])]
            for q in range(len(queries))
        ]
        rows = np.array([i for equal in every for i in equal], np.int64)
        return RawHits(np.cumsum([len(equal) for equal in every]), rows, np.zeros(len(rows)))


@pytest.mark.parametrize("ends", [[1, 2], [3, 2, 5], [6]])
def test_wrong_ends_are_refused(ends: list[int]) -> None:
    with pytest.raises(ValueError, match="ends"):
        RaggedArray(np.zeros(5, np.uint8), np.array(ends, np.int64))


def test_a_segment_of_another_format_is_left_to_the_collector(tmp_path: Path) -> None:
    path = write_segment(tmp_path, made(5), head_at(7, 1))
    older = write_segment(tmp_path, made(5), head_at(8, 1))
    relabel(older, '"format":3', '"format":2')
    with pytest.raises(OtherFormatError, match="has format 2, not 3"):
        open_segment(older)
    newest = newest_segment(published(tmp_path))
    assert newest is not None
    assert newest.path == path
    assert not list(tmp_path.glob("corrupt-*"))
    assert collect(tmp_path) == 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_segment_with_another_version_of_an_algorithm_is_not_opened(tmp_path: Path) -> None:
    path = write_segment(tmp_path, made(5), head_at(7, 1))
    relabel(path, ',"version":1', "")
    assert len(open_segment(path).part) == len(made(5)), "as before versions were written"
    other = write_segment(tmp_path, made(5), head_at(8, 1))
    relabel(other, '"version":1', '"version":2')
    with pytest.raises(OtherFormatError, match="version 2, this build has 1"):
        open_segment(other)
    newest = newest_segment(published(tmp_path))
    assert newest is not None
    assert newest.path == path


def test_a_segment_without_an_identity_opens(tmp_path: Path) -> None:
    """As before identities were written; builds of that time skip what they do not know."""
    path = write_segment(tmp_path, made(5), head_at(7, 1, "a store"))
    assert open_segment(path).head.store_id == "a store"
    relabel(path, ',"store_id":"a store"', "")
    assert open_segment(path).head == head_at(7, 1)
    relabel(path, '"revision":7', '"later":[1],"revision":7')
    assert open_segment(path).head == head_at(7, 1)
