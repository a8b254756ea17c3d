"""Hash-list formats: bytes in, one `ImportRow` or `BadRow` at a time out, in constant memory.

`FORMATS` is the one table of them, in the order in which detection asks them; some are
written too. To add one: write a module with its functions, name them in a row here, put a sample
into `tests/banks/samples` and a row into docs/curators.md. Tests that go over the table ask for
each.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import TypeAlias

from featsvc.banks.lists.formats import csv_rows, feeds, json_rows, ncmec_xml, pdq_text, tx_local
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import Entry
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput

Reader: TypeAlias = Callable[[Iterable[bytes]], Iterator[ImportRow | BadRow]]
Writer: TypeAlias = Callable[[Entry], Iterable[bytes]]
"""An entry to lines, each with its end."""


@dataclass(frozen=True, slots=True)
class Head:
    """The first of a file: the text, unpacked, and the first of its lines that are not blank."""

    text: str
    lines: tuple[str, ...]

    def opens(self, sign: str) -> bool:
        """`<` for XML, `{` for JSON, empty for a text that is neither."""
        return self.text.startswith(sign) if sign else not self.text.startswith(("<", "{"))

    def has(self, *keys: str) -> bool:
        """Whether all of these JSON keys are there."""
        return all(f'"{key}"' in self.text for key in keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format. `opens` and `detects` say whether a head is of it, see `Head`.

    Where it is written: `write`, after `header`, and `drops`: what an entry may have and the format
    cannot carry, as `exporting` names it.
    """

    name: str
    read: Reader
    detects: Callable[[Head], bool]
    opens: str = ""
    write: Writer | None = None
    header: bytes = b""
    drops: tuple[str, ...] = ()


_ENTRY_FIELDS = ("labels", "source", "opinion", "note", "expire_time")
_SIGNAL_FIELDS = ("variant", "quality", "version", "quarantined")

_TABLE = (
    Format(
        name="csv",
        read=csv_rows.read,
        detects=lambda head: csv_rows.is_header(head.lines[0]),
        write=csv_rows.write,
        header=csv_rows.HEADER,
        drops=("grouped signals", "labels with ;", "version", "quarantined"),
    ),
    Format(
        name="jsonl",
        read=json_rows.read,
        opens="{",
        # An entry of many vectors is a longer line than the head.
        detects=lambda head: (
            any(map(json_rows.is_row, head.lines))
            or head.text.startswith(('{"external_id":', '{"signals":'))
        ),
        write=json_rows.write,
        drops=("quarantined",),
    ),
    Format(
        name="tx-dataset",
        read=csv_rows.read,
        detects=lambda head: csv_rows.is_tx_header(head.lines[0]),
    ),
    Format(
        name="tx",
        read=tx_local.read,
        detects=lambda head: any(map(tx_local.is_row, head.lines)),
        write=tx_local.write,
        drops=("external_id", *_ENTRY_FIELDS, *_SIGNAL_FIELDS, "grouped signals"),
    ),
    Format(
        name="pdq-text",
        read=pdq_text.read,
        detects=lambda head: any(map(pdq_text.is_row, head.lines)),
        write=pdq_text.write,
        drops=("other algorithms", *_ENTRY_FIELDS, *_SIGNAL_FIELDS, "grouped signals"),
    ),
    Format(
        name="ncmec-xml",
        read=ncmec_xml.read,
        opens="<",
        detects=lambda head: "queryResult" in head.text or "<!DOCTYPE" in head.text,
    ),
    Format(
        name="stopncii",
        read=feeds.read_stopncii,
        opens="{",
        detects=lambda head: head.has("hashRecords"),
    ),
    Format(
        name="tat",
        read=feeds.read_tat,
        opens="{",
        detects=lambda head: (
            head.has("results", "hash_digest") or head.has("results", "checkpoint")
        ),
    ),
    Format(
        name="threat-updates",
        read=feeds.read_threat_updates,
        opens="{",
        detects=lambda head: head.has("data", "indicator") or head.has("data", "paging"),
    ),
)

FORMATS: Mapping[str, Format] = MappingProxyType({f.name: f for f in _TABLE})

HEAD_BYTES = 64 * 1024
"""How much of a file `detect` wants to see."""
# Broken rows may come first, so any of the first lines may tell.
_LINES_LOOKED_AT = 20


def get_format(name: str) -> Format:
    """Raises InvalidInput, listing the known names."""
    try:
        return FORMATS[name]
    except KeyError:
        raise InvalidInput(
            f"format: {name[:64]!r} is not known; known are {', '.join(FORMATS)}", field="format"
        ) from None


def get_written_format(name: str) -> tuple[Format, Writer]:
    """One that is written, and by what. Raises InvalidInput, listing those that are."""
    known = FORMATS.get(name)
    if known is None or known.write is None:
        written = ", ".join(f.name for f in FORMATS.values() if f.write)
        raise InvalidInput(
            f"format: {name[:64]!r} cannot be written; known are {written}", field="format"
        )
    return known, known.write


def detect(start: bytes) -> str:
    """Name of the format, from the first bytes of the file, unpacked.

    Raises InvalidInput where no format fits.
    """
    text = start.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").lstrip()
    lines = (line for line in text.splitlines() if line.strip())
    head = Head(text, tuple(islice(lines, _LINES_LOOKED_AT)))
    for known in FORMATS.values():
        if text and head.opens(known.opens) and known.detects(head):
            return known.name
    raise InvalidInput(
        f"file: told no format by its content; name one of {', '.join(FORMATS)}. Our CSV "
        "begins with a header line that holds algorithm,signal",
        field="format",
    )
