"""Hash-list formats: bytes in, one `ImportRow` or `BadRow` at a time out, in constant memory.

A format is a function `read(chunks) -> Iterator[ImportRow | BadRow]`; `FORMATS` is the one table
of them, and `detect` tells them by content.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

from featsvc.banks.lists.formats import csv_rows, feeds, json_rows, ncmec_xml, pdq_text, tx_local
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput

Reader = Callable[[Iterable[bytes]], Iterator[ImportRow | BadRow]]

FORMATS: Mapping[str, Reader] = MappingProxyType(
    {
        "csv": csv_rows.read,
        "jsonl": json_rows.read,
        "pdq-text": pdq_text.read,
        "tx": tx_local.read,
        "tx-dataset": csv_rows.read,
        "ncmec-xml": ncmec_xml.read,
        "stopncii": feeds.read_stopncii,
        "tat": feeds.read_tat,
        "threat-updates": feeds.read_threat_updates,
    }
)

HEAD_BYTES = 64 * 1024
"""How much of a file `detect` wants to see."""
# Broken rows may come first, so any of the first lines may tell.
_LINES_LOOKED_AT = 20


def get_format(name: str) -> Reader:
    """Raises InvalidInput, listing the known names."""
    try:
        return FORMATS[name]
    except KeyError:
        raise InvalidInput(
            f"format: {name[:64]!r} is not known; known are {', '.join(FORMATS)}", field="format"
        ) from None


def detect(head: bytes) -> str:
    """Name of the format, from the first bytes of the file, unpacked.

    Raises InvalidInput where no format fits.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").lstrip()
    lines = [line for line in text.splitlines() if line.strip()][:_LINES_LOOKED_AT]
    if text.startswith("<"):
        found = "ncmec-xml" if "queryResult" in text or "<!DOCTYPE" in text else ""
    elif text.startswith("{"):
        found = _json_format(text, lines)
    else:
        found = _text_format(lines)
    if not found:
        raise InvalidInput(
            f"file: told no format by its content; name one of {', '.join(FORMATS)}. Our CSV "
            "begins with a header line that holds algorithm,signal",
            field="format",
        )
    return found


def _json_format(text: str, lines: list[str]) -> str:
    if any(json_rows.is_row(line) for line in lines):
        return "jsonl"
    for name, keys in (
        ("stopncii", ('"hashRecords"',)),
        ("tat", ('"results"', '"hash_digest"')),
        ("tat", ('"results"', '"checkpoint"')),
        ("threat-updates", ('"data"', '"indicator"')),
        ("threat-updates", ('"data"', '"paging"')),
    ):
        if all(key in text for key in keys):
            return name
    # An entry of many vectors is a longer line than the head.
    return "jsonl" if text.startswith(('{"external_id":', '{"signals":')) else ""


def _text_format(lines: list[str]) -> str:
    if lines and csv_rows.is_header(lines[0]):
        return "csv"
    if lines and csv_rows.is_tx_header(lines[0]):
        return "tx-dataset"
    if any(tx_local.is_row(line) for line in lines):
        return "tx"
    return "pdq-text" if any(pdq_text.is_row(line) for line in lines) else ""
