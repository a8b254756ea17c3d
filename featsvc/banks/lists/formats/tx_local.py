"""The local file of Meta's `tx` command: `<signal type> <signal>` a line, or a bare PDQ hash."""

from collections.abc import Iterable, Iterator

from featsvc.banks.lists.formats import pdq_text
from featsvc.banks.lists.formats.lines import Lines
from featsvc.banks.lists.formats.rows import (
    ALIASES,
    RAW_TEXT,
    ImportRow,
    bad_row,
    listed_algorithm,
    parse_listed_signals,
)
from featsvc.banks.records import Entry
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput
from featsvc.signals.algorithms import ALGORITHMS

# How tx names ours.
_SIGNAL_TYPES = {"md5": "video_md5", "tlsh": "text_tlsh"}


def is_row(line: str) -> bool:
    name, _, signal = line.strip().partition(" ")
    name = name.lower()
    known = ALIASES.get(name, name)
    return bool(signal.strip()) and (known in ALGORITHMS or known == RAW_TEXT)


def read(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow]:
    """Blank lines are skipped; the rest are rows."""
    lines = Lines(chunks)
    for line in lines:
        if lines.bad:
            yield from lines.take_bad()
        if not line or line.isspace():
            continue
        name, _, text = line.strip().partition(" ")
        try:
            if pdq_text.is_row(line):
                name, text = "pdq", line
            signals = parse_listed_signals(listed_algorithm(name), text)
        except InvalidInput as exc:
            yield bad_row(lines.number, exc.field, str(exc), line)
        else:
            yield ImportRow(lines.number, signals)
    yield from lines.take_bad()


def write(entry: Entry) -> Iterable[bytes]:
    for s in entry.signals:
        yield f"{_SIGNAL_TYPES.get(s.algorithm, s.algorithm)} {s.text}\n".encode()
