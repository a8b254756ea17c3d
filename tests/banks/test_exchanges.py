"""MISP, STIX and VICS: what is kept, what withdraws, and what is counted."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featsvc.banks.lists.formats.json_objects import MAX_OBJECT_BYTES, objects
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.records import Opinion
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput
from tests.banks.lists import list_file, sample

MD5, SHA1, SHA256 = "ab" * 16, "cd" * 20, "ef" * 32


def read(content: bytes | str | dict[str, Any]) -> tuple[list[ImportRow], dict[str, int]]:
    text = json.dumps(content) if isinstance(content, dict) else content
    file = list_file(text)
    rows = list(file)
    assert not [row for row in rows if isinstance(row, BadRow)]
    return [row for row in rows if isinstance(row, ImportRow)], file.left_out


def test_misp_json_and_csv_are_the_same_entries() -> None:
    rows, left_out = read(sample("misp.json"))
    assert [(row.external_id[-2:], row.withdrawn, row.labels, row.note) for row in rows] == [
        ("01", False, ("tlp:amber", "kind:a", "to_ids"), "a note"),
        ("02", False, (), ""),
        ("04", True, ("to_ids",), ""),
        ("10", False, ("to_ids",), "an object"),
    ]
    assert [s.algorithm for s in rows[3].signals] == ["md5", "sha1"]
    assert left_out == {
        "attribute of type url": 1,
        "attribute of type ssdeep": 1,
        "attribute of type filename": 1,
        "attribute of type size-in-bytes": 1,
        "attribute of type domain": 1,
        "tag of a whole event": 1,
    }
    of_csv, counted = read(sample("misp.csv"))
    assert counted == {"attribute of type url": 1}
    assert [row.signals[0] for row in of_csv] == [
        *(row.signals[0] for row in rows if not row.withdrawn),
        rows[3].signals[1],
    ]
    assert [row.labels for row in of_csv[:3]] == [rows[0].labels, (), ("to_ids",)]


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda event: {"Event": event},
        lambda event: {"response": [{"Event": event}, {"Event": event}]},
        lambda event: {"response": {"Attribute": event["Attribute"]}},
        lambda event: [{"Event": event}],
    ],
)
@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_misp_events_in_every_wrapping(wrapped: Any, size: int) -> None:
    attribute = {"type": "filename|md5", "value": f"x|y|{MD5}", "uuid": "u", "to_ids": "1"}
    event = {"info": "i", "Attribute": [attribute], "RelatedEvent": [{"Event": {"id": "9"}}]}
    document = json.dumps(wrapped(event))
    pieces = (document[i : i + size].encode() for i in range(0, len(document), size))
    file = ListFile(pieces)
    rows = list(file)
    assert file.format == "misp"
    assert len(rows) == document.count("filename|md5")
    assert {row.signals[0].text for row in rows if isinstance(row, ImportRow)} == {MD5}


def test_a_deleted_misp_object_withdraws_its_entry() -> None:
    attribute = {"type": "md5", "value": MD5, "uuid": "a"}
    thing = {"name": "file", "uuid": "o", "deleted": True, "Attribute": [attribute]}
    rows, _ = read({"Event": {"info": "i", "Object": [thing]}})
    assert [(row.external_id, row.withdrawn) for row in rows] == [("o", True)]
    other = {"type": "sha1", "value": SHA1, "uuid": "b", "deleted": True}
    thing = {"name": "file", "uuid": "o", "Attribute": [attribute, other]}
    rows, _ = read({"Event": {"info": "i", "Object": [thing]}})
    assert [[s.text for s in row.signals] for row in rows] == [[MD5]]
    assert not rows[0].withdrawn


def test_stix_sample() -> None:
    rows, left_out = read(sample("stix.json"))
    kinds = [(row.external_id.partition("--")[0], row.withdrawn, row.opinion) for row in rows]
    assert kinds == [
        ("file", False, Opinion.UNSPECIFIED),
        ("indicator", False, Opinion.UNSPECIFIED),
        ("indicator", True, Opinion.UNSPECIFIED),
        ("indicator", False, Opinion.NEGATIVE),
    ]
    assert [[s.algorithm for s in row.signals] for row in rows] == [
        ["md5", "sha256"],
        ["sha256", "md5"],
        ["sha1"],
        ["md5", "md5"],
    ]
    assert rows[1].labels == ("x", "malicious-activity")
    assert rows[1].expire_time is not None
    assert left_out == {
        "object of type identity": 1,
        "hash by SHA-512": 1,
        "indicator of more than file hashes (a stix pattern)": 1,
    }


@pytest.mark.parametrize(
    "pattern",
    [
        f"[file:hashes.MD5 != '{MD5}']",
        f"[NOT file:hashes.MD5 = '{MD5}']",
        f"[file:hashes.MD5 = '{MD5}' AND file:name = 'a']",
        f"[file:hashes.MD5 = '{MD5}'] AND [url:value = 'x']",
        f"[file:hashes.MD5 = '{MD5}'] FOLLOWEDBY [file:hashes.MD5 = '{MD5}']",
        f"[file:hashes.MD5 = '{MD5}'] REPEATS 2 TIMES",
        f"[process:image_ref.hashes.MD5 = '{MD5}']",
        f"[file:parent_directory_ref.hashes.MD5 = '{MD5}']",
        f"file:hashes.MD5 = '{MD5}'",
        "[" * 1000 + "file:hashes.MD5" + " " * 10_000,
    ],
)
def test_a_pattern_of_more_than_hashes_is_left_out(pattern: str) -> None:
    indicator = {"type": "indicator", "id": "indicator--1", "pattern": pattern}
    rows, left_out = read({"type": "bundle", "objects": [indicator]})
    assert (rows, sum(left_out.values())) == ([], 1)


def test_vics_sample() -> None:
    rows, left_out = read(sample("vics.json"))
    assert [[s.algorithm for s in row.signals] for row in rows] == [
        ["md5", "sha1", "pdna"],
        ["md5"],
    ]
    assert rows[0].labels == ("category:1", "series:S", "a", "b")
    assert {row.external_id for row in rows} == {""}
    assert left_out == {"hash by Other": 1, "item without a hash": 1}
    document = json.loads(sample("vics.json"))
    document["value"] = document["value"][0]["Media"]
    assert [row.signals for row in read(document)[0]] == [row.signals for row in rows]


def test_what_does_not_fit_refuses_no_entry() -> None:
    tags = [{"name": f"{n} {'x' * (200 if n == 3 else 1)}"} for n in range(40)]
    attribute = {"type": "md5", "value": MD5, "uuid": "u", "comment": "n" * 5000, "Tag": tags}
    (row,), left_out = read({"Event": {"info": "i", "Attribute": [attribute]}})
    assert (len(row.labels), row.note) == (32, "")
    assert left_out == {"label": 8, "note too long": 1}


_values = st.recursive(
    st.text(alphabet='{}[]",\\xA\n', max_size=6) | st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "Attribute", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def _expected(value: object) -> list[object]:
    """Return the objects in arrays under the key, but not those inside of others."""
    if isinstance(value, dict):
        found: list[object] = []
        for key, inner in value.items():
            if key == "Attribute" and isinstance(inner, list):
                for each in inner:
                    found += [each] if isinstance(each, dict) else _expected(each)
            else:
                found += _expected(inner)
        return found
    return [each for inner in value for each in _expected(inner)] if isinstance(value, list) else []


@given(_values, st.integers(1, 40), st.sampled_from([None, 1]))
def test_objects_equal_those_of_a_json_parser(value: object, size: int, indent: int | None) -> None:
    document = {"Attribute": [], "y": value}
    data = json.dumps(document, indent=indent).encode()
    found = list(objects((data[i : i + size] for i in range(0, len(data), size)), ["Attribute"]))
    assert [json.loads(each.data) for each in found] == _expected(document)
    for each in found:
        assert each.line <= data.count(b"\n") + 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"Attribute": [{"a": 1}, ', "truncated"),
        (b'{"Attribute": [{"a": 1]}', "closes nothing"),
        (b"}", "closes nothing"),
        (b'{"Attribute": ' + b"[" * 100, "nested deeper"),
        (b'{"a": 1}', "no array Attribute"),
        (b'{"Attribute": [{"a": "' + b"x" * (MAX_OBJECT_BYTES + 1), "longer than"),
    ],
)
def test_hostile_documents_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        list(objects([content], ["Attribute"]))
