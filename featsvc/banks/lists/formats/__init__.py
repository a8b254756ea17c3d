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
    checksums,
    csv_rows,
    feeds,
    hash_rows,
    hash_text,
    json_rows,
    misp,
    misp_csv,
    ncmec_xml,
    pdq_text,
    stix,
    tx_dataset,
    tx_local,
    vics,
)
from featsvc.banks.lists.formats.bare_hashes import AMBIGUOUS_DIGITS, WHICH, digits_of, is_pdq
from featsvc.banks.lists.formats.foreign import unknown_file
from featsvc.banks.lists.formats.reading import Reading
from featsvc.banks.lists.formats.rows import ImportRow, LeftOut, PageEnd
from featsvc.banks.records import Entry
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput, shown

Rows: TypeAlias = Iterator[ImportRow | BadRow | LeftOut | PageEnd]
Reader: TypeAlias = Callable[[Iterable[bytes]], Rows]
ToldReader: TypeAlias = Callable[[Iterable[bytes], Reading], Rows]
Writer: TypeAlias = Callable[[Entry], Iterable[bytes]]
"""Turns an entry into lines with their line ends."""


@dataclass(frozen=True, slots=True)
class FileHead:
    """The start of a file: its decompressed text, the first lines that are not blank, and how the
    sender says that it is to be read."""

    text: str
    lines: tuple[str, ...]
    reading: Reading

    def opens(self, sign: str) -> bool:
        """Whether the text begins with `<` (XML) or `{` or `[{` (JSON), or with none for ""."""
        begins = "{" if _ARRAY.match(self.text) else self.text[:1]
        return begins == sign if sign else begins not in ("<", "{")

    def has(self, *keys: str) -> bool:
        """Whether all these JSON keys occur."""
        return all(re.search(rf'"{key}"\s*:', self.text) for key in keys)

    def hashes(self) -> list[str]:
        """The digits of all whole lines that are bare hashes of 64 digits."""
        lines = self.text.splitlines()
        found = map(digits_of, lines if self.text.endswith("\n") else lines[:-1])
        return [digits for digits in found if len(digits) == AMBIGUOUS_DIGITS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format. `opens` (see `FileHead`) and `detects` decide whether a file has this format.

    A format that heeds options of `Reading` names them, and has `read_as_told`, which gets them.
    `one_file_a_row` says that a row is all that is known of one file: two rows of the same name
    without a common signal are two files. Elsewhere the rows of an external id are one entry.
    A format that can be written has `write`, which follows `header`, and `drops`: the fields of an
    entry that the format cannot carry, in the terms of `exporting`.
    """

    name: str
    read: Reader
    read_as_told: ToldReader | None = None
    heeds: tuple[str, ...] = ()
    one_file_a_row: bool = False
    detects: Callable[[FileHead], bool]
    opens: str = ""
    write: Writer | None = None
    header: bytes = b""
    drops: tuple[str, ...] = ()

    def rows(self, chunks: Iterable[bytes], reading: Reading) -> Rows:
        """Read a list. Raises InvalidInput for an option that this format does not heed."""
        for option in reading.options:
            if option not in self.heeds:
                raise InvalidInput.at(
                    option, f"does nothing for a list in the format {self.name}; leave it out"
                )
        if self.read_as_told is None:
            return self.read(chunks)
        return self.read_as_told(chunks, reading)


_ENTRY_FIELDS = ("labels", "source", "opinion", "note", "expire_time")
_SIGNAL_FIELDS = ("variant", "quality", "version", "quarantined")

_TABLE = (
    Format(
        name="tx-dataset",
        read=tx_dataset.read,
        # With a map the names mean what it says.
        detects=lambda head: not head.reading.options and tx_dataset.is_header(head.lines),
    ),
    Format(
        name="misp-csv",
        read=misp_csv.read,
        detects=lambda head: not head.reading.options and misp_csv.is_header(head.lines),
    ),
    Format(
        name="csv",
        read=csv_rows.read,
        read_as_told=csv_rows.read,
        heeds=("algorithm", "column_map", "ignored_columns"),
        detects=lambda head: csv_rows.is_header(head.lines, head.reading),
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
        one_file_a_row=True,
        # The line of a long text is longer than the head.
        detects=lambda head: head.text.startswith(hash_rows.START),
    ),
    Format(
        name="checksums",
        read=checksums.read,
        read_as_told=checksums.read,
        heeds=("algorithm",),
        detects=lambda head: any(map(checksums.is_row, head.lines)),
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
        detects=lambda head: (
            not head.reading.algorithm
            and any(map(pdq_text.is_row, head.lines))
            and (any(map(pdq_text.has_path, head.lines)) or is_pdq(head.hashes()))
        ),
        write=pdq_text.write,
        drops=("algorithms other than pdq", *_ENTRY_FIELDS, *_SIGNAL_FIELDS, "grouped signals"),
    ),
    Format(
        name="hash-text",
        read=hash_text.read,
        read_as_told=hash_text.read,
        heeds=("algorithm",),
        detects=lambda head: any(hash_text.is_row(line, head.reading) for line in head.lines),
    ),
    Format(
        name="misp",
        read=misp.read,
        opens="{",
        detects=lambda head: (
            head.has("Event", "info")
            or head.has("Event", "Attribute")
            or head.has("response", "Attribute")
        ),
    ),
    Format(
        name="stix",
        read=stix.read,
        opens="{",
        detects=lambda head: (
            head.has("objects") and ('"bundle"' in head.text or '"bundle--' in head.text)
        ),
    ),
    Format(
        name="vics",
        read=vics.read,
        opens="{",
        detects=lambda head: head.has("value", "MediaID") and "odata." in head.text,
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

_ARRAY = re.compile(r"\[\s*\{")
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


def detect(start: bytes, reading: Reading | None = None) -> str:
    """Return the format's name, from the first bytes of a file in UTF-8, not compressed.

    Raises InvalidInput if no format fits, or if the list is of bare hashes that may be of two
    algorithms.
    """
    text = start.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").lstrip()
    lines = (line for line in text.splitlines() if line.strip())
    head = FileHead(text, tuple(islice(lines, _DETECTED_LINES)), reading or Reading())
    for known in FORMATS.values():
        if text and head.opens(known.opens) and known.detects(head):
            if known.name == "hash-text" and not head.reading.algorithm and head.hashes():
                raise InvalidInput(f"file: {WHICH}", field="algorithm")
            return known.name
    raise unknown_file(text, head.lines, tuple(FORMATS))
