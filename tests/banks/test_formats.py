"""All formats: samples, compression, hostile documents, and exports that import again."""

import gzip
import json
import re
from collections import deque
from collections.abc import Iterator
from importlib import import_module
from inspect import isfunction
from pathlib import Path

import click
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from featsvc.banks.lists import formats
from featsvc.banks.lists.formats import FORMATS, detect
from featsvc.banks.lists.formats.compression import MAX_RATIO, decompressed
from featsvc.banks.lists.formats.json_records import records
from featsvc.banks.lists.formats.lines import read_lines
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.records import BankSettings, Opinion
from featsvc.banks.results import BadRow, ImportOptions
from featsvc.banks.store import BankStore
from featsvc.cli.bank_lists import export
from featsvc.errors import InvalidInput
from tests.banks.lists import exported, hex_list, list_file, live, sample
from tests.photographs import ROOT

HASH = "0123456789abcdef" * 4


def rows_of(content: bytes | str, chunk_bytes: int = 1000) -> list[ImportRow]:
    rows = list(list_file(content, chunk_bytes=chunk_bytes))
    bad = [row for row in rows if isinstance(row, BadRow)]
    assert bad == []
    return [row for row in rows if isinstance(row, ImportRow)]


@pytest.mark.parametrize("chunk_bytes", [1, 7, 100_000])
def test_ncmec_sample(chunk_bytes: int) -> None:
    content = sample("ncmec.xml")
    rows = rows_of(content, chunk_bytes)
    assert [(row.external_id, row.withdrawn) for row in rows] == [
        ("42-image1", False),
        ("42-image2", False),
        ("42-image3", False),
        ("42-image4", False),
        ("42-image2", True),
        ("42-video1", False),
    ]
    assert [s.algorithm for s in rows[0].signals] == ["md5", "sha1", "pdq"]
    assert (rows[0].labels, rows[0].source) == (("A1",), "Example Member")
    assert rows[1].signals[2].text.startswith("ac5d960c")
    assert rows[0].line == content[: content.index(b"<image>")].count(b"\n") + 1


@pytest.mark.parametrize("chunk_bytes", [1, 7, 100_000])
def test_stopncii_sample(chunk_bytes: int) -> None:
    content = sample("stopncii.json")
    rows = rows_of(content, chunk_bytes)
    assert [row.withdrawn for row in rows] == [False, False, True, True, False]
    assert rows[1].labels == ("Nude",)
    assert [row.signals[0].algorithm for row in rows] == ["pdq"] * 4 + ["md5"]
    begin = content.index(b"{", content.index(b"hashRecords"))
    assert rows[0].line == content[:begin].count(b"\n") + 1


def test_tech_against_terrorism_sample() -> None:
    rows = rows_of(sample("techagainstterrorism.json"))
    assert [(r.external_id, r.signals[0].algorithm, r.withdrawn) for r in rows] == [
        ("2819", "md5", False),
        ("2820", "pdq", False),
        ("2821", "pdq", True),
        ("2822", "sha256", False),
    ]
    assert rows[1].labels == ("far_right",)


def test_threat_updates_sample() -> None:
    rows = rows_of(sample("threat_updates.json"))
    assert [(r.external_id, r.withdrawn) for r in rows] == [
        ("900001", False),
        ("900002", True),
        ("900003", False),
    ]
    assert rows[0].labels == ("media_priority_s1", "terrorism")
    assert rows[0].opinion is Opinion.POSITIVE


def test_tx_samples() -> None:
    rows = rows_of(sample("tx_dataset.csv"))
    assert [r.opinion for r in rows] == [Opinion.POSITIVE, Opinion.NEGATIVE, Opinion.POSITIVE]
    assert (rows[0].labels, rows[0].source) == (("tag1", "tag2"), "Sample Signals")
    assert rows[2].signals[0].algorithm == "md5"
    local = rows_of(sample("tx_local_file.txt"))
    assert [r.signals[0].algorithm for r in local] == ["pdq", "pdq", "pdq", "md5"]


def _uuid(number: int) -> str:
    return f"5f0c1d2e-0000-4000-8000-{number:012d}"


SAMPLES = {
    "ours.csv": ("csv", {"case-1", "case-2", "case-3", ""}, 5),
    "ours.jsonl": ("jsonl", {"case-1", "case-2", ""}, 4),
    "hashes.jsonl": ("hashes", {"coffee.png", "notes/long.txt", "old.bin"}, 5),
    "ncmec.xml": ("ncmec-xml", {"42-image1", "42-image3", "42-image4", "42-video1"}, 10),
    "stopncii.json": ("stopncii", {""}, 3),
    "techagainstterrorism.json": ("tat", {"2819", "2820", "2822"}, 3),
    "threat_updates.json": ("threat-updates", {"900001", "900003"}, 2),
    "tx_dataset.csv": ("tx-dataset", {""}, 3),
    "tx_local_file.txt": ("tx", {""}, 4),
    "hashes_bare.txt": ("hash-text", {"", "dir/d.jpg"}, 4),
    "checksums.txt": (
        "checksums",
        {"a.jpg", "dir/b b.jpg", "one\nline.jpg", "d (1).jpg", "f.jpg", ""},
        6,
    ),
    "wide.csv": ("csv", {"1", "2", "3"}, 5),
    "misp.json": ("misp", {_uuid(1), _uuid(2), _uuid(10)}, 4),
    "misp.csv": ("misp-csv", {_uuid(1), _uuid(2), _uuid(10)}, 4),
    "stix.json": (
        "stix",
        {f"file--{_uuid(2)}", f"indicator--{_uuid(3)}", f"indicator--{_uuid(6)}"},
        6,
    ),
    "vics.json": ("vics", {""}, 4),
    "pdq_hex.txt": ("pdq-text", {"", "path/with, comma.jpg"}, 4),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_detected_in_its_samples(name: str) -> None:
    samples = [file for file, (format_name, *_) in SAMPLES.items() if format_name == name]
    assert samples, f"put a {name} file into tests/banks/samples, and a row into SAMPLES"
    for file in samples:
        assert detect(sample(file)) == name


def test_every_reader_is_in_the_table() -> None:
    readers = {known.read for known in FORMATS.values()} | {read_lines}
    for path in Path(formats.__file__).parent.glob("*.py"):
        for name, value in vars(import_module(f"{formats.__name__}.{path.stem}")).items():
            if isfunction(value) and name.startswith("read"):
                assert value in readers, f"lists/formats/__init__.py: no row of {path.stem}.{name}"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_its_row_in_the_guide_and_the_contract(name: str) -> None:
    guide = (ROOT / "docs" / "curators.md").read_text()
    rows = re.findall(r"^\| (`.+?`) \|", guide, re.M)
    assert f"`{name}`" in ", ".join(rows).split(", "), f"docs/curators.md has no row of {name}"
    contract = (ROOT / "proto" / "featsvc" / "v1" / "banks.proto").read_text()
    written = FORMATS[name].write is not None
    mentions = 2 if written else 1
    assert contract.count(f'"{name}"') >= mentions, f"banks.proto: `format` does not name {name}"
    choices = next(p for p in export.params if p.name == "file_format").type
    assert isinstance(choices, click.Choice)
    assert (name in choices.choices) == written, f"featsvc bank export --format: {name}"
    taking_out = guide.partition("## Export or delete a bank")[2].partition("\n## ")[0]
    assert not written or f"`{name}`" in taking_out, f"docs/curators.md: what does {name} drop?"


@pytest.mark.parametrize(
    "compression",
    ["none", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gzip", "zstd"))],
)
@pytest.mark.parametrize("name", SAMPLES)
def test_samples_import_exactly(bank: BankStore, name: str, compression: str) -> None:
    format_name, ids, signals = SAMPLES[name]
    content = sample(name)
    if compression == "gzip":
        content = gzip.compress(content[:100]) + gzip.compress(content[100:])
    elif compression == "zstd":
        content = zstandard.compress(content)
    result = bank.import_entries("b", list_file(content))
    assert result.format == format_name
    entries = live(bank).values()
    assert {entry.external_id for entry in entries} == ids
    assert sum(len(entry.signals) for entry in entries) == signals
    assert bank.get_bank("b").signal_count == signals
    again = bank.import_entries("b", list_file(content))
    assert (again.revision, again.summary.unchanged_entries) == (0, len(entries))


def test_a_feed_withdraws_entries_of_an_earlier_feed(bank: BankStore) -> None:
    content = sample("stopncii.json")
    bank.import_entries("b", list_file(content.replace(b"Withdrawn", b"Active")))
    assert bank.get_bank("b").entry_count == 4
    result = bank.import_entries("b", list_file(content))
    assert (result.summary.withdrawn_entries, result.summary.unchanged_entries) == (1, 3)
    assert bank.get_bank("b").entry_count == 3


def test_the_last_row_of_an_entry_decides(bank: BankStore) -> None:
    entry: dict[str, object] = {
        "external_id": "a",
        "signals": [{"algorithm": "pdq", "signal": HASH}],
    }
    withdrawal: dict[str, object] = {"external_id": "a", "withdrawn": True}

    def imported(*documents: dict[str, object]) -> int:
        content = "".join(json.dumps(d) + "\n" for d in documents)
        bank.import_entries("b", list_file(content))
        return bank.get_bank("b").entry_count

    assert imported(entry, withdrawal) == 0
    assert imported(withdrawal, entry) == 1
    assert imported(withdrawal, entry, withdrawal, entry) == 1
    assert imported(entry, entry, withdrawal) == 0


def test_signals_that_never_match_are_kept_and_counted(bank: BankStore) -> None:
    content = f"algorithm,signal,external_id\nPhotoDNA,QUJD/+==,a\ntmk,xyz,a\npdq,{HASH},a\n"
    result = bank.import_entries("b", list_file(content))
    assert result.summary.unmatchable_signals == 2
    (entry,) = live(bank).values()
    assert [s.text for s in entry.signals] == ["QUJD/+==", "xyz", HASH]


def test_signals_of_plain_pictures_are_counted(bank: BankStore) -> None:
    plain = ["00" * 32, "f0" * 32, "ff" * 32, f"{2**200 * 7:064x}"]
    content = ",\n".join([*plain, f"{HASH[:63]}0"])
    good = sample("pdq_hex.txt").decode()
    assert bank.import_entries("b", list_file(good)).summary.low_information == 0
    assert bank.import_entries("b", list_file(content)).summary.low_information == 4


def test_a_dry_run_counts_entries_of_other_banks_and_safe_lists(bank: BankStore) -> None:
    bank.create_bank("other")
    bank.create_bank("safe", BankSettings(safe=True))
    bank.import_entries("other", list_file(hex_list([1, 2, 3])))
    bank.import_entries("safe", list_file(hex_list([3, 4])))
    preview = bank.import_entries(
        "b", list_file(hex_list([2, 3, 4, 5])), ImportOptions(dry_run=True)
    )
    assert (preview.summary.in_other_banks, preview.summary.in_safe_lists) == (3, 2)
    assert (preview.revision, preview.summary.new_entries) == (0, 4)


# Hostile documents


def refused(content: bytes, format_name: str = "", chunk_bytes: int = 65_536) -> str:
    pieces = (content[i : i + chunk_bytes] for i in range(0, len(content), chunk_bytes))
    with pytest.raises(InvalidInput) as caught:
        list(ListFile(pieces, format=format_name))
    return str(caught.value)


def test_entities_are_refused() -> None:
    laughs = b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">' + b"".join(
        b'<!ENTITY lol%d "%s">' % (i, b"&lol%d;" % (i - 1) * 10) for i in range(1, 10)
    )
    laughs += b"]><queryResult><images><image><id>&lol9;</id></image></images></queryResult>"
    assert "document type" in refused(laughs)
    outside = b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x"><queryResult/>'
    assert "document type" in refused(outside)


@pytest.mark.parametrize(
    ("content", "format_name", "message"),
    [
        (b"<queryResult><images>", "", "not well-formed"),
        (b"<other/>", "ncmec-xml", "not a queryResult"),
        (b"<queryResult>" + b"<a>" * 100, "", "nested deeper"),
        (b"<queryResult><" + b"a" * 3_000_000, "", "longer than"),
        (b"<queryResult><i><image><id>" + b"a" * 100_000, "", "longer than"),
        (b'{"hashRecords": [{"a": 1}, ', "", "is truncated"),
        (b'{"hashRecords": "' + b"a" * 3_000_000, "", "longer than"),
        (b'{"hashRecords": [' + b"[" * 100, "", "nested deeper"),
        (b'{"results": []}', "stopncii", "no array"),
        (gzip.compress(b"0" * 2**28, mtime=0), "pdq-text", "times as much"),
        (gzip.compress(b"0" * 1000, mtime=0)[:-9], "", "is truncated"),
        (b"\x1f\x8b\x08garbage and more", "", "damaged gzip"),
        (zstandard.compress(b"0" * 2**28), "pdq-text", "times as much"),
        (b"\x28\xb5\x2f\xfdgarbage and more", "", "damaged zstd"),
    ],
)
def test_hostile_documents_are_refused(content: bytes, format_name: str, message: str) -> None:
    assert message in refused(content, format_name)


def test_a_gzip_bomb_is_refused_early() -> None:
    """The bomb is 10 MB of gzip with 10 GB of zeros."""
    piece = gzip.compress(b"\0" * 2**26)
    taken = 0

    def members() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(160):
            taken += 1
            yield piece

    with pytest.raises(InvalidInput, match=str(MAX_RATIO)):
        deque(decompressed(members()), maxlen=0)
    assert taken <= 3


def test_one_line_of_200_mb_is_one_bad_row() -> None:
    def chunks() -> Iterator[bytes]:
        yield HASH.encode() + b"\n"
        for _ in range(200):
            yield b"a" * 2**20
        yield b"\n" + HASH.encode() + b"\n"

    rows = list(ListFile(chunks(), format="pdq-text"))
    assert [type(row) for row in rows] == [ImportRow, BadRow, ImportRow]
    assert isinstance(rows[2], ImportRow)
    assert rows[2].line == 3


def test_bad_records_of_a_feed_name_their_field() -> None:
    content = sample("stopncii.json").replace(b'"ImagePDQ"', b"7", 1)
    content = content.replace(b'"signalType": "VideoMD5"', b'"x": 1').replace(b"1a1cf", b"zzzcf")
    bad = [row for row in list_file(content) if isinstance(row, BadRow)]
    assert [row.column for row in bad] == ["signalType", "hashValue", "signalType"]
    assert [row.reason[-10:] for row in bad] == ["(record 1)", "(record 2)", "(record 5)"]
    assert all(row.line > 1 and len(row.row) <= 256 for row in bad)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["a", "b"]),
            st.recursive(
                st.text(alphabet='{}[]",\\x\n', max_size=8) | st.integers(),
                lambda inner: st.lists(inner, max_size=3),
                max_leaves=5,
            ),
        ),
        max_size=6,
    ),
    st.integers(1, 40),
    st.sampled_from([None, 1]),
)
def test_records_equal_those_of_a_json_parser(
    expected: list[dict[str, object]], size: int, indent: int | None
) -> None:
    document = {"x": {"data": [1]}, "data": expected, "y": [{"data": 2}]}
    data = json.dumps(document, indent=indent).encode()
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    read = list(records(pieces, "data"))
    assert [json.loads(record) for _, record in read] == expected
    if read:
        line, first = read[0]
        assert line == data.count(b"\n", 0, data.index(first)) + 1


@given(st.binary(max_size=300), st.sampled_from(sorted(FORMATS)), st.integers(1, 64))
def test_no_bytes_break_a_reader(data: bytes, format_name: str, size: int) -> None:
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    try:
        rows = list(ListFile(pieces, format=format_name))
    except InvalidInput:
        return
    assert all(isinstance(row, ImportRow | BadRow) for row in rows)


def test_too_many_fingerprints_are_a_bad_row() -> None:
    prints = "".join(f"<md5>{i:032x}</md5>" for i in range(257))
    content = (
        '<queryResult><images><image><member id="1"/><id>a</id>'
        f"<fingerprints>{prints}</fingerprints></image></images></queryResult>"
    )
    (bad,) = list_file(content)
    assert isinstance(bad, BadRow)
    assert "at most 256" in bad.reason


# Exports


_FIELDS = {
    "labels": ["x", "y z"],
    "source": "s",
    "opinion": "disputed",
    "note": 'a, "b"\nc',
    "expire_time": "2031-02-03T04:05:06.000007+00:00",
}
_CROP = {"algorithm": "pdq", "signal": "ab" * 32, "variant": "crop", "quality": 7}
_MD5 = {"algorithm": "md5", "signal": "12" * 16}
_PDQ = {"algorithm": "pdq", "signal": HASH}
_OTHER = {"algorithm": "pdq", "signal": "cd" * 32}
CARRIED: dict[str, list[dict[str, object]]] = {
    "pdq-text": [{"signals": [_PDQ]}, {"external_id": "dir/x, y.jpg", "signals": [_OTHER]}],
    "tx": [{"signals": [_PDQ]}, {"signals": [_MD5]}],
    "csv": [
        {"signals": [_PDQ]},
        {"signals": [_MD5]},
        {"external_id": "ï, 1", "signals": [_CROP, _MD5], **_FIELDS},
    ],
    "jsonl": [
        {"signals": [_PDQ]},
        {"signals": [_MD5]},
        {"external_id": "ï, 1", "signals": [_CROP, _MD5], **_FIELDS},
        {"signals": [_CROP, {"algorithm": "pdna", "signal": "a+b="}], "note": "n"},
    ],
}
"""Entries with all fields that each format can carry."""
WRITTEN = [known.name for known in FORMATS.values() if known.write]


def full_bank(store: BankStore, format_name: str) -> None:
    assert format_name in CARRIED, f"add entries with all that {format_name} can carry to CARRIED"
    store.create_bank("b")
    content = "".join(json.dumps(entry) + "\n" for entry in CARRIED[format_name])
    summary = store.import_entries("b", list_file(content)).summary
    assert summary.new_entries == len(CARRIED[format_name])


@pytest.mark.parametrize("format_name", WRITTEN)
def test_an_export_imports_as_the_same_entries(store: BankStore, format_name: str) -> None:
    full_bank(store, format_name)
    assert store.export_entries("b", format_name).dropped_fields == ()
    content = exported(store, "b", format_name)
    store.create_bank("copy")
    result = store.import_entries("copy", list_file(content))
    assert result.format == format_name
    assert exported(store, "copy", format_name) == content
    again = store.import_entries("b", list_file(content))
    assert (again.revision, again.summary.bad_rows) == (0, 0)
    assert store.diff_revisions("b", 2, 0).total_changes == 0


def test_an_export_names_the_dropped_fields(store: BankStore) -> None:
    full_bank(store, "jsonl")
    assert store.export_entries("b", "csv").dropped_fields == ("grouped signals",)
    dropped = set(store.export_entries("b", "pdq-text").dropped_fields)
    assert {"algorithms other than pdq", "note", "quality", "variant"} <= dropped
    with pytest.raises(InvalidInput, match="jsonl"):
        store.export_entries("b", "xml")
