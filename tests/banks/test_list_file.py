"""Reading of list files: accepted rows, and bad rows with their line and column."""

import hashlib
import threading
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featsvc.banks.lists import list_file as list_file_module
from featsvc.banks.lists.formats.csv_rows import MAX_OPEN_BYTES
from featsvc.banks.lists.formats.lines import MAX_LINE_BYTES, Lines
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.records import EntrySignal, Opinion
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput
from tests.banks.lists import hex_list, list_file, sample

HASH = "0123456789abcdef" * 4
CSV_HEADER = "algorithm,signal,external_id,labels,source,opinion,note,expire_time\n"


def rows_of(content: bytes | str) -> list[ImportRow | BadRow]:
    return list(list_file(content))


def only_row(content: bytes | str) -> ImportRow:
    (row,) = rows_of(content)
    assert isinstance(row, ImportRow), row
    return row


def only_bad(content: bytes | str) -> BadRow:
    bad = [row for row in rows_of(content) if isinstance(row, BadRow)]
    assert len(bad) == 1, bad
    return bad[0]


@pytest.mark.parametrize("content", [HASH, HASH.upper(), f"  {HASH}  \r\n", f"\ufeff{HASH}\n\n \n"])
def test_pdq_text_may_have_upper_case_blanks_bom_and_crlf(content: str) -> None:
    row = only_row(content)
    assert row.signals == (EntrySignal("pdq", bytes.fromhex(HASH)),)


def test_the_path_of_pdq_text_is_the_external_id() -> None:
    rows = rows_of(sample("pdq_hex.txt"))
    ids = [row.external_id for row in rows if isinstance(row, ImportRow)]
    assert ids == ["", "", "", "path/with, comma.jpg"]


def test_csv_reads_every_column() -> None:
    row = only_row(
        CSV_HEADER
        + f'MD5,{"AB" * 16},id-1," a;b ;a",src,Positive,"said ""so"", twice\nover",2030-01-31\n'
    )
    assert row.signals == (EntrySignal("md5", b"\xab" * 16),)
    assert (row.external_id, row.labels, row.source) == ("id-1", ("a", "b"), "src")
    assert (row.opinion, row.note) == (Opinion.POSITIVE, 'said "so", twice\nover')
    assert row.expire_time is not None
    assert row.expire_time.isoformat() == "2030-01-31T00:00:00+00:00"


def test_broken_sample_names_every_bad_row() -> None:
    bad = [row for row in rows_of(sample("broken.csv")) if isinstance(row, BadRow)]
    assert [(row.line, row.column) for row in bad] == [
        (3, "signal"),
        (4, "signal"),
        (5, "algorithm"),
        (7, ""),
    ]
    assert "61" in bad[0].reason
    assert "'z' at position 1" in bad[1].reason
    assert "unknownhash" in bad[2].reason
    assert "2 fields" in bad[3].reason


@pytest.mark.parametrize(
    ("cell", "column"),
    [
        (",,,maybe,,", "opinion"),
        (",,,,,tomorrow", "expire_time"),
        (f"{'x' * 513},,,,,", "external_id"),
        (f",{';'.join(map(str, range(33)))},,,,", "labels"),
        (f",{'x' * 129},,,,", "labels"),
        (f",,,,{'x' * 4097},", "note"),
    ],
)
def test_csv_bad_cells_name_their_column(cell: str, column: str) -> None:
    bad = only_bad(CSV_HEADER + f"pdq,{HASH},{cell}\n")
    assert (bad.line, bad.column) == (2, column)
    assert len(bad.row) <= 256


def test_an_open_quote_is_one_bad_row() -> None:
    swallowed = "y" * 100 + "\n"
    content = (
        CSV_HEADER
        + f'pdq,{HASH},"open,,,,,\n'
        + swallowed * (MAX_OPEN_BYTES // len(swallowed) + 1)
        + f"pdq,{HASH},after,,,,,\n"
    )
    rows = rows_of(content)
    assert isinstance(rows[0], BadRow)
    assert rows[0].line == 2
    assert "quote" in rows[0].reason
    assert isinstance(rows[-1], ImportRow)
    assert rows[-1].external_id == "after"


@pytest.mark.parametrize(
    "header",
    ["algorithm,signal,labls", "algorithm,signal,note,note", "algorithm,signal,"],
)
def test_csv_with_a_wrong_header_is_refused(header: str) -> None:
    with pytest.raises(InvalidInput, match="line 1"):
        rows_of(f"{header}\npdq,{HASH},x\n")


@pytest.mark.parametrize("content", ["", "hello\nworld\n", "<xml/>", "a,b\n1,2\n"])
def test_unknown_content_is_refused(content: str) -> None:
    with pytest.raises(InvalidInput, match="csv"):
        rows_of(content)


def test_unknown_format_name_is_refused() -> None:
    with pytest.raises(InvalidInput, match="pdq-text"):
        ListFile([], format="yaml")


def test_detects_a_list_whose_first_row_is_broken() -> None:
    rows = rows_of(f"{HASH[:-1]}\n{HASH}\n")
    assert [type(row) for row in rows] == [BadRow, ImportRow]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\xff\xfe", "byte 1 of the line is not UTF-8"),
        (HASH.encode() + b",a\0b", "NUL"),
        (HASH.encode() + b"," + b"x" * MAX_LINE_BYTES, f"longer than {MAX_LINE_BYTES} bytes"),
    ],
)
def test_hostile_lines_are_bad_rows(line: bytes, reason: str) -> None:
    content = HASH.encode() + b"\n" + line + b"\n" + HASH.encode() + b",last\n"
    rows = rows_of(content)
    assert isinstance(rows[1], BadRow)
    assert (rows[1].line, reason in rows[1].reason) == (2, True)
    assert isinstance(rows[2], ImportRow)
    assert rows[2].line == 3


def test_an_endless_line_is_not_kept_in_memory() -> None:
    def chunks() -> list[bytes]:
        return [b"x" * 2**20] * 100

    lines = Lines(iter(chunks()))
    assert list(lines) == [""]
    (bad,) = lines.take_bad()
    assert len(bad.row) == 256


@given(st.lists(st.sampled_from(["", "a", "bé", "c,d", "x" * 300])), st.integers(1, 50))
def test_lines_do_not_depend_on_the_pieces(lines: list[str], size: int) -> None:
    data = b"".join(line.encode() + b"\r\n" for line in lines)
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    assert list(Lines(pieces)) == lines


def test_a_file_counts_and_hashes_its_bytes() -> None:
    content = hex_list(range(500))
    file = list_file(content, name="C:\\lists\\a.txt")
    assert sum(1 for _ in file) == 500
    assert (file.bytes_read, file.rows_read) == (len(content), 500)
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert (file.name, file.format) == ("a.txt", "pdq-text")


def test_no_bad_row_is_lost_to_a_slow_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_file_module, "MAX_REJECTED_WAITING", 10)
    rows = [BadRow(line, "", "bad", "") for line in range(100)]
    file = ListFile([], keep_rejected=True)
    rejecting = threading.Thread(target=lambda: deque(map(file.reject, rows)))
    rejecting.start()
    taken: list[BadRow] = []
    while len(taken) < len(rows):
        taken += file.take_rejected(7)
    rejecting.join()
    assert taken == rows


def test_a_file_does_not_wait_for_a_sender_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_file_module, "MAX_REJECTED_WAITING", 1)
    file = ListFile([], keep_rejected=True, sender_gone=lambda: True)
    file.reject(BadRow(1, "", "bad", ""))
    with pytest.raises(InvalidInput, match="ends after 0 bytes"):
        file.reject(BadRow(2, "", "bad", ""))
    assert ListFile([]).take_rejected(1) == []


@pytest.mark.parametrize("size_bytes", [64, 66])
def test_a_file_of_another_size_than_announced_is_refused(size_bytes: int) -> None:
    with pytest.raises(InvalidInput, match=f"after 65 of {size_bytes} bytes"):
        list(ListFile([HASH.encode() + b"\n"], size_bytes=size_bytes))
