"""The dialect of a table of text: what separates its cells, decided by its header.

A first line `sep=;`, as spreadsheets write and read it, names the delimiter. Otherwise it is the
one that divides the header into columns that have a meaning. `csv.Sniffer` guesses from the rows,
where notes and paths hold every delimiter.
"""

import csv
import re
from collections.abc import Callable, Iterable, Sequence

from featsvc.errors import InvalidInput

DELIMITERS = ",;\t|"
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
COMMENT = "#"
_DECLARED = re.compile(r'\s*"?sep=(.)"?[\s,;|]*', re.IGNORECASE)


def declared_delimiter(line: str) -> str:
    """Return the delimiter that a line `sep=;` names, "" for any other line.

    Raises InvalidInput for one that is not known.
    """
    declared = _DECLARED.fullmatch(line)
    if declared is None:
        return ""
    if declared[1] not in DELIMITERS:
        raise InvalidInput(
            f"line 1: sep= names {declared[1]!r}; use a comma, a semicolon, a tab or |",
            field="header",
        )
    return declared[1]


def split(line: str, delimiter: str) -> list[str]:
    """Split a header into cells; a quote that is not closed is text."""
    if '"' not in line:
        return line.split(delimiter)
    return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])


def delimiter_of(header: str, has_meaning: Callable[[Sequence[str]], bool]) -> str:
    """Return the delimiter of the header's columns, "" if none gives columns with a meaning."""
    found = [d for d in DELIMITERS if has_meaning(split(header, d))]
    return max(found, key=lambda d: len(split(header, d)), default="")


def choose_delimiter(header: str, has_meaning: Callable[[Sequence[str]], bool]) -> str:
    """Return the delimiter of a header; one that seems likely if no column has a meaning."""
    return delimiter_of(header, has_meaning) or likely_delimiter(header) or ","


def has_header(lines: Iterable[str], has_meaning: Callable[[Sequence[str]], bool]) -> bool:
    """Return whether the first of these lines that is no comment is a header with a meaning."""
    declared = ""
    for line in lines:
        if line.startswith(COMMENT) or not line.strip():
            continue
        if not declared and (declared := declared_delimiter(line)):
            continue
        return (
            has_meaning(split(line, declared))
            if declared
            else bool(delimiter_of(line, has_meaning))
        )
    return False


def likely_delimiter(line: str) -> str:
    """Return the delimiter that occurs most, "" if none does."""
    found = max(DELIMITERS, key=line.count)
    return found if found in line else ""
