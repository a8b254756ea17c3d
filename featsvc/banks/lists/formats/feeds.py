"""Feeds of exchanges, as JSON documents: StopNCII, Tech Against Terrorism, ThreatExchange.

    stopncii        hashRecords[]: signalType, hashValue, hashStatus, CSPFeedbacks[].tags
    tat             results[]: id, algorithm, hash_digest, ideology, deleted
    threat-updates  data[]: id, type, indicator, should_delete, descriptors.data[].{status,tags}

Records with a `hashStatus` of Withdrawn or Deleted, `deleted` or `should_delete` withdraw their
entry. Other fields are ignored.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import msgspec

from featsvc.banks.lists.formats.json_records import decode_record, records
from featsvc.banks.lists.formats.rows import (
    ImportRow,
    bad_row,
    check_row,
    clean_labels,
    listed_algorithm,
    parse_listed_signals,
)
from featsvc.banks.records import EntrySignal, Opinion
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput, shown

T = TypeVar("T", bound=msgspec.Struct)

_STATUSES = {"received": False, "active": False, "withdrawn": True, "deleted": True}
_OPINIONS = {"MALICIOUS": Opinion.POSITIVE, "NON_MALICIOUS": Opinion.NEGATIVE}


class _Feedback(msgspec.Struct):
    tags: tuple[str, ...] | None = None


class _StopNcii(msgspec.Struct):
    signalType: str  # noqa: N815 (the feed's name)
    hashValue: str  # noqa: N815
    hashStatus: str  # noqa: N815
    CSPFeedbacks: tuple[_Feedback, ...] | None = None


class _Tat(msgspec.Struct):
    hash_digest: str
    algorithm: str
    id: int | str
    deleted: bool = False
    ideology: str | None = None


class _Descriptor(msgspec.Struct):
    status: str | None = None
    tags: tuple[str, ...] | None = None


class _Descriptors(msgspec.Struct):
    data: tuple[_Descriptor, ...] = ()


class _ThreatUpdate(msgspec.Struct):
    id: int | str
    indicator: str
    type: str
    should_delete: bool = False
    descriptors: _Descriptors | None = None


def read_stopncii(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow]:
    """Entries are identified by their hash: a record has no id."""
    return _read(chunks, "hashRecords", _StopNcii, _stopncii)


def read_tat(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow]:
    return _read(chunks, "results", _Tat, _tat)


def read_threat_updates(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow]:
    return _read(chunks, "data", _ThreatUpdate, _threat_update)


def _read(
    chunks: Iterable[bytes], key: str, kind: type[T], to_row: Callable[[int, T], ImportRow]
) -> Iterator[ImportRow | BadRow]:
    decoder = msgspec.json.Decoder(kind)
    for line, record in records(chunks, key):
        try:
            row = to_row(line, decode_record(decoder, record))
            check_row(row)
        except InvalidInput as exc:
            yield bad_row(line, exc.field, str(exc), record[:1024].decode("utf-8", "replace"))
        else:
            yield row


def _stopncii(line: int, record: _StopNcii) -> ImportRow:
    signals = _signals(record.signalType, record.hashValue, ("signalType", "hashValue"))
    withdrawn = _STATUSES.get(record.hashStatus.lower())
    if withdrawn is None:
        raise InvalidInput.at(
            "hashStatus",
            f"must be Received, Active, Withdrawn or Deleted, not {shown(record.hashStatus)!r}",
        )
    feedbacks = record.CSPFeedbacks or ()
    labels = clean_labels(tag for feedback in feedbacks for tag in feedback.tags or ())
    return ImportRow(line, signals, labels=labels, withdrawn=withdrawn)


def _tat(line: int, record: _Tat) -> ImportRow:
    signals = _signals(record.algorithm, record.hash_digest, ("algorithm", "hash_digest"))
    labels = clean_labels([record.ideology or ""])
    return ImportRow(line, signals, str(record.id), labels, withdrawn=record.deleted)


def _threat_update(line: int, record: _ThreatUpdate) -> ImportRow:
    kind = record.type.removeprefix("HASH_")
    signals = _signals(kind, record.indicator, ("type", "indicator"))
    descriptors = record.descriptors.data if record.descriptors else ()
    labels = clean_labels(tag for descriptor in descriptors for tag in descriptor.tags or ())
    opinions = {_OPINIONS.get(d.status or "", Opinion.UNSPECIFIED) for d in descriptors}
    opinions -= {Opinion.UNSPECIFIED}
    opinion = Opinion.DISPUTED if len(opinions) > 1 else next(iter(opinions), Opinion.UNSPECIFIED)
    return ImportRow(
        line, signals, str(record.id), labels, opinion=opinion, withdrawn=record.should_delete
    )


def _signals(name: str, value: str, fields: tuple[str, str]) -> tuple[EntrySignal, ...]:
    return parse_listed_signals(listed_algorithm(name, field=fields[0]), value, field=fields[1])
