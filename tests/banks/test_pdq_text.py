"""Lists of PDQ text."""

import pytest

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import EntrySignal
from tests.banks.lists import HASH, only_row, rows_of, sample


@pytest.mark.parametrize("content", [HASH, HASH.upper(), f"  {HASH}  \r\n", f"\ufeff{HASH}\n\n \n"])
def test_pdq_text_may_have_upper_case_blanks_bom_and_crlf(content: str) -> None:
    row = only_row(content, "pdq-text")
    assert row.signals == (EntrySignal("pdq", bytes.fromhex(HASH)),)


def test_the_path_of_pdq_text_is_the_external_id() -> None:
    rows = rows_of(sample("pdq_hex.txt"))
    ids = [row.external_id for row in rows if isinstance(row, ImportRow)]
    assert ids == ["", "", "", "path/with, comma.jpg"]
