"""The local file of Meta's `tx` command: lines of `<signal type> <signal>`, or bare PDQ hashes."""

from collections.abc import Iterable, Iterator

from featsvc.banks.lists.formats import pdq_text
from featsvc.banks.lists.formats.lines import read_lines
from featsvc.banks.lists.formats.rows import (
    RAW_TEXT,
    ImportRow,
    listed_algorithm,
    our_name,
    parse_listed_signals,
)
from featsvc.banks.records import Entry
from featsvc.banks.results import BadRow
from featsvc.signals.algorithms import ALGORITHMS

# Our names -> those of tx, where they differ.
_SIGNAL_TYPES = {"md5": "video_md5", "tlsh": "text_tlsh"}


def is_row(line: str) -> bool:
    name, _, signal = line.strip().partition(" ")
    known = our_name(name)
    return bool(signal.strip()) and (known in ALGORITHMS or known == RAW_TEXT)


def read(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow]:
    """Read a row from each line that is not blank."""
    return read_lines(chunks, _parse)


def _parse(number: int, line: str) -> ImportRow:
    name, _, text = line.strip().partition(" ")
    if pdq_text.is_row(line):
        name, text = "pdq", line
    return ImportRow(number, parse_listed_signals(listed_algorithm(name), text))


def write(entry: Entry) -> Iterable[bytes]:
    for s in entry.signals:
        yield f"{_SIGNAL_TYPES.get(s.algorithm, s.algorithm)} {s.text}\n".encode()
