"""CSV lists: columns, quotes, and bad cells."""

import pytest

from featsvc.banks.lists.formats.csv_rows import MAX_OPEN_BYTES
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import EntrySignal, Opinion
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput
from tests.banks.lists import HASH, only_bad, only_row, rows_of, sample

CSV_HEADER = "algorithm,signal,external_id,labels,source,opinion,note,expire_time\n"


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
    ["algorithm,signal,labls", "algorithm,signal,note,note", "algorithm,signal,status"],
)
def test_csv_with_a_wrong_header_is_refused(header: str) -> None:
    with pytest.raises(InvalidInput, match="line 1"):
        rows_of(f"{header}\npdq,{HASH},x\n")
