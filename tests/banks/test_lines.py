"""Bytes to lines: pieces, endless lines, and bytes that are no text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featsvc.banks.lists.formats.lines import MAX_LINE_BYTES, Lines
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.results import BadRow
from tests.banks.lists import HASH, rows_of


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
    rows = rows_of(content, "pdq-text")
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
