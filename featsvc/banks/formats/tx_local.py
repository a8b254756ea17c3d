"""The local file of Meta's `tx` command: `<signal type> <signal>` a line, or a bare PDQ hash."""

from collections.abc import Iterable, Iterator

from featsvc.banks.formats import pdq_text
from featsvc.banks.formats.lines import Lines
from featsvc.banks.formats.rows import (
    ALIASES,
    ImportRow,
    algorithm_of,
    bad_row,
    parse_listed_signal,
)
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput
from featsvc.hashing.registry import ALGORITHMS

# How tx names ours.
SIGNAL_TYPES = {"md5": "video_md5"}


def is_row(line: str) -> bool:
    name, _, signal = line.strip().partition(" ")
    name = name.lower()
    return bool(signal.strip()) and ALIASES.get(name, name) in ALGORITHMS


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
            signal = parse_listed_signal(algorithm_of(name), text)
        except InvalidInput as exc:
            yield bad_row(lines.number, exc.field, str(exc), line)
        else:
            yield ImportRow(lines.number, (signal,))
    yield from lines.take_bad()
