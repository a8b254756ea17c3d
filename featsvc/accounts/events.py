"""Events and entities as they come in, and what became of them."""

import math
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

import msgspec

from featsvc.errors import InvalidInput

MAX_EVENT_ID_BYTES = 128
MAX_ENTITY_ID_BYTES = 256
MAX_TEXT_BYTES = 256
MAX_ENTITIES = 16
MAX_ATTRIBUTES = 64
EARLIEST_TIME_MS = 946_684_800_000
"""2000-01-01: anything older is a clock or a unit gone wrong (seconds taken for milliseconds)."""
_MAX_TIME_DIGITS = 15

Attribute = float | str | bool


class EventStatus(IntEnum):
    """What became of an event; the numbers are those of `EventResult.Status` on the wire."""

    APPLIED = 1
    DUPLICATE = 2
    TOO_LATE = 3
    REJECTED = 4
    IGNORED = 5
    INCOMPLETE = 6


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at `time_ms` (Unix milliseconds) to one or more entities.

    `entities` maps field names to ids, `attributes` names to numbers, texts or flags.
    """

    event_id: str
    type: str
    time_ms: int
    entities: Mapping[str, str]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EntityRef:
    """An account, address or whatever else the definitions name."""

    entity: str
    id: str


@dataclass(frozen=True, slots=True)
class EventResult:
    """`reason` is empty unless the status is REJECTED or INCOMPLETE."""

    status: EventStatus
    reason: str = ""


def clock_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def check_id(text: str, what: str, *, max_bytes: int = MAX_ENTITY_ID_BYTES) -> str:
    """An id as it is. Raises InvalidInput: empty, too long, or with control characters."""
    if not isinstance(text, str):
        raise InvalidInput(f"{what}: must be text, not {type(text).__name__}", field=what)
    if not text:
        raise InvalidInput(f"{what}: is empty; give 1 to {max_bytes} bytes", field=what)
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as exc:
        raise InvalidInput(f"{what}: is not valid Unicode (a lone surrogate)", field=what) from exc
    if size > max_bytes:
        raise InvalidInput(
            f"{what}: has {size} bytes, at most {max_bytes} are allowed; hash longer ids",
            field=what,
        )
    if not text.isprintable():
        for position, character in enumerate(text):
            if unicodedata.category(character) == "Cc":
                raise InvalidInput(
                    f"{what}: control character U+{ord(character):04X} at position {position + 1}",
                    field=what,
                )
    return text


def check_event(event: Event, *, now_ms: int, max_skew_ms: int) -> None:
    """Raises InvalidInput, naming the field; whether the type is known is not asked here."""
    check_id(event.event_id, "event_id", max_bytes=MAX_EVENT_ID_BYTES)
    check_id(event.type, "type")
    if event.time_ms < EARLIEST_TIME_MS:
        raise InvalidInput(
            f"time: {event.time_ms} ms is before 2000-01-01; give Unix milliseconds", field="time"
        )
    if event.time_ms > now_ms + max_skew_ms:
        raise InvalidInput(
            f"time: {event.time_ms} ms lies {event.time_ms - now_ms} ms ahead of the server's "
            f"clock, at most {max_skew_ms} are allowed; check the sender's clock",
            field="time",
        )
    if len(event.entities) > MAX_ENTITIES:
        raise InvalidInput(
            f"entities: {len(event.entities)} given, at most {MAX_ENTITIES} are allowed",
            field="entities",
        )
    for name, entity_id in event.entities.items():
        check_id(entity_id, f"entities.{name[:64]}")
    if len(event.attributes) > MAX_ATTRIBUTES:
        raise InvalidInput(
            f"attributes: {len(event.attributes)} given, at most {MAX_ATTRIBUTES} are allowed",
            field="attributes",
        )
    for name, value in event.attributes.items():
        _check_attribute(name, value)


def _check_attribute(name: str, value: object) -> None:
    what = f"attributes.{name[:64]}"
    if isinstance(value, str):
        if len(value) > MAX_TEXT_BYTES or len(value.encode(errors="replace")) > MAX_TEXT_BYTES:
            raise InvalidInput(f"{what}: has more than {MAX_TEXT_BYTES} bytes", field=what)
    elif isinstance(value, int | float):
        if not math.isfinite(value):
            raise InvalidInput(f"{what}: {value} is not a finite number", field=what)
    else:
        raise InvalidInput(
            f"{what}: must be a number, a text or a flag, not {type(value).__name__}", field=what
        )


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    event_id: str
    type: str
    time: int | float | str
    entities: dict[str, str]
    attributes: dict[str, float | str | bool] = {}


_decoder = msgspec.json.Decoder(_Line)


def parse_event_line(line: str | bytes) -> Event:
    """One line of JSON Lines to an Event.

    `{"event_id", "type", "time", "entities": {...}, "attributes": {...}}`, `time` as RFC 3339
    with an offset or Unix milliseconds. Raises InvalidInput, naming the key.
    """
    try:
        row = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        message = str(exc).replace("`$.", "`").replace(" - at ", " at ")
        raise InvalidInput(f"not an event: {message}") from exc
    return Event(row.event_id, row.type, parse_time(row.time), row.entities, row.attributes)


def parse_time(value: int | float | str, *, field: str = "time") -> int:
    """RFC 3339 text with an offset, or Unix milliseconds (also as text), to Unix milliseconds."""
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdigit():
            return int(text) if len(text) <= _MAX_TIME_DIGITS else _bad_time(value, field)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return _bad_time(value, field)
        if moment.tzinfo is None:
            raise InvalidInput(
                f"{field}: {value!r} has no offset; end it with Z or +HH:MM", field=field
            )
        return round(moment.timestamp() * 1000)
    if isinstance(value, float) and not math.isfinite(value):
        return _bad_time(value, field)
    return int(value)


def _bad_time(value: object, field: str) -> int:
    raise InvalidInput(
        f"{field}: {str(value)[:64]!r} is neither RFC 3339 (2026-01-31T12:00:00Z) nor Unix "
        "milliseconds",
        field=field,
    )
