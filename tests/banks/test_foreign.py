"""Files that are no list: the refusal names what they are and what helps."""

import bz2
import io
import lzma
import zipfile

import pytest

from featsvc.errors import InvalidInput
from tests.banks.lists import rows_of


def _zip(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in names:
            file.writestr(name, "x")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "what", "way_out"),
    [
        (_zip("[Content_Types].xml", "xl/workbook.xml"), "a spreadsheet", "CSV UTF-8"),
        (_zip("list.csv"), "a zip file", "unpack it"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), ".xls", "CSV UTF-8"),
        (b"%PDF-1.7\n", "a PDF", "as CSV"),
        (b"<!DOCTYPE html>\n<html><form>", "a web page", "download the list"),
        (b"\n <!-- x --><html lang=en>", "a web page", "log in"),
        (bz2.compress(b"x"), "bzip2", "gzip or zstd"),
        (lzma.compress(b"x"), "xz", "gzip or zstd"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a picture", "featsvc bank add"),
        (b'{"results_count": 1, "entries": [{"md5": "x"}]}', "keys results_count, entries", "stix"),
        (b'[{"a": {"b": 1}, "c": 2}]', "keys a, c", "stix"),
        (b"<feed><x/></feed>", "XML", "ncmec-xml"),
        (b"name;hash of it\na;b\n", "divided by semicolons", "--map"),
        (b"hello\nworld\n", "its first line is 'hello'", "csv"),
        (b"\0" * 100, "is empty", "csv"),
    ],
)
@pytest.mark.parametrize("format_name", ["", "csv"])
def test_a_refusal_names_the_cause_and_the_way_out(
    content: bytes, what: str, way_out: str, format_name: str
) -> None:
    if format_name and content[:1] in b"n{[<h\0" and b"html" not in content:
        pytest.skip("a text, which the format that was named reads itself")
    with pytest.raises(InvalidInput) as caught:
        rows_of(content, format_name)
    assert what in str(caught.value)
    assert way_out in str(caught.value)
