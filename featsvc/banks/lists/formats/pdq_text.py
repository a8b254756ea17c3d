"""PDQ text: one 64-digit hash a line, or `hash,path`; the path becomes the external id."""

import re
from collections.abc import Iterable, Iterator

from featsvc.banks.lists.formats.lines import Lines
from featsvc.banks.lists.formats.rows import ImportRow, bad_row, check_row, parse_listed_signal
from featsvc.banks.records import Entry
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput

_ROW = re.compile(r"\s*[0-9a-f]{64}\s*(,|$)", re.IGNORECASE | re.ASCII)
_LINE_BREAK = re.compile(r"[\r\n]")


def is_row(line: str) -> bool:
    return _ROW.match(line) is not None


def read(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow]:
    """Blank lines are skipped; the rest are rows."""
    lines = Lines(chunks)
    for line in lines:
        if lines.bad:
            yield from lines.take_bad()
        if not line or line.isspace():
            continue
        digits, _, path = line.partition(",")
        try:
            signal = parse_listed_signal("pdq", digits, field="hash")
            row = ImportRow(lines.number, (signal,), path.strip())
            if path:
                check_row(row)
        except InvalidInput as exc:
            yield bad_row(lines.number, exc.field, str(exc), line)
        else:
            yield row
    yield from lines.take_bad()


def write(entry: Entry) -> Iterable[bytes]:
    carried = entry.external_id and not _LINE_BREAK.search(entry.external_id)
    path = f",{entry.external_id}" if carried else ""
    return (f"{s.text}{path}\n".encode() for s in entry.signals if s.algorithm == "pdq")
