"""Feeds as they are exchanged: pages and their layouts, kinds, opinions, and pages that follow."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest

from featsvc.banks.records import Opinion
from featsvc.banks.results import BadRow, ImportOptions, ImportResult, ImportSummary
from featsvc.banks.store import BankStore
from featsvc.errors import InvalidInput
from tests.banks.lists import HASH, case, hex_list, list_file, live, only_bad, only_row, sample

MD5 = "0123456789abcdef" * 2


def stopncii(*records: Mapping[str, Any], **page: Any) -> str:
    return json.dumps({"hashRecords": [{"hashStatus": "Active", **r} for r in records], **page})


def pdq(**fields: Any) -> dict[str, Any]:
    return {"signalType": "ImagePDQ", "hashValue": HASH, **fields}


def feedback(*values: str) -> list[dict[str, Any]]:
    return [{"source": "x", "feedbackValue": value, "tags": []} for value in values]


# The cases, as reported


@pytest.mark.parametrize(
    ("name", "signals", "left_out"),
    [
        (
            "tx_dataset_investigation_seed.csv",
            {"md5": 1, "pdq": 1, "text": 1, "text_sha256": 1},
            {"url": 1, "url_md5": 1},
        ),
        (
            "55_ncmec_entries_large_fingerprints.xml",
            {"md5": 1},
            {"fingerprint by reference": 2},
        ),
        ("64_stopncii_unknown.json", {"md5": 1, "pdq": 2}, {}),
        ("65_stopncii_notblocked.json", {"md5": 1, "pdq": 1}, {}),
        ("stopncii_text_url.json", {"text": 1, "text_sha256": 1}, {"url": 1}),
        ("45_fbx_updates.json", {"md5": 1, "pdq": 2}, {"url": 1, "fingerprint by reference": 1}),
    ],
)
def test_lists_that_were_refused_are_imported(
    bank: BankStore, name: str, signals: dict[str, int], left_out: dict[str, int]
) -> None:
    summary = bank.import_entries("b", list_file(case(name))).summary
    assert (summary.bad_rows, summary.left_out) == (0, left_out)
    assert bank.get_bank("b").signal_counts == signals


def test_the_opinions_of_the_cases() -> None:
    def opinions(name: str) -> list[str]:
        return [row.opinion.value for row in list_file(case(name)) if not isinstance(row, BadRow)]

    assert opinions("tx_dataset_investigation_seed.csv") == ["", "", ""]
    assert opinions("65_stopncii_notblocked.json") == ["", "negative", ""]
    assert opinions("45_fbx_updates.json") == ["negative", "", "", ""]


def test_both_shapes_of_tags_are_read() -> None:
    rows = [row for row in list_file(case("45_fbx_updates.json")) if not isinstance(row, BadRow)]
    assert {row.external_id: row.labels for row in rows if row.labels} == {
        "1": ("t",),
        "6": ("tag1",),
    }


# Shapes


@pytest.mark.parametrize(
    ("values", "opinion"),
    [
        ((), Opinion.UNSPECIFIED),
        (("Blocked", "PendingReview"), Opinion.POSITIVE),
        (("NotBlocked", "NotBlocked"), Opinion.NEGATIVE),
        (("Blocked", "NotBlocked"), Opinion.DISPUTED),
    ],
)
def test_stopncii_feedback_is_an_opinion(values: tuple[str, ...], opinion: Opinion) -> None:
    assert only_row(stopncii(pdq(CSPFeedbacks=feedback(*values)))).opinion is opinion


RECORDS = [pdq(hashStatus="Active"), pdq(hashStatus="Active", hashValue="ab" * 32)]
PAGES = [{"hashRecords": [record], "hasMoreRecords": False} for record in RECORDS]


def joined(between: str, documents: Iterable[object]) -> str:
    return between.join(map(json.dumps, documents))


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(RECORDS),
        joined("\n", RECORDS),
        joined("\n", PAGES),
        joined("", PAGES),
        json.dumps(PAGES),
        json.dumps(PAGES, indent=2),
        "\ufeff" + joined("\r\n\ufeff", PAGES),
    ],
    ids=["records", "record lines", "page lines", "pages", "array", "indented", "marks"],
)
@pytest.mark.parametrize("chunk_bytes", [1, 1000])
def test_layouts_of_a_feed(content: str, chunk_bytes: int) -> None:
    file = list_file(content, chunk_bytes=chunk_bytes)
    rows = [row for row in file if not isinstance(row, BadRow)]
    assert file.format == "stopncii"
    assert [s.text for row in rows for s in row.signals] == [HASH, "ab" * 32]


def test_a_bad_record_is_named_by_its_number_if_all_are_in_one_line() -> None:
    records = [pdq(hashValue=f"{n:064x}") for n in range(3000)]
    records[2345]["hashValue"] = "zz"
    bad = only_bad(stopncii(*records))
    assert (bad.line, bad.column) == (1, "hashValue")
    assert bad.reason.endswith("(record 2346)")


def test_a_page_of_an_error_is_not_overlooked() -> None:
    bad = only_bad(stopncii(pdq()) + '\n{"error": {"code": 190}}')
    assert bad.line == 2
    assert "neither a page, which has hashRecords, nor a record" in bad.reason


def test_a_deletion_that_is_not_understood_is_refused() -> None:
    record = {"id": 7, "algorithm": "MD5", "hash_digest": MD5, "deleted": "true"}
    assert only_bad(json.dumps({"results": [record], "next": None})).column == "deleted"


def test_a_deleted_indicator_needs_its_id_only() -> None:
    row = only_row('{"data": [{"id": "7", "should_delete": true}], "paging": {}}')
    assert (row.external_id, row.withdrawn, row.signals) == ("7", True, ())


def test_labels_that_an_entry_cannot_have_are_counted() -> None:
    tags = [f"t{n}" for n in range(40)] + ["x" * 200, "a\x07b"]
    file = list_file(stopncii(pdq(CSPFeedbacks=[{"tags": tags}])))
    (row,) = file
    assert not isinstance(row, BadRow)
    assert row.labels == tuple(tags[:32])
    assert file.left_out == {"label": 10}


@pytest.mark.parametrize(
    ("value", "left_out"),
    [
        ("QUJD" * 30, {}),
        ("/abc+" * 24, {}),
        ("/v2/entries/1/fingerprints/TMK_PDQF", {"fingerprint by reference": 1}),
        ("https://example.com/tmk", {"fingerprint by reference": 1}),
        ("x" * 20_000, {"tmk of more than 16,384 characters": 1}),
    ],
)
def test_a_stored_fingerprint_is_no_address(value: str, left_out: dict[str, int]) -> None:
    file = list_file(stopncii({"signalType": "VideoTMK", "hashValue": value}))
    assert len(list(file)) == (not left_out)
    assert file.left_out == left_out


def test_an_encoding_that_xml_does_not_have_is_refused() -> None:
    for name in ("UUTF-8", "gb18030"):
        content = sample("ncmec.xml").replace(b'"UTF-8"', f'"{name}"'.encode())
        with pytest.raises(InvalidInput, match="line 1: not"):
            list(list_file(content))


# Pages that follow


def ncmec(more: bool) -> bytes:
    page = sample("ncmec.xml")
    paging = b"<paging><next>/v2/entries?start=6&amp;size=5</next></paging></queryResult>"
    return page.replace(b"</queryResult>", paging) if more else page


def json_page(name: str, more: Mapping[str, Any], done: Mapping[str, Any]) -> tuple[bytes, bytes]:
    page = json.loads(sample(name))
    return json.dumps(page | more).encode(), json.dumps(page | done).encode()


FEED_PAGES = {
    "ncmec-xml": (ncmec(True), ncmec(False)),
    "stopncii": json_page("stopncii.json", {"hasMoreRecords": True}, {"hasMoreRecords": False}),
    "tat": json_page("techagainstterrorism.json", {"next": "https://x/?a=1"}, {"next": None}),
    "threat-updates": json_page(
        "threat_updates.json",
        {"paging": {"cursors": {"after": "x"}, "next": "https://x"}},
        {"paging": {"cursors": {"after": "x"}}},
    ),
}


@pytest.mark.parametrize("name", FEED_PAGES)
def test_replace_refuses_a_page_that_says_that_more_follow(bank: BankStore, name: str) -> None:
    more, done = FEED_PAGES[name]
    bank.import_entries("b", list_file(hex_list([1, 2])))
    before = bank.head().revision, live(bank)
    for content in (more, done + more):
        for dry_run in (False, True):
            file = list_file(content)
            with pytest.raises(InvalidInput, match="concatenate all of them") as refused:
                bank.import_entries("b", file, ImportOptions(replace=True, dry_run=dry_run))
            assert (file.format, refused.value.reason) == (name, "PARTIAL_LIST")
    assert (bank.head().revision, live(bank)) == before
    assert bank.import_entries("b", list_file(more)).summary.new_entries > 0
    result = bank.import_entries("b", list_file(more + b"\n" + done), ImportOptions(replace=True))
    # Replace withdraws entries of the sources that the file has; NCMEC's have a source.
    assert result.summary.withdrawn_entries == (0 if name == "ncmec-xml" else 2)


# Results


def test_an_answer_that_was_stored_before_has_nothing_left_out() -> None:
    result = ImportResult(ImportSummary(rows=3, left_out={"url": 2}), 7, False, "tat", "ab")
    stored = json.loads(msgspec.json.encode(result))
    assert msgspec.json.decode(json.dumps(stored), type=ImportResult) == result
    del stored["summary"]["left_out"]
    assert msgspec.json.decode(json.dumps(stored), type=ImportResult).summary.left_out == {}
