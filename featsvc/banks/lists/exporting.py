"""A bank as a list again, in the formats that `formats` reads; streamed, by entry id."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, exists, func, select

from featsvc.banks.lists.formats.csv_rows import COLUMNS, Cells
from featsvc.banks.lists.formats.json_rows import JsonEntry, JsonSignal
from featsvc.banks.lists.formats.tx_local import SIGNAL_TYPES
from featsvc.banks.records import Entry, EntrySignal
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.schema import entries, entry_signals
from featsvc.banks.sql.view import StoreView, check_revision, live_at
from featsvc.errors import InvalidInput
from featsvc.signals.algorithms import get_algorithm

_CHUNK_BYTES = 256 * 1024
_LINE_BREAK = re.compile(r"[\r\n]")
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Export:
    """`dropped_fields`: what some entry has and the format cannot carry."""

    dropped_fields: tuple[str, ...]
    chunks: Iterator[bytes]


def export(database: Database, bank_id: str, format_name: str, revision: int) -> Export:
    """See `BankStore.export_entries`."""
    chosen = WRITERS.get(format_name)
    if chosen is None:
        raise InvalidInput(
            f"format: {format_name[:64]!r} cannot be written; known are {', '.join(WRITERS)}",
            field="format",
        )
    with database.read() as connection:
        view = StoreView(connection)
        revision = check_revision(revision, view.head.revision, "revision")
        live = and_(entries.c.bank_key == view.bank_key(bank_id), live_at(revision))
        dropped = tuple(name for name in chosen.drops if _present(connection, live, name))
    return Export(dropped, _chunks(database, live, chosen))


def _chunks(database: Database, live: ColumnElement[bool], writer: "_Writer") -> Iterator[bytes]:
    buffer = bytearray(writer.header)
    with database.read() as connection:
        for entry in StoreView(connection).entries_where(live, by_id=True):
            for line in writer.lines(entry):
                buffer += line
            if len(buffer) >= _CHUNK_BYTES:
                yield bytes(buffer)
                buffer.clear()
    if buffer:
        yield bytes(buffer)


class _Writer(NamedTuple):
    header: bytes
    lines: Callable[[Entry], Iterable[bytes]]
    drops: tuple[str, ...]


def _json_lines(entry: Entry) -> Iterable[bytes]:
    found = JsonEntry(
        external_id=entry.external_id,
        signals=tuple(
            JsonSignal(s.algorithm, s.text, s.variant, s.quality, _other_version(s))
            for s in entry.signals
        ),
        labels=entry.labels,
        source=entry.source,
        opinion=entry.opinion.value,
        note=entry.note,
        expire_time="" if entry.expire_time is None else entry.expire_time.isoformat(),
    )
    yield _encoder.encode(found) + b"\n"


def _other_version(signal: EntrySignal) -> int:
    """0 for the one of this build."""
    current = get_algorithm(signal.algorithm).version
    return 0 if signal.version == current else signal.version


def _csv_lines(entry: Entry) -> Iterable[bytes]:
    text = io.StringIO()
    labels = ";".join(entry.labels)
    expires = "" if entry.expire_time is None else entry.expire_time.isoformat()
    csv.writer(text, lineterminator="\n").writerows(
        Cells(
            algorithm=s.algorithm,
            signal=s.text,
            external_id=entry.external_id,
            labels=labels,
            source=entry.source,
            opinion=entry.opinion.value,
            note=entry.note,
            expire_time=expires,
            variant="" if s.variant == "original" else s.variant,
            quality="" if s.quality is None else str(s.quality),
        )
        for s in entry.signals
    )
    yield text.getvalue().encode()


def _tx_lines(entry: Entry) -> Iterable[bytes]:
    for s in entry.signals:
        yield f"{SIGNAL_TYPES.get(s.algorithm, s.algorithm)} {s.text}\n".encode()


def _pdq_lines(entry: Entry) -> Iterable[bytes]:
    carried = entry.external_id and not _LINE_BREAK.search(entry.external_id)
    path = f",{entry.external_id}" if carried else ""
    return (f"{s.text}{path}\n".encode() for s in entry.signals if s.algorithm == "pdq")


_ENTRY_FIELDS = ("labels", "source", "opinion", "note", "expire_time")
_SIGNAL_FIELDS = ("variant", "quality", "version", "quarantined")

WRITERS = {
    "csv": _Writer(
        (",".join(COLUMNS) + "\n").encode(),
        _csv_lines,
        ("grouped signals", "labels with ;", "version", "quarantined"),
    ),
    "jsonl": _Writer(b"", _json_lines, ("quarantined",)),
    "tx": _Writer(
        b"", _tx_lines, ("external_id", *_ENTRY_FIELDS, *_SIGNAL_FIELDS, "grouped signals")
    ),
    "pdq-text": _Writer(
        b"", _pdq_lines, ("other algorithms", *_ENTRY_FIELDS, *_SIGNAL_FIELDS, "grouped signals")
    ),
}


def _other_versions(connection: Connection, condition: ColumnElement[bool]) -> bool:
    """Whether any signal is of another version of its algorithm than this build's."""
    signals = entry_signals.c
    found = connection.execute(
        select(signals.algorithm, signals.algorithm_version).where(condition).distinct()
    )
    return any(get_algorithm(row.algorithm).version != row.algorithm_version for row in found)


def _present(connection: Connection, live: ColumnElement[bool], name: str) -> bool:
    """Whether any entry has it. Signals are grouped where an entry has several and no id."""
    mine = and_(live, entry_signals.c.version == entries.c.version)
    if name == "version":
        return _other_versions(connection, mine)
    several = select(func.count()).where(entry_signals.c.version == entries.c.version)
    conditions = {
        "other algorithms": and_(mine, entry_signals.c.algorithm != "pdq"),
        "variant": and_(mine, entry_signals.c.variant != "original"),
        "quality": and_(mine, entry_signals.c.quality.is_not(None)),
        "quarantined": and_(live, entries.c.quarantined),
        "labels with ;": and_(live, entries.c.labels.contains(";", autoescape=True)),
        "expire_time": and_(live, entries.c.expire_time.is_not(None)),
        "grouped signals": and_(live, entries.c.external_id == "", several.scalar_subquery() > 1),
    }
    condition = conditions[name] if name in conditions else and_(live, entries.c[name] != "")
    return bool(connection.scalar(select(exists().where(condition))))
