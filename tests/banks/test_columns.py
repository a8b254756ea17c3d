"""Columns of tables: names of others, maps, columns for each algorithm, and what is not read."""

import pytest

from featsvc.banks.lists.formats.columns import COLUMNS, HARMLESS, OTHER_NAMES, algorithm_named
from featsvc.banks.lists.formats.csv_rows import Cells
from featsvc.banks.lists.formats.reading import Reading
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.results import BadRow, ImportOptions
from featsvc.banks.store import BankStore
from featsvc.errors import InvalidInput
from tests.banks.lists import HASH, list_file, live, only_row

MD5 = "ab" * 16
SHA1 = "cd" * 20


def read(content: str, **given: object) -> tuple[list[ImportRow | BadRow], Reading]:
    file = list_file(content)
    file.reading = Reading(**given)  # type: ignore[arg-type]
    return list(file), file.reading


def refused(content: str, **given: object) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(content, **given)
    return str(caught.value)


def test_the_written_columns_are_the_known_ones() -> None:
    assert Cells._fields == COLUMNS
    names = [name for others in OTHER_NAMES.values() for name in others]
    assert len({*names, *COLUMNS, *HARMLESS}) == len(names) + len(COLUMNS) + len(HARMLESS)
    assert not any(map(algorithm_named, [*names, *HARMLESS, *COLUMNS]))


@pytest.mark.parametrize(
    ("ours", "theirs"), [(ours, name) for ours, names in OTHER_NAMES.items() for name in names]
)
def test_names_of_others_are_ours(ours: str, theirs: str) -> None:
    cells = {
        "algorithm": "md5", "signal": MD5, "external_id": "7", "labels": "x", "note": "n",
        "expire_time": "2030-01-31", "withdrawn": "true",
    }  # fmt: skip
    expected = only_row(f"{','.join(cells)}\n{','.join(cells.values())}\n")
    header = ",".join(theirs.upper() if name == ours else name for name in cells)
    assert only_row(f"{header}\n{','.join(cells.values())}\n") == expected
    # Our own name wins, and theirs is then unknown.
    both = f"{','.join(cells)},{theirs}\n{','.join(cells.values())},x\n"
    assert f"unknown column {theirs!r}" in refused(both)


def test_two_names_for_one_column_are_a_question() -> None:
    message = refused(f"type,hash,value\nmd5,{MD5},{MD5}\n")
    assert "--map signal=COLUMN" in message
    rows, reading = read(f"type,hash,value\nmd5,{MD5},x\n", ignored_columns=("value",))
    assert isinstance(rows[0], ImportRow)
    assert reading.unread_columns == ("value",)


@pytest.mark.parametrize("name", ["status", "Deleted At", "state", "verdict", "x"])
def test_an_unknown_column_is_never_dropped_in_silence(name: str) -> None:
    content = f"algorithm,signal,{name}\nmd5,{MD5},1\n"
    message = refused(content)
    assert f"unknown column {name!r}" in message
    assert f"--ignore-column {name}" in message
    rows, reading = read(content, ignored_columns=(name.upper(),))
    assert isinstance(rows[0], ImportRow)
    assert reading.unread_columns == (name,)
    (row,), reading = read(content, column_map={"withdrawn": name})
    assert isinstance(row, ImportRow)
    assert row.withdrawn
    assert reading.unread_columns == ()


def test_columns_about_the_file_are_named_and_not_read() -> None:
    (row,), reading = read(f"File Name,md5,size\na.jpg,{MD5},12\n")
    assert isinstance(row, ImportRow)
    assert row.external_id == ""
    assert reading.unread_columns == ("File Name", "size")


def test_a_column_for_each_algorithm_is_an_entry_in_each_row() -> None:
    content = (
        f"id,MD5,SHA-1,photoDNA,pdq_hash,quality\n7,{MD5},,QUJD,{HASH},90\n8,,{SHA1},,,\n9,,,,,\n"
    )
    rows, _ = read(content)
    assert isinstance(rows[0], ImportRow)
    assert [(s.algorithm, s.text, s.quality) for s in rows[0].signals] == [
        ("md5", MD5, None),
        ("pdna", "QUJD", None),
        ("pdq", HASH, 90),
    ]
    assert isinstance(rows[1], ImportRow)
    assert [s.algorithm for s in rows[1].signals] == ["sha1"]
    assert isinstance(rows[2], BadRow)
    assert "no signal" in rows[2].reason


def test_a_bad_cell_of_a_wide_row_names_its_column() -> None:
    ((bad,), _) = read(f"md5,sha1\n{MD5},{SHA1[:-1]}\n")
    assert isinstance(bad, BadRow)
    assert bad.column == "sha1"


def test_the_sender_names_the_algorithm() -> None:
    assert "64 hex digits may be PDQ or SHA-256" in refused(f"hash\n{HASH}\n")
    (row,), _ = read(f"hash\n{HASH}\n", algorithm="SHA-256")
    assert isinstance(row, ImportRow)
    assert row.signals[0].algorithm == "sha256"
    rows, _ = read(f"hash,id\n{MD5},1\n{SHA1},2\nzz,3\n")
    assert [type(row) for row in rows] == [ImportRow, ImportRow, BadRow]
    assert "leave the option out" in refused(f"type,hash\nmd5,{MD5}\n", algorithm="md5")
    assert "leave it out" in refused('{"signals": []}\n{"external_id": "a"}\n', algorithm="md5")


def test_a_map_names_the_columns() -> None:
    content = f"kind;fingerprint;ref\nmd5;{MD5};7\n"
    message = refused(content)
    assert "--map algorithm=COLUMN,signal=COLUMN" in message
    assert "kind, fingerprint, ref; divided by semicolons" in message
    given = {"algorithm": "KIND", "signal": "fingerprint", "external_id": "ref"}
    (row,), reading = read(content, column_map=given)
    assert isinstance(row, ImportRow)
    assert (row.external_id, reading.used_map) == ("7", given)
    assert "which the header has 0 times" in refused(content, column_map={"signal": "hash"})
    (row,), _ = read(f"ref,fp\n7,{SHA1}\n", column_map={"sha1": "fp", "external_id": "ref"})
    assert isinstance(row, ImportRow)
    assert row.signals[0].text == SHA1


def imported(store: BankStore, content: str, **options: object) -> tuple[dict[str, str], bool]:
    result = store.import_entries("b", list_file(content), ImportOptions(**options))  # type: ignore[arg-type]
    assert not result.refused
    return dict(result.column_map), result.map_remembered


def test_a_bank_remembers_its_map(store: BankStore) -> None:
    store.create_bank("b")
    given = {"algorithm": "kind", "signal": "fp"}
    content = "kind,fp\nmd5,{}\n"
    with pytest.raises(InvalidInput, match="none of our columns"):
        imported(store, content, column_map={"nonsense": "kind"})
    assert imported(store, content.format(MD5), column_map=given, dry_run=True) == (given, False)
    assert store.get_bank("b").import_map == {}
    assert imported(store, content.format(MD5), column_map=given) == (given, False)
    assert store.get_bank("b").import_map == given
    assert imported(store, content.format("11" * 16)) == (given, True)
    # A list without those columns is read by its own names.
    assert imported(store, f"type,hash\nmd5,{'22' * 16}\n") == ({}, False)
    assert store.get_bank("b").import_map == given
    assert len(live(store)) == 3
    assert imported(store, f"type,hash\nmd5,{'22' * 16}\n", column_map={"": ""}) == ({}, False)
    assert store.get_bank("b").import_map == {}
    with pytest.raises(InvalidInput, match="--map"):
        imported(store, content.format(MD5))


def test_new_options_change_no_fingerprint_at_their_defaults() -> None:
    assert repr(ImportOptions(source="s")) == (
        "ImportOptions(source='s', labels=(), dry_run=False, skip_bad=False, replace=False, "
        "etag='')"
    )
    assert "algorithm='md5'" in repr(ImportOptions(algorithm="md5"))
