"""Turn messages of the contract into the JSON objects that `--json` promises.

The shape follows from the descriptor of a message, so that a new field appears by itself. Enum
values lose their prefix, timestamps are RFC 3339, whole doubles become integers, and a field that
can be absent is null when it is not set. The tables below hold what differs from that.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from operator import methodcaller
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

JSON = dict[str, Any]

_FLOATS = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)

_KEYS = {
    "Bank.name": "bank",
    "Bank.query_variants": "variants",
    "Bank.entry_count": "entries",
    "Bank.expired_entries": "expired",
    "Bank.signal_counts": "signals",
    "DeleteBankResponse.withdrawn_entries": "withdrawn",
    "DiffRevisionsResponse.Change.kind": "change",
    "EntrySignal.value": "signal",
    "EntryVector.values": "dimensions",
    "EvaluateBankResponse.positive_histogram": "bad_histogram",
    "EvaluateBankResponse.negative_histogram": "good_histogram",
    "Match.entry": "entry_id",
    "Revision.commit_time": "time",
    "Revision.file_name": "file",
    "Revision.file_sha256": "sha256",
    "Revision.added_entries": "added",
    "Revision.withdrawn_entries": "withdrawn",
    "Revision.changed_entries": "changed",
    "ScreenResponse.content_outcome": "outcome",
    "ScreenResponse.content_outcome_reason": "outcome_reason",
    "ScreenResponse.matches_truncated": "truncated",
    "Signal.value": "signal",
}
"""The keys of fields that are not called by their name."""


def last_part(name: str) -> str:
    """Return the id at the end of a resource name: `banks/b/entries/7` gives `7`."""
    return name.rpartition("/")[2]


def feature_row(table: JSON, row: int) -> JSON:
    """Return the features of the entity in `row` of a `FeatureTable` that is JSON already."""
    return {
        "features": {
            column["name"]: {"value": column["values"][row], "status": column["statuses"][row]}
            for column in table["columns"]
        },
        "freshness_us": table["freshness_us"][row] if table["freshness_us"] else None,
        "as_of": table["as_of"],
    }


_VALUES: Mapping[str, Callable[[Any], object]] = {
    "Bank.name": last_part,
    "DiffRevisionsResponse.Change.kind": str.lower,
    "Entry.name": lambda name: {"bank": name.split("/")[1], "entry_id": last_part(name)},
    "WithdrawnEntry.line": lambda line: line or None,
    "WithdrawnEntry.name": lambda name: {"bank": name.split("/")[1], "entry_id": last_part(name)},
    "Entry.opinion": lambda name: "" if name == "UNSPECIFIED" else name.lower(),
    "ListedValues.opinion": lambda name: "" if name == "UNSPECIFIED" else name.lower(),
    "Entry.removed_revision": lambda revision: revision or None,
    "EntryVector.values": len,
    "Match.bank": last_part,
    "Match.entry": last_part,
    "MediaInfo.media_type": lambda media_type: media_type or None,
    "MediaInfo.width": lambda pixels: pixels or None,
    "MediaInfo.height": lambda pixels: pixels or None,
    "MediaInfo.frames": lambda frames: frames or None,
    "Revision.bank": last_part,
    "SearchedAlgorithm.banks": lambda names: [last_part(name) for name in names],
    "Searched.safe_lists": lambda names: [last_part(name) for name in names],
    "ScreenResponse.features": lambda table: feature_row(table, 0),
}
"""The last step to a field's JSON value, for fields that need one."""

_MERGED = frozenset(
    {
        "DiffRevisionsResponse.Change.entry",
        "Entry.name",
        "EvaluateBankResponse.NoisyEntry.entry",
        "ImportEntriesResponse.summary",
        "ListMatchCountsResponse.Count.entry",
        "MatchResponse.watermark",
        "ScreenResponse.features",
        "ScreenResponse.media",
        "ScreenResponse.watermark",
        "WithdrawnEntry.name",
    }
)
"""Fields whose object has no key: its own keys join those of the message around it."""

_LEFT_OUT = frozenset(
    {
        "CompareBanksResponse.next_page_token",
        "ImportEntriesResponse.bad",
        "ImportEntriesResponse.planned",
    }
)
"""The command follows the pages itself. Bad rows are in FILE.rejected.jsonl, the first in
`summary`, which the last response has instead of the plan."""


class _Field(NamedTuple):
    """A field of a message. `key` is None if the object of the field is merged."""

    name: str
    key: str | None
    can_be_absent: bool
    convert: Callable[[Any], Any]


def message_json(message: Message) -> JSON:
    """Return the JSON object that `--json` promises for a message."""
    values: JSON = {}
    for field in _fields(message.DESCRIPTOR):
        if field.key is None:
            values |= field.convert(getattr(message, field.name))
        elif field.can_be_absent and not message.HasField(field.name):
            values[field.key] = None
        else:
            values[field.key] = field.convert(getattr(message, field.name))
    return values


@cache
def _fields(descriptor: Descriptor) -> tuple[_Field, ...]:
    """Read a descriptor once: a page has thousands of messages of one kind."""
    fields = []
    for field in descriptor.fields:
        name = field.full_name.removeprefix("featsvc.v1.")
        if name not in _LEFT_OUT:
            key = None if name in _MERGED else _KEYS.get(name, field.name)
            fields.append(_Field(field.name, key, field.has_presence, _converter(field, name)))
    return tuple(fields)


def _converter(field: Any, name: str) -> Callable[[Any], Any]:
    """Return the function that makes JSON of the field's value."""
    last_step = _VALUES.get(name)
    convert = _plain_converter(field)
    return convert if last_step is None else lambda value: last_step(convert(value))


def _plain_converter(field: Any) -> Callable[[Any], Any]:
    if field.message_type and field.message_type.GetOptions().map_entry:
        of_map = _value_converter(field.message_type.fields_by_name["value"])
        return lambda values: {key: of_map(value) for key, value in values.items()}
    convert = _value_converter(field)
    return (lambda values: [convert(value) for value in values]) if field.is_repeated else convert


def _value_converter(field: Any) -> Callable[[Any], Any]:
    if field.enum_type:
        return partial(_enum_name, field.enum_type)
    if field.message_type:
        # Timestamps and durations of google.protobuf write themselves.
        known = field.message_type.full_name.startswith("google.protobuf.")
        return methodcaller("ToJsonString") if known else message_json
    return number if field.cpp_type in _FLOATS else lambda value: value


def number(value: float) -> int | float | None:
    """Return a whole number as an integer, so that 3 bits read `3`; None for NaN."""
    if value.is_integer():
        return int(value)
    return None if value != value else value  # noqa: PLR0124 (NaN)


def enum_name(message: Message, field: str) -> str:
    """Return the name of an enum field's value as `--json` prints it."""
    return _enum_name(message.DESCRIPTOR.fields_by_name[field].enum_type, getattr(message, field))


def _enum_name(enum: Any, value: int) -> str:
    """Return the name without the prefix of its enum; UNKNOWN_n for a value of a newer server."""
    known = enum.values_by_number.get(value)
    if known is None:
        return f"UNKNOWN_{value}"
    name: str = known.name
    return name.removeprefix(enum.values_by_number[0].name.removesuffix("UNSPECIFIED"))
