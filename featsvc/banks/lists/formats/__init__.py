"""Formats of hash lists: readers turn bytes into rows, in constant memory.

They yield an `ImportRow` or `BadRow` for each row, a `LeftOut` for what they do not keep, and those
of feeds a `PageEnd`.

`FORMATS` is the table of all formats, in the order of detection; some can be written too.
CONTRIBUTING.md says how to add one.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import TypeAlias

from featsvc.banks.lists.formats import (
    csv_rows,
    feeds,
    hash_rows,
    json_rows,
    ncmec_xml,
    pdq_text,
    tx_dataset,
    tx_local,
)
from featsvc.banks.lists.formats.rows import ImportRow, LeftOut, PageEnd
from featsvc.banks.records import Entry
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput, shown

Reader: TypeAlias = Callable[[Iterable[bytes]], Iterator[ImportRow | BadRow | LeftOut | PageEnd]]
Writer: TypeAlias = Callable[[Entry], Iterable[bytes]]
"""Turns an entry into lines with their line ends."""


@dataclass(frozen=True, slots=True)
class FileHead:
    """The start of a file: its decompressed text, and the first lines that are not blank."""

    text: str
    lines: tuple[str, ...]

    def opens(self, sign: str) -> bool:
        """Whether the text begins with `<` (XML) or `{` (JSON: or `[`), or with none for ""."""
        signs = {"<": "<", "{": "{["}
        first = self.text[:1]
        return first in signs[sign] if sign else first not in "<{["

    def has(self, *keys: str) -> bool:
        """Whether all these JSON keys occur."""
        return all(re.search(rf'"{key}"\s*:', self.text) for key in keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format. `opens` (see `FileHead`) and `detects` decide whether a file has this format.

    A format that can be written has `write`, which follows `header`, and `drops`: the fields of an
    entry that the format cannot carry, in the terms of `exporting`.
    """

    name: str
    read: Reader
    detects: Callable[[FileHead], bool]
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
        # The line of an entry with many vectors is longer than the head.
        detects=lambda head: (
            any(map(json_rows.is_row, head.lines))
            or head.text.startswith(('{"external_id":', '{"signals":'))
        ),
        write=json_rows.write,
        drops=("quarantined",),
    ),
    Format(
        name="hashes",
        read=hash_rows.read,
        opens="{",
        # The line of a long text is longer than the head.
        detects=lambda head: head.text.startswith(hash_rows.START),
    ),
    Format(
        name="tx-dataset",
        read=tx_dataset.read,
        detects=lambda head: tx_dataset.is_header(head.lines[0]),
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
        drops=("algorithms other than pdq", *_ENTRY_FIELDS, *_SIGNAL_FIELDS, "grouped signals"),
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
        detects=lambda head: head.has("hashRecords") or head.has("hashValue", "signalType"),
    ),
    Format(
        name="tat",
        read=feeds.read_tat,
        opens="{",
        detects=lambda head: (
            head.has("hash_digest", "algorithm") or head.has("results", "checkpoint")
        ),
    ),
    Format(
        name="threat-updates",
        read=feeds.read_threat_updates,
        opens="{",
        detects=lambda head: head.has("indicator", "type") or head.has("data", "paging"),
    ),
)

FORMATS: Mapping[str, Format] = MappingProxyType({f.name: f for f in _TABLE})

HEAD_BYTES = 64 * 1024
"""Bytes from the start of a file that `detect` needs."""
_DETECTED_LINES = 20
"""More than one, because the first rows may be bad."""


def get_format(name: str) -> Format:
    """Raises InvalidInput, listing the known names."""
    try:
        return FORMATS[name]
    except KeyError:
        raise InvalidInput.at(
            "format", f"must be one of {', '.join(FORMATS)}, not {shown(name)!r}"
        ) from None


def get_written_format(name: str) -> tuple[Format, Writer]:
    """Return a format that can be written, and its writer. Raises InvalidInput."""
    known = FORMATS.get(name)
    if known is None or known.write is None:
        written = ", ".join(f.name for f in FORMATS.values() if f.write)
        raise InvalidInput.at("format", f"must be one of {written}, not {shown(name)!r}")
    return known, known.write


def detect(start: bytes) -> str:
    """Return the format's name, from the first decompressed bytes of a file.

    Raises InvalidInput if no format fits.
    """
    text = start.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").lstrip()
    lines = (line for line in text.splitlines() if line.strip())
    head = FileHead(text, tuple(islice(lines, _DETECTED_LINES)))
    for known in FORMATS.values():
        if text and head.opens(known.opens) and known.detects(head):
            return known.name
    raise InvalidInput(
        f"file: unknown format; set format to one of {', '.join(FORMATS)}. Our CSV begins with a "
        "header line that has the columns algorithm and signal",
        field="format",
    )
