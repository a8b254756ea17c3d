"""CSV that a spreadsheet opens without running a cell, and that an import reads back exactly."""

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from featsvc.banks.lists.formats.csv_rows import HEADER, read, write
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.lists.formats.spreadsheet import format_cell, parse_cell
from featsvc.banks.records import BankSettings, Entry, EntrySignal, Opinion
from featsvc.banks.store import BankStore
from tests.banks.lists import exported, list_file, live

# What a spreadsheet runs, what readers strip, what CSV quotes, and any other text.
LIKELY = st.text("=+-@\t\r\n '\";,a\u00a0\x1c", max_size=6)
TEXTS = LIKELY | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20
)
NAMES = st.text("=+-@ '\";,a", min_size=1, max_size=6)
LABEL = NAMES.map(lambda text: text.replace(";", "").strip()).filter(bool)
ENTRY = Entry(
    id=1,
    bank_id="b",
    external_id="",
    signals=(EntrySignal("md5", bytes(16)),),
    labels=(),
    source="",
    opinion=Opinion.UNSPECIFIED,
    note="",
    expire_time=None,
    added_revision=1,
    removed_revision=None,
    quarantined=False,
    create_time=datetime(2026, 1, 1, tzinfo=UTC),
)


def runs(cell: str) -> bool:
    """Whether a spreadsheet would run a cell: the list of OWASP's page on CSV injection."""
    return cell[:1] in {"=", "+", "-", "@", "\t", "\r"}


@given(TEXTS)
@example("'t Hooft")
@example("'=1")
@example("''")
@example("'a ")
def test_a_written_cell_is_no_formula_and_is_read_back(text: str) -> None:
    cell = format_cell(text)
    assert not runs(cell)
    assert parse_cell(cell) == text


@given(TEXTS.filter(lambda text: not text.startswith("'")))
def test_a_cell_of_others_is_read_without_blanks_around_it(text: str) -> None:
    assert parse_cell(text) == text.strip()


@pytest.mark.parametrize("cell", ["'t Hooft", " 't Hooft ", "'t Hooft ", "'", "''"])
def test_an_apostrophe_of_others_stays(cell: str) -> None:
    assert parse_cell(cell) == cell.strip()


@given(
    external_id=TEXTS,
    source=TEXTS,
    note=TEXTS,
    labels=st.lists(LABEL, max_size=3, unique=True),
    variant=NAMES.map(str.strip).filter(bool),
)
def test_any_text_survives_export_and_import(
    external_id: str, source: str, note: str, labels: list[str], variant: str
) -> None:
    """Line breaks within a cell are LF afterwards, whatever they were."""
    entry = replace(
        ENTRY,
        external_id=external_id,
        source=source,
        note=note,
        labels=tuple(labels),
        signals=(
            EntrySignal("md5", bytes(16), variant),
            EntrySignal("pdna", b"=cmd|' /C calc'!A0"),
        ),
    )
    written = HEADER + b"".join(write(entry))
    cells = list(csv.reader(io.StringIO(written.decode(), newline="")))
    assert not any(runs(cell) for row in cells for cell in row)
    rows = list(read([written]))
    assert all(isinstance(row, ImportRow) for row in rows), rows
    assert tuple(row.signals[0] for row in rows if isinstance(row, ImportRow)) == entry.signals
    for row in rows:
        assert isinstance(row, ImportRow)
        assert (row.external_id, row.source, row.note) == tuple(
            text.replace("\r\n", "\n") for text in (external_id, source, note)
        )
        assert row.labels == entry.labels


def test_a_bank_of_formulas_is_the_same_after_a_round(tmp_path: Path) -> None:
    with_formulas = "algorithm,signal,external_id,labels,source,note\n" + "".join(
        f"md5,{n:032x},{sign}{n},{sign}1,{sign}SUM(1),'{sign}x\n" for n, sign in enumerate("=+-@")
    )
    store = BankStore(f"sqlite:///{tmp_path / 'banks.db'}")
    for bank in ("a", "b"):
        store.create_bank(bank, BankSettings())
    store.import_entries("a", list_file(with_formulas))
    content = exported(store, "a", "csv")
    assert b",'=0,'=1,'=SUM(1)," in content
    store.import_entries("b", list_file(content))
    assert exported(store, "b", "csv") == content
    entries = [entry for (bank, _), entry in live(store).items() if bank == "b"]
    assert {(e.external_id, e.labels, e.source, e.note) for e in entries} == {
        (f"{sign}{n}", (f"{sign}1",), f"{sign}SUM(1)", f"{sign}x") for n, sign in enumerate("=+-@")
    }
    store.close()
