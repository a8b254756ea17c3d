"""What the documents of exchanges (MISP, STIX, VICS) have in common: rows from their objects."""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime

from featsvc.banks.lists.formats.json_objects import Found, objects
from featsvc.banks.lists.formats.rows import (
    ImportRow,
    LeftOut,
    bad_row,
    check_row,
    kept_labels,
    our_name,
    parse_listed_signal,
)
from featsvc.banks.records import (
    MAX_ENTRY_SIGNALS,
    MAX_NOTE_BYTES,
    EntrySignal,
    Opinion,
)
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput

_FILE_HASHES = frozenset({"md5", "sha1", "sha256", "pdq", "pdna"})
"""Hashes of files and pictures; exchanges also have fuzzy ones of files, which are not ours."""
_SHOWN_BYTES = 1024

Rows = Iterator[ImportRow | LeftOut]


def rows_of(
    chunks: Iterable[bytes], keys: Collection[str], parse: Callable[[Found], Rows]
) -> Iterator[ImportRow | BadRow | LeftOut]:
    """Parse each object of these arrays; InvalidInput makes it a bad row."""
    for found in objects(chunks, keys):
        try:
            rows = list(parse(found))
        except InvalidInput as exc:
            text = found.data[:_SHOWN_BYTES].decode("utf-8", "replace")
            yield bad_row(found.line, exc.field, str(exc), text)
        else:
            yield from rows


def file_hash(name: str, value: str, *, field: str) -> EntrySignal | None:
    """Parse a hash of a file; None for one of an algorithm that a bank does not keep.

    Raises InvalidSignal.
    """
    algorithm = our_name(name)
    if algorithm not in _FILE_HASHES:
        return None
    return parse_listed_signal(algorithm, value.strip(), field=field)


def entry(
    line: int,
    signals: Iterable[EntrySignal],
    *,
    external_id: str = "",
    labels: Iterable[str] = (),
    note: str = "",
    opinion: Opinion = Opinion.UNSPECIFIED,
    expire_time: datetime | None = None,
    withdrawn: bool = False,
) -> Rows:
    """Yield a row, and count the labels and the note that do not fit. Raises InvalidInput."""
    signals = tuple(dict.fromkeys(signals))
    if len(signals) > MAX_ENTRY_SIGNALS:
        raise InvalidInput.at("signals", f"must be at most {MAX_ENTRY_SIGNALS}, not {len(signals)}")
    left_out: list[LeftOut] = []
    fitting = kept_labels(labels, left_out)
    yield from left_out
    note = note.strip()
    if len(note.encode()) > MAX_NOTE_BYTES:
        yield LeftOut("note too long")
        note = ""
    row = ImportRow(
        line,
        signals,
        external_id.strip(),
        fitting,
        opinion=opinion,
        note=note,
        expire_time=expire_time,
        withdrawn=withdrawn,
    )
    check_row(row)
    yield row
