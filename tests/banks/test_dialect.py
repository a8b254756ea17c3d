"""Tables in every dialect: delimiters, encodings, line ends, spellings, and mutations of them."""

import base64
import csv
import gzip
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from featsvc.banks.lists.formats import FORMATS, detect
from featsvc.banks.lists.formats.dialect import DELIMITERS
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput
from tests.banks.lists import HASH, SAMPLES, case, list_file, only_bad, only_row, rows_of, sample
from tests.banks.test_formats import SAMPLES as NAMED

COLUMNS = ("algorithm", "signal", "external_id", "labels", "note")
THEIRS = ("Hash Type", "hash_value", "ID", "Tags", "Comment")
BYTES = {"md5": 16, "sha1": 20, "sha256": 32, "pdq": 32}


def _spelled(value: bytes, spelling: str) -> str:
    match spelling:
        case "0x":
            return f"0x{value.hex()}"
        case "upper":
            return value.hex().upper()
        case "base64":
            return base64.b64encode(value).decode()
        case "unpadded":
            return base64.urlsafe_b64encode(value).decode().rstrip("=")
        case "blanks":
            return f"  {value.hex()} "
        case _:
            return value.hex()


@dataclass(frozen=True, slots=True)
class Dialect:
    delimiter: str = ","
    encoding: str = "utf-8"
    newline: str = "\n"
    names: Sequence[str] = COLUMNS
    spelling: str = "hex"
    declared: bool = False
    comments: bool = False
    trailing: int = 0
    quoted: bool = False
    padding: int = 0

    def write(self, rows: Sequence[tuple[str, bytes, str, str, str]]) -> bytes:
        text = io.StringIO()
        if self.declared:
            text.write(f"sep={self.delimiter}{self.newline}")
        if self.comments:
            text.write(f"# exported 2026, by nobody{self.newline}")
        writer = csv.writer(
            text,
            delimiter=self.delimiter,
            lineterminator=self.newline,
            quoting=csv.QUOTE_ALL if self.quoted else csv.QUOTE_MINIMAL,
        )
        more = [""] * self.trailing
        writer.writerow([*self.names, *more])
        for number, (algorithm, value, *others) in enumerate(rows):
            writer.writerow([algorithm, _spelled(value, self.spelling), *others, *more])
            if self.comments and number % 2:
                text.write(f"# page {number}{self.newline}")
        return text.getvalue().encode(self.encoding) + b"\0" * self.padding


_texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=12
)
_rows = st.lists(
    st.sampled_from(sorted(BYTES)).flatmap(
        lambda name: st.tuples(
            st.just(name),
            st.binary(min_size=BYTES[name], max_size=BYTES[name]),
            _texts,
            st.lists(st.sampled_from(["x", "y z", "é"]), max_size=3).map(";".join),
            _texts,
        )
    ),
    min_size=1,
    max_size=5,
)
_dialects = st.builds(
    Dialect,
    delimiter=st.sampled_from(DELIMITERS),
    # utf-16 writes a byte order mark, utf-16-le and -be do not.
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    names=st.sampled_from([COLUMNS, THEIRS, tuple(map(str.upper, COLUMNS))]),
    spelling=st.sampled_from(["hex", "0x", "upper", "base64", "unpadded", "blanks"]),
    declared=st.booleans(),
    comments=st.booleans(),
    trailing=st.integers(0, 2),
    quoted=st.booleans(),
    padding=st.sampled_from([0, 4, 100]),
)


def _compressed(data: bytes, how: str) -> bytes:
    match how:
        case "gzip":
            return gzip.compress(data, mtime=0)
        case "zstd":
            return zstandard.compress(data)
        case _:
            return data


def _read(data: bytes, size: int) -> list[ImportRow | BadRow]:
    return list(ListFile(data[i : i + size] for i in range(0, len(data), size)))


def _without_lines(rows: Sequence[ImportRow | BadRow]) -> list[object]:
    return [row._replace(line=0) if isinstance(row, ImportRow) else row for row in rows]


@given(_rows, _dialects, st.sampled_from(["", "gzip", "zstd"]), st.integers(1, 400))
def test_every_dialect_reads_as_our_own(
    rows: list[tuple[str, bytes, str, str, str]], dialect: Dialect, packed: str, size: int
) -> None:
    ours = _without_lines(_read(Dialect().write(rows), 1000))
    assert [type(row) for row in ours] == [ImportRow] * len(rows)
    theirs = _read(_compressed(dialect.write(rows), packed), size)
    assert _without_lines(theirs) == ours


_E1 = "f162eb9daab170c0567fe3632d9a5548c5612982dd5e374a7424ebbc8a835c95"
_E2 = "98e1bb293f8d1c9d0e49a42cf1b4627a06dbc36ac2c36498dd4f9664239679bb"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("01_utf16le_bom.csv", [(_E1, "e1", ("x",)), (_E2, "e2", ("y",))]),
        ("03_semicolon.csv", [(_E1, "e1", ("x",)), (_E2, "e2", ("y",))]),
        ("12_0x.csv", [(_E1, "e1", ()), (_E2, "e2", ())]),
        ("20_comments.csv", [(_E1, "", ())]),
        ("43_trailing_comma.csv", [(_E1, "e1", ())]),
    ],
)
def test_the_tables_that_failed(
    name: str, expected: list[tuple[str, str, tuple[str, ...]]]
) -> None:
    rows = rows_of(case(name))
    assert expected == [
        (row.signals[0].text, row.external_id, row.labels)
        for row in rows
        if isinstance(row, ImportRow) and row.signals[0].algorithm == "pdq"
    ]
    assert len(rows) == len(expected)


@pytest.mark.parametrize("name", ["tx_dataset.csv", "misp.csv"])
@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("declared", [False, True])
def test_tables_of_others_read_in_every_dialect(name: str, delimiter: str, declared: bool) -> None:
    text = io.StringIO()
    if declared:
        text.write(f"sep={delimiter}\n")
    table = csv.reader(io.StringIO(sample(name).decode()))
    csv.writer(text, delimiter=delimiter).writerows(table)
    file, ours = list_file(text.getvalue()), list_file(sample(name))
    assert _without_lines(list(file)) == _without_lines(list(ours))
    assert (file.format, file.left_out) == (NAMED[name][0], ours.left_out)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    "name", [p.name for p in sorted(SAMPLES.iterdir()) if p.suffix in (".txt", ".jsonl", ".json")]
)
def test_every_line_format_reads_in_every_encoding(
    name: str, encoding: str, newline: bytes
) -> None:
    content = sample(name)
    if name.startswith("store-"):
        pytest.skip("not a list")
    expected = _read(content, 1000)
    text = content.replace(b"\n", newline).decode()
    assert _without_lines(_read(text.encode(encoding), 1000)) == _without_lines(expected)


@given(st.data())
def test_a_mutated_list_is_rows_bad_rows_or_an_error_with_a_place(data: st.DataObject) -> None:
    names = [p.name for p in sorted(SAMPLES.iterdir()) if not p.name.startswith("store-")]
    content = bytearray(sample(data.draw(st.sampled_from(names))))
    encoding = data.draw(st.sampled_from(["utf-8", "utf-16", "utf-16-le"]))
    content = bytearray(content.decode().encode(encoding))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, max(len(content) - 1, 0)))
        match data.draw(st.sampled_from(["set", "cut", "insert", "end"])):
            case "set":
                content[place : place + 1] = data.draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del content[place : place + data.draw(st.integers(1, 50))]
            case "insert":
                content[place:place] = data.draw(st.binary(min_size=1, max_size=8))
            case "end":
                del content[place:]
    try:
        rows = _read(bytes(content), data.draw(st.integers(1, 5000)))
    except InvalidInput as exc:
        assert exc.field  # noqa: PT017 (the other way out is the assertion below)
        return
    assert all(isinstance(row, ImportRow | BadRow) for row in rows)
    assert all(row.line > 0 for row in rows)


@pytest.mark.parametrize("name", FORMATS)
def test_no_sample_of_a_format_is_taken_for_another(name: str) -> None:
    for file, (format_name, *_) in NAMED.items():
        assert (detect(sample(file)) == name) == (format_name == name)


def test_bytes_of_another_encoding_name_it_and_the_way_out() -> None:
    content = f"algorithm,signal,note\npdq,{HASH},caf\xe9\n".encode("latin-1")
    bad = only_bad(content)
    assert "byte 73 of the line is not UTF-8 (0xe9)" in bad.reason
    assert "CSV UTF-8" in bad.reason


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_damaged_utf_16_names_the_byte(size: int) -> None:
    content = f"algorithm,signal\npdq,{HASH}\n".encode("utf-16-le")
    with pytest.raises(InvalidInput, match=f"UTF-16, and about byte {len(content) - 1} of it"):
        _read(content[:-1], size)
    lone = content[:40] + b"\x00\xdc" + content[40:]
    with pytest.raises(InvalidInput, match=r"about byte 4[0-9] "):
        _read(lone, 1000)


def test_nuls_at_the_end_are_padding_of_any_size() -> None:
    head = f"algorithm,signal\npdq,{HASH}".encode()

    def chunks() -> list[bytes]:
        return [head] + [bytes(2**20)] * 40

    (row,) = ListFile(chunks())
    assert isinstance(row, ImportRow)
    rows = rows_of(f"algorithm,signal\npdq,{HASH}\0\0\nmd5,ab\0cd\n")
    assert [type(r) for r in rows] == [ImportRow, BadRow]


def test_a_comment_is_no_row_and_a_row_is_no_comment() -> None:
    content = f"# a list\nalgorithm,signal,external_id\n#pdq,{HASH},x\n# page 2\npdq,{HASH},#1\n"
    assert only_row(content).external_id == "#1"
    content = f"external_id,algorithm,signal\n#1,pdq,{HASH}\n#2,pdq,zz\n"
    assert [type(row) for row in rows_of(content)] == [ImportRow, BadRow]


def test_a_declared_delimiter_wins() -> None:
    content = f"sep=|\nalgorithm|signal|note\npdq|{HASH}|a;b,c\td\n"
    assert only_row(content).note == "a;b,c\td"
    with pytest.raises(InvalidInput, match="sep= names '#'"):
        rows_of("sep=#\nalgorithm#signal\n")


def test_values_beyond_the_columns_are_bad_rows() -> None:
    rows = rows_of(f"algorithm,signal,\npdq,{HASH},x\npdq,{HASH},\npdq,{HASH}\npdq,{HASH},,\n")
    assert [type(row) for row in rows] == [BadRow, ImportRow, ImportRow, ImportRow]
    assert isinstance(rows[0], BadRow)
    assert "no name in the header" in rows[0].reason


@given(st.binary(min_size=32, max_size=32), st.randoms(use_true_random=False))
def test_hex_wins_over_base64(value: bytes, rng: random.Random) -> None:
    """32 hex digits are an MD5 as they are, never the base64 of 24 bytes."""
    digits = "".join(rng.choice("0123456789abcdefABCDEF") for _ in range(32))
    row = only_row(f"algorithm,signal\nmd5,{digits}\n")
    assert row.signals[0].value == bytes.fromhex(digits)
    assert (
        only_row(f"algorithm,signal\npdq,{base64.b64encode(value).decode()}\n").signals[0].value
        == value
    )


@pytest.mark.parametrize(
    "text", ["AAAA", "A" * 43 + "B", "0x", "0x" + "0" * 63, "=" * 44, "é" * 43]
)
def test_what_is_neither_hex_nor_base64_is_a_bad_row(text: str) -> None:
    assert only_bad(f"algorithm,signal\npdq,{text}\n").column == "signal"
