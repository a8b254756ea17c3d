"""Events, entities and results as callers see them, and the checks of an event."""

import math
import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from itertools import pairwise

import msgspec

from featsvc.errors import InvalidInput, shown

MAX_EVENTS = 10_000
"""Events in one batch."""
MAX_EVENT_ID_BYTES = 128
MAX_ENTITY_ID_BYTES = 256
MAX_TEXT_BYTES = 256
MAX_ENTITIES = 16
MAX_ATTRIBUTES = 64
MAX_SKEW_MS = 60_000
"""How far ahead of the server's clock an event may be."""
EARLIEST_TIME_MS = 946_684_800_000
"""2000-01-01: an earlier time is a wrong clock or a wrong unit (seconds for milliseconds)."""
MAX_SOURCE_BYTES = 128
MAX_POSITION = 2**53
"""The store keeps positions as float64."""
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
_MAX_TIME_MS = 253_402_300_799_999
"""The end of the year 9999, where RFC 3339 and Timestamps end."""

Attribute = int | float | str | bool
"""An int is an exact whole number within int64; a float is as exact as IEEE 754 has it."""


class EventStatus(IntEnum):
    """Outcome of an event; the numbers are those of `EventResult.Status` on the wire."""

    APPLIED = 1
    DUPLICATE = 2
    TOO_LATE = 3
    REJECTED = 4
    IGNORED = 5
    INCOMPLETE = 6
    BEYOND_HORIZON = 7


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
class Backfill:
    """Where the events of a batch come from: a source, and one ascending position per event.

    An entity remembers the greatest position of a source that it has counted, and counts none up to
    it again, whatever the age of the event.
    """

    source: str
    positions: Sequence[int]


@dataclass(frozen=True, slots=True)
class EntityRef:
    """An account, an address, or another kind of entity that the definitions name."""

    entity: str
    id: str


@dataclass(frozen=True, slots=True)
class EventResult:
    """`reason` is empty unless the status is REJECTED, INCOMPLETE or BEYOND_HORIZON."""

    status: EventStatus
    reason: str = ""


def clock_ms() -> int:
    """Return the Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def too_many(field: str, given: int, most: int) -> InvalidInput:
    """Return the error for a field with more than `most` items."""
    return InvalidInput(f"{field}: {given} given, at most {most} are allowed", field=field)


def check_id(text: str, field: str, *, max_bytes: int = MAX_ENTITY_ID_BYTES) -> None:
    """Raise InvalidInput for an id that is empty, too long, or has control characters."""
    if not isinstance(text, str):
        raise InvalidInput(f"{field}: must be text, not {type(text).__name__}", field=field)
    if not text:
        raise InvalidInput(f"{field}: is empty; give 1 to {max_bytes} bytes", field=field)
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as exc:
        raise InvalidInput(
            f"{field}: is not valid Unicode (a lone surrogate)", field=field
        ) from exc
    if size > max_bytes:
        raise InvalidInput(
            f"{field}: has {size} bytes, at most {max_bytes} are allowed; hash longer ids",
            field=field,
        )
    if not text.isprintable():
        for position, character in enumerate(text):
            if unicodedata.category(character) == "Cc":
                raise InvalidInput(
                    f"{field}: control character U+{ord(character):04X} at position {position + 1}",
                    field=field,
                )


def check_event(event: Event, *, now_ms: int) -> None:
    """Raise InvalidInput, naming the field, for a malformed event; its type may be unknown."""
    check_id(event.event_id, "event_id", max_bytes=MAX_EVENT_ID_BYTES)
    check_id(event.type, "type")
    if not EARLIEST_TIME_MS <= event.time_ms <= now_ms + MAX_SKEW_MS:
        raise _wrong_time(event.time_ms, now_ms)
    if len(event.entities) > MAX_ENTITIES:
        raise too_many("entities", len(event.entities), MAX_ENTITIES)
    for name, entity_id in event.entities.items():
        check_id(entity_id, f"entities.{shown(name)}")
    if len(event.attributes) > MAX_ATTRIBUTES:
        raise too_many("attributes", len(event.attributes), MAX_ATTRIBUTES)
    for name, value in event.attributes.items():
        _check_attribute(value, f"attributes.{shown(name)}")


def _wrong_time(time_ms: float, now_ms: int) -> InvalidInput:
    """Return the error for a time out of range; NaN, which the types do not allow, is one, too."""
    if time_ms > now_ms:
        return InvalidInput.at(
            "time",
            f"{time_ms} ms is {time_ms - now_ms} ms ahead of the server's clock, at most "
            f"{MAX_SKEW_MS} are allowed; check the sender's clock",
        )
    return InvalidInput.at("time", f"{time_ms} ms is before 2000-01-01; give Unix milliseconds")


def check_backfill(backfill: Backfill, events: int) -> None:
    """Raise InvalidInput for positions that do not fit the events, or a bad source."""
    check_id(backfill.source, "backfill.source", max_bytes=MAX_SOURCE_BYTES)
    field = "backfill.positions"
    positions = backfill.positions
    if len(positions) != events:
        raise InvalidInput(
            f"{field}: {len(positions)} positions for {events} events; give one each", field=field
        )
    if any(a >= b for a, b in pairwise(positions)):
        raise InvalidInput(f"{field}: must ascend", field=field)
    if positions and not 0 <= positions[0] <= positions[-1] <= MAX_POSITION:
        raise InvalidInput(f"{field}: must be 0 to 2^53", field=field)


def _check_attribute(value: object, field: str) -> None:
    if isinstance(value, str):
        if len(value) > MAX_TEXT_BYTES or len(value.encode(errors="replace")) > MAX_TEXT_BYTES:
            raise InvalidInput(f"{field}: has more than {MAX_TEXT_BYTES} bytes", field=field)
    elif isinstance(value, int):
        if not INT64_MIN <= value <= INT64_MAX:
            raise InvalidInput(
                f"{field}: the integer is beyond 64 bits (-2^63 to 2^63 - 1); send larger ids as "
                "text",
                field=field,
            )
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInput(f"{field}: {value} is not a finite number", field=field)
    else:
        raise InvalidInput(
            f"{field}: must be a number, a text or a flag, not {type(value).__name__}", field=field
        )


class _EventLine(msgspec.Struct, forbid_unknown_fields=True):
    event_id: str
    type: str
    time: int | float | str
    entities: dict[str, str]
    attributes: dict[str, Attribute] = {}


_decoder = msgspec.json.Decoder(_EventLine)


def parse_event_line(line: str | bytes) -> Event:
    """Parse one line of JSON Lines.

    `{"event_id", "type", "time", "entities": {...}, "attributes": {...}}`, `time` as RFC 3339
    with an offset or Unix milliseconds. A number without point and exponent is an exact integer.
    Raises InvalidInput, naming the key.
    """
    try:
        row = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        message = str(exc).replace("`$.", "`").replace(" - at ", " at ")
        raise InvalidInput(f"not an event: {message}") from exc
    for name, value in row.attributes.items():
        if isinstance(value, int):
            _check_attribute(value, f"attributes.{shown(name)}")
    return Event(row.event_id, row.type, parse_time(row.time), row.entities, row.attributes)


def parse_time(value: int | float | str, *, field: str = "time") -> int:
    """Return Unix milliseconds for RFC 3339 text with an offset, or for Unix milliseconds.

    Milliseconds may be text too. Raises InvalidInput, also for a time before 1970 or after 9999.
    """
    try:
        time_ms = _parse_time_text(value, field) if isinstance(value, str) else int(value)
    except (ValueError, OverflowError):  # not a time, NaN, infinity
        time_ms = -1
    if not 0 <= time_ms <= _MAX_TIME_MS:
        raise InvalidInput.at(
            field,
            f"{shown(str(value))!r} is neither RFC 3339 (2026-01-31T12:00:00Z) nor Unix "
            "milliseconds, of the years 1970 to 9999",
        )
    return time_ms


def _parse_time_text(text: str, field: str) -> int:
    """Return milliseconds of any size. Raises ValueError, and InvalidInput without an offset."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return int(text)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise InvalidInput.at(field, f"{text!r} has no offset; end it with Z or +HH:MM")
    return round(moment.timestamp() * 1000)
