"""Segments: what is written comes back, what is damaged is never served."""

import gc
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.errors import DataCorrupt
from featsvc.matching import segments
from featsvc.matching.parts import Part, build_part
from featsvc.matching.segments import (
    collect,
    newest_segment,
    open_segment,
    published,
    revision_of,
    write_segment,
)
from tests.matching.rows import row, value

QUERY = np.frombuffer(value(3), np.uint8)[None, :]


def made(count: int) -> Part:
    md5 = row(count + 1, algorithm="md5", value=bytes(16), labels="a\x1fb", source="s")
    return build_part([*(row(v, variant=f"v{v % 3}") for v in range(1, count + 1)), md5])


def same(one: Part, other: Part) -> bool:
    assert one.tables == other.tables
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
def test_a_part_comes_back_from_its_segment(tmp_path: Path, count: int) -> None:
    part = made(count)
    path = write_segment(tmp_path, part, 7, 123)
    found = open_segment(path)
    assert (found.revision, found.commit_time_us, found.path) == (7, 123, path)
    assert same(part, found.part)
    assert found.part.entries.external_id(2) == "x3"
    assert sum(found.bytes_mapped.values()) == sum(
        f.stat().st_size for f in path.iterdir() if f.name != "manifest.json"
    )
    with pytest.raises(ValueError, match="read-only"):
        found.part.entries.flags[0] = 1


def test_an_empty_part_has_a_segment(tmp_path: Path) -> None:
    assert len(open_segment(write_segment(tmp_path, build_part([]), 1, 1)).part) == 0


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_segment(tmp_path_factory.mktemp("segments"), made(40), 7, 1)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
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
    path = write_segment(tmp_path, made(5), 7, 1)
    (path / "entries.id").unlink()
    with pytest.raises(DataCorrupt, match=r"entries\.id is missing"):
        open_segment(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"format":1', '"format":9', "format 9"),
        ('"entries.id":', '"../entries.id":', "described wrongly"),
        ('"dtype":"<i8"', '"dtype":"|O"', "described wrongly"),
        ('"shape":[6]', '"shape":[-6]', "described wrongly"),
        ('"engine":"scan","signals":5', '"engine":"scan","signals":4', "missing or wrong"),
        ('"entries":6', '"entries":5', "missing or wrong"),
        ('"revision":7', '"revision":"7"', "int"),
    ],
)
def test_a_manifest_that_lies_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Even with a checksum that fits."""
    path = write_segment(tmp_path, made(5), 7, 1)
    manifest = path / "manifest.json"
    text = json.dumps(json.loads(manifest.read_text())["segment"], separators=(",", ":"))
    assert old in text
    lying = text.replace(old, new).encode()
    checksum = segments._crc(lying)
    manifest.write_bytes(b'{"checksum":"%s","segment":%s}' % (checksum.encode(), lying))
    with pytest.raises(DataCorrupt, match=message):
        open_segment(path)


def test_the_newest_that_passes_is_served_and_others_set_aside(tmp_path: Path) -> None:
    good = write_segment(tmp_path, made(5), 7, 1)
    bad = write_segment(tmp_path, made(6), 8, 1)
    (bad / "entries.id").write_bytes(b"")
    found = newest_segment(tmp_path)
    assert found is not None
    assert found.path == good
    assert [revision_of(p) for p in published(tmp_path)] == [7]
    assert len(list(tmp_path.glob("corrupt-*"))) == 1
    assert newest_segment(tmp_path, above=7) is None


def test_only_what_nobody_maps_is_collected(tmp_path: Path) -> None:
    first = write_segment(tmp_path, made(5), 7, 1)
    mapped = open_segment(first)
    write_segment(tmp_path, made(5), 8, 1)
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
