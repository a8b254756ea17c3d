"""The local file of Meta's `tx` command: lines of `<signal type> <signal>`, or bare PDQ hashes.

Signals of types that are not kept are counted.
"""

from collections.abc import Iterable, Iterator
from functools import partial

from featsvc.banks.lists.formats import pdq_text
from featsvc.banks.lists.formats.lines import read_lines
from featsvc.banks.lists.formats.rows import (
    RAW_TEXT,
    ImportRow,
    LeftOut,
    kept_signals,
    our_name,
)
from featsvc.banks.records import Entry
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput
from featsvc.signals.algorithms import ALGORITHMS

# Our names -> those of tx, where they differ.
_SIGNAL_TYPES = {"md5": "video_md5", "tlsh": "text_tlsh"}


def is_row(line: str) -> bool:
    name, _, signal = line.strip().partition(" ")
    known = our_name(name)
    return bool(signal.strip()) and (known in ALGORITHMS or known == RAW_TEXT)


def read(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow | LeftOut]:
    """Read a row from each line that is not blank."""
    left_out: list[LeftOut] = []
    for row in read_lines(chunks, partial(_parse, left_out)):
        yield from left_out
        left_out.clear()
        # A row without signals: nothing of it is kept.
        if isinstance(row, BadRow) or row.signals:
            yield row
    yield from left_out


def _parse(left_out: list[LeftOut], number: int, line: str) -> ImportRow:
    name, _, text = line.strip().partition(" ")
    if pdq_text.is_row(line):
        name, text = "pdq", line
    if not text.strip():
        raise InvalidInput("a line is a signal type, a blank and a signal, or a PDQ hash")
    return ImportRow(number, kept_signals(name, text, left_out))


def write(entry: Entry) -> Iterable[bytes]:
    for s in entry.signals:
        yield f"{_SIGNAL_TYPES.get(s.algorithm, s.algorithm)} {s.text}\n".encode()
