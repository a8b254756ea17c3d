"""Bare hashes: one in each line, of one algorithm or of several; after a comma its path.

    0c1a7c5dbd1ba4b25cb4bb7b1cb5b0ab
    0c1a7c5dbd1ba4b25cb4bb7b1cb5b0ab,pictures/a.jpg

The digits tell MD5 and SHA-1. For 64 digits the sender must name the algorithm: PDQ and SHA-256
look alike (`bare_hashes`). With an algorithm, base64 is read, too. The path becomes the external
id; lines that begin with `#` are comments.
"""

from collections.abc import Iterable, Iterator
from functools import partial

from featsvc.banks.lists.formats.bare_hashes import AmbiguousHash, algorithm_of_digits, digits_of
from featsvc.banks.lists.formats.dialect import COMMENT
from featsvc.banks.lists.formats.lines import Lines
from featsvc.banks.lists.formats.reading import Reading
from featsvc.banks.lists.formats.rows import (
    ImportRow,
    bad_row,
    check_row,
    listed_algorithm,
    parse_listed_signals,
)
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput


def is_row(line: str, reading: Reading) -> bool:
    """Return whether a line is a bare hash, of the algorithm that the sender named if there is."""
    if not reading.algorithm:
        return bool(digits_of(line.partition(",")[0]))
    try:
        _parse(listed_algorithm(reading.algorithm), 0, line)
    except InvalidInput:
        return False
    return True


def read(chunks: Iterable[bytes], reading: Reading | None = None) -> Iterator[ImportRow | BadRow]:
    """Raises InvalidInput for 64 digits if the sender named no algorithm."""
    named = reading.algorithm if reading else ""
    parse = partial(_parse, listed_algorithm(named) if named else "")
    lines = Lines(chunks)
    for line in lines:
        if lines.bad:
            yield from lines.take_bad()
        if not line or line.isspace() or line.startswith(COMMENT):
            continue
        try:
            row = parse(lines.number, line)
        except AmbiguousHash as exc:
            raise InvalidInput(f"line {lines.number}: {exc}", field="algorithm") from None
        except InvalidInput as exc:
            yield bad_row(lines.number, exc.field, str(exc), line)
        else:
            yield row
    yield from lines.take_bad()


def _parse(algorithm: str, number: int, line: str) -> ImportRow:
    digits, _, path = line.partition(",")
    digits = digits.strip().strip('"')
    name = algorithm or algorithm_of_digits(digits)
    row = ImportRow(number, parse_listed_signals(name, digits, field="hash"), path.strip())
    if path:
        check_row(row)
    return row
