"""Tables: within the width of any terminal no hash goes on in the next line."""

import io
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featsvc.cli import output

WORDS = st.text("abc", max_size=12)
CELLS = {
    "hash": st.text("0123456789abcdef", min_size=64, max_size=64),
    "id": WORDS,
    "labels": st.lists(WORDS, max_size=4).map(", ".join),
    "number": st.integers(0, 10**9),
    "empty": st.just(""),
}
ROWS = st.lists(st.tuples(*CELLS.values()), min_size=1, max_size=4)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(
    columns: Sequence[str], rows: Sequence[Sequence[object]], width: int, *, one_line: bool = False
) -> list[str]:
    """The lines of a table on a terminal, without its colours."""
    with pytest.MonkeyPatch.context() as patch:
        terminal = Terminal()
        patch.setattr("sys.stdout", terminal)
        patch.setenv("COLUMNS", str(width))
        patch.setenv("TERM", "xterm")
        output.table(columns, rows, one_line=one_line)
    return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()


@settings(max_examples=50)
@given(rows=ROWS, width=st.integers(50, 200), one_line=st.booleans())
def test_a_table_fits_and_breaks_no_hash(
    rows: list[tuple[str, str, str, int, str]], width: int, one_line: bool
) -> None:
    lines = drawn(list(CELLS), rows, width, one_line=one_line)
    assert all(len(line) <= width for line in lines)
    assert "empty" not in lines[0]
    hashes = [row[0] for row in rows]
    shown = [line.split()[0] for line in lines[2:] if line[:1] not in ("", " ")]
    assert len(shown) == len(hashes)
    for short, whole in zip(shown, hashes, strict=True):
        assert short == whole or (short[-1] == "…" and whole.startswith(short[:-1]))
        assert len(short) > 4
    for row in rows:
        # A number that is cut is another number.
        assert any(str(row[3]) in line.split() for line in lines)
    if one_line:
        assert len(lines) == 2 + len(rows)


def test_a_pipe_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("signal", "note"), [("0f" * 300, "word " * 500)])
    _, _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["0f" * 300, *["word"] * 500]


def test_a_table_without_rows_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("a", "b"), [])
    output.fields([("a", ""), ("b", None)])
    assert capsys.readouterr().out == ""


def test_fields_are_lines_of_name_and_value(capsys: pytest.CaptureFixture[str]) -> None:
    output.fields([("mode", "off"), ("description", ""), ("entries", 0)])
    assert capsys.readouterr().out == "mode     off\nentries  0\n"


def test_the_name_of_a_task_is_no_markup() -> None:
    assert output.task_name("importing [red]\x1b[31m") == "importing \\[red]\\x1b[31m"
