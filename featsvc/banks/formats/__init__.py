"""Hash-list formats: bytes in, one `ImportRow` or `BadRow` at a time out, in constant memory.

A format is a module with a function `read(lines) -> Iterator[ImportRow | BadRow]`; `FORMATS` is
the one table of them, and `detect` tells them by content.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from featsvc.banks.formats import csv_rows, pdq_text
from featsvc.banks.formats.lines import Lines
from featsvc.banks.formats.rows import ImportRow
from featsvc.banks.records import BadRow
from featsvc.errors import InvalidInput

Reader = Callable[[Lines], Iterator[ImportRow | BadRow]]

FORMATS: Mapping[str, Reader] = MappingProxyType({"pdq-text": pdq_text.read, "csv": csv_rows.read})

HEAD_BYTES = 64 * 1024
"""How much of a file `detect` wants to see."""


def get_format(name: str) -> Reader:
    """Raises InvalidInput, listing the known names."""
    try:
        return FORMATS[name]
    except KeyError:
        raise InvalidInput(
            f"format: {name[:64]!r} is not known; known are {', '.join(FORMATS)}", field="format"
        ) from None


def detect(head: bytes) -> str:
    """Name of the format, from the first bytes of the file.

    Raises InvalidInput where no format fits.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and csv_rows.is_header(lines[0]):
        return "csv"
    # A broken row may come first, so any of the first lines may tell.
    if any(pdq_text.is_row(line) for line in lines[:20]):
        return "pdq-text"
    raise InvalidInput(
        "file: told no format by its content; name one of "
        f"{', '.join(FORMATS)}. Our CSV begins with a header line that holds algorithm,signal",
        field="format",
    )
