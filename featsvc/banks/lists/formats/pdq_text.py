"""PDQ text: a 64-digit hash in each line, or `hash,path`; the path becomes the external id."""

import re
from collections.abc import Iterable, Iterator

from featsvc.banks.lists.formats.lines import read_lines
from featsvc.banks.lists.formats.rows import ImportRow, check_row, parse_listed_signal
from featsvc.banks.records import Entry
from featsvc.banks.results import BadRow

_ROW = re.compile(r"\s*[0-9a-f]{64}\s*(,|$)", re.IGNORECASE | re.ASCII)
_LINE_BREAK = re.compile(r"[\r\n]")


def is_row(line: str) -> bool:
    return _ROW.match(line) is not None


def has_path(line: str) -> bool:
    return is_row(line) and "," in line


def read(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow]:
    """Read a row from each line that is not blank."""
    return read_lines(chunks, _parse)


def _parse(number: int, line: str) -> ImportRow:
    digits, _, path = line.partition(",")
    signal = parse_listed_signal("pdq", digits, field="hash")
    row = ImportRow(number, (signal,), path.strip())
    if path:
        check_row(row)
    return row


def write(entry: Entry) -> Iterable[bytes]:
    carried = entry.external_id and not _LINE_BREAK.search(entry.external_id)
    path = f",{entry.external_id}" if carried else ""
    return (f"{s.text}{path}\n".encode() for s in entry.signals if s.algorithm == "pdq")
