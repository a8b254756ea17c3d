"""Files that are no list: what they are, by their first bytes, and what helps."""

import re
from collections.abc import Sequence

from featsvc.banks.lists.formats.dialect import NAMES, likely_delimiter, split
from featsvc.errors import InvalidInput, shown

# First bytes -> what the file is, and the way out.
_FOREIGN = (
    (b"PK\x03\x04", "a zip file", "unpack it and import the list in it"),
    (b"PK\x05\x06", "an empty zip file", "send the list itself"),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "a spreadsheet or document of old Office (.xls, .doc)",
        "save it as CSV UTF-8",
    ),
    (b"%PDF", "a PDF", "ask for the list as CSV"),
    (b"{\\rtf", "an RTF document", "save it as plain text"),
    (b"BZh", "compressed with bzip2", "decompress it, or use gzip or zstd"),
    (b"\xfd7zXZ\x00", "compressed with xz", "decompress it, or use gzip or zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it and import the list in it"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it and import the list in it"),
    (b"PAR1", "a Parquet file", "save it as CSV UTF-8"),
    (b"SQLite format 3\x00", "an SQLite database", "export its table as CSV"),
    (b"\xff\xd8\xff", "a picture", "add it with `featsvc bank add`"),
    (b"\x89PNG\r\n\x1a\n", "a picture", "add it with `featsvc bank add`"),
    (b"GIF8", "a picture", "add it with `featsvc bank add`"),
)
_SHEETS = (b"[Content_Types].xml", b"xl/", b"_rels/.rels", b"mimetypeapplication/vnd.oasis")
_HTML = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)
_KEY = re.compile(r'"((?:[^"\\]|\\.){1,64})"\s*:')
_LETTERS = re.compile(r"[A-Za-z_]")
_MAX_KEYS = 8


def refuse_foreign(head: bytes) -> None:
    """Raises InvalidInput for a file that is surely no list, by its first bytes."""
    for magic, what, way_out in _FOREIGN:
        if head.startswith(magic):
            if magic.startswith(b"PK") and any(part in head[:4096] for part in _SHEETS):
                raise _refusal("is a spreadsheet (.xlsx, .ods), not a list; save it as CSV UTF-8")
            raise _refusal(f"is {what}, not a list; {way_out}")
    if _HTML.match(head.removeprefix(b"\xef\xbb\xbf")[:4096]):
        raise _refusal("is a web page, perhaps one that asks to log in; download the list itself")


def unknown_file(text: str, lines: Sequence[str], formats: Sequence[str]) -> InvalidInput:
    """Return the error for a text that has no format: what it seems to be, and what helps."""
    known = f"the formats are {', '.join(formats)}"
    if not text.strip("\0 \r\n\t"):
        return _refusal(f"is empty; {known}")
    if text.startswith(("{", "[")):
        keys = ", ".join(dict.fromkeys(_top_keys(text))) or "none"
        return _refusal(f"is JSON of an unknown kind, with the keys {keys}; {known}")
    if text.startswith("<"):
        return _refusal(f"is XML of an unknown kind, which begins {shown(lines[0])!r}; {known}")
    first = lines[0]
    delimiter = likely_delimiter(first)
    if delimiter and _LETTERS.search(first):
        cells = ", ".join(shown(cell.strip()) for cell in split(first, delimiter)[:_MAX_KEYS])
        return _refusal(
            f"unknown format. If its first line names columns ({cells}; divided by "
            f"{NAMES[delimiter]}), tell which are ours with --map algorithm=COLUMN,signal=COLUMN; "
            f"else set --format: {known}. Our csv begins with the line algorithm,signal"
        )
    return _refusal(
        f"unknown format: its first line is {shown(first)!r}, neither a hash nor names of columns. "
        f"If it is right, set --format: {known}. Our csv begins with the line algorithm,signal"
    )


def _top_keys(text: str) -> list[str]:
    """Return the first keys of a JSON text that are not nested in another value of it."""
    keys: list[str] = []
    depth = 0
    outer = 2 if text.startswith("[") else 1
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', text):
        if token[0] in "{[":
            depth += 1
        elif token[0] in "}]":
            depth -= 1
        elif depth == outer and _KEY.match(text, token.start()):
            keys.append(shown(token[0][1:-1]))
            if len(keys) == _MAX_KEYS:
                break
    return keys


def _refusal(problem: str) -> InvalidInput:
    return InvalidInput(f"file: {problem}", field="format")
