"""What every format is read into, and the limits that hold for all of them."""

from datetime import UTC, datetime
from typing import NamedTuple

from featsvc.banks.records import (
    MAX_EXTERNAL_ID_BYTES,
    MAX_NOTE_BYTES,
    MAX_SOURCE_BYTES,
    BadRow,
    EntrySignal,
    Opinion,
    check_labels,
    check_text,
)
from featsvc.errors import InvalidInput

ROW_CHARS = 256


class ImportRow(NamedTuple):
    """One row of a list: an entry, or a part of one.

    Rows of one file with the same external id are one entry: their signals and labels are
    joined, the first row's other fields stand. A tuple, since a list has millions.
    """

    line: int
    signals: tuple[EntrySignal, ...]
    external_id: str = ""
    labels: tuple[str, ...] = ()
    source: str = ""
    opinion: Opinion = Opinion.UNSPECIFIED
    note: str = ""
    expire_time: datetime | None = None


def check_row(row: ImportRow) -> None:
    """Raises InvalidInput, its `field` naming the column."""
    check_text("external_id", row.external_id, MAX_EXTERNAL_ID_BYTES)
    check_labels(row.labels)
    check_text("source", row.source, MAX_SOURCE_BYTES)
    check_text("note", row.note, MAX_NOTE_BYTES)


def bad_row(line: int, column: str, reason: str, row: str) -> BadRow:
    return BadRow(line, column, reason, row[:ROW_CHARS])


def parse_time(text: str, *, field: str) -> datetime:
    """ISO 8601; without an offset it is UTC. Raises InvalidInput."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{field}: {text[:64]!r} is not a time; write 2030-01-31 or 2030-01-31T12:00:00Z",
            field=field,
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
