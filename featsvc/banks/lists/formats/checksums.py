"""What `md5sum`, `sha1sum`, `sha256sum` and `shasum` print: a digest and the name of its file.

    0c1a7c5dbd1ba4b25cb4bb7b1cb5b0ab  pictures/a.jpg        GNU; ` *` instead of two blanks: binary
    \\0c1a7c5dbd1ba4b25cb4bb7b1cb5b0ab  one\\nline.jpg        a name with \\n, \\r or \\\\ in it
    SHA256 (pictures/a.jpg) = 5f70bf18a086007016e948b0...   BSD, `--tag`

The number of digits tells the algorithm, or the tag does. The name becomes the external id. Digests
of other algorithms (SHA-512, BLAKE2) are counted and left out. Of lines with 64 digits nobody says
that they are SHA-256: the option `algorithm` may name another.
"""

import re
from collections.abc import Iterable, Iterator
from functools import partial

from featsvc.banks.lists.formats.lines import read_lines
from featsvc.banks.lists.formats.reading import Reading
from featsvc.banks.lists.formats.rows import (
    ImportRow,
    LeftOut,
    check_row,
    listed_algorithm,
    our_name,
    parse_listed_signals,
)
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput

# Digits of MD5 and SHA-1, -224, -256, -384 and -512.
_GNU = re.compile(r"(\\?)((?:[0-9a-f]{8}){4,16}) [ *](.+)", re.IGNORECASE)
_BSD = re.compile(r"(\\?)([A-Z][A-Z0-9/-]{2,15}) \((.+)\) ?= ([0-9a-f]{32,128})", re.IGNORECASE)
_BY_DIGITS = {32: "md5", 40: "sha1", 64: "sha256"}
_TAGS = frozenset(_BY_DIGITS.values())
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "r": "\r", "\\": "\\"}
_STANDARD_INPUT = "-"


def is_row(line: str) -> bool:
    return bool(_GNU.fullmatch(line) or _BSD.fullmatch(line))


def read(
    chunks: Iterable[bytes], reading: Reading | None = None
) -> Iterator[ImportRow | BadRow | LeftOut]:
    """Read a row from each line that is not blank."""
    named = reading.algorithm if reading else ""
    return read_lines(chunks, partial(_parse, listed_algorithm(named) if named else ""))


def _parse(named: str, number: int, line: str) -> ImportRow | LeftOut:
    if found := _GNU.fullmatch(line):
        escaped, digits, name = found.groups()
        algorithm = named or _BY_DIGITS.get(len(digits), "")
        kind = f"digest of {len(digits) * 4} bits"
    elif found := _BSD.fullmatch(line):
        escaped, tag, name, digits = found.groups()
        algorithm = our_name(tag) if our_name(tag) in _TAGS else ""
        kind = f"digest by {tag.lower()}"
    else:
        raise InvalidInput("neither `HASH  NAME` nor `ALGORITHM (NAME) = HASH`")
    if not algorithm:
        return LeftOut(kind)
    if escaped:
        name = _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[0]), name)
    external_id = "" if name == _STANDARD_INPUT else name.strip()
    row = ImportRow(number, parse_listed_signals(algorithm, digits, field="hash"), external_id)
    check_row(row)
    return row
