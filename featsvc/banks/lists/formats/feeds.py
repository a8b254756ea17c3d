"""Feeds of exchanges, as JSON documents: StopNCII, Tech Against Terrorism, ThreatExchange.

    stopncii        hashRecords[]: signalType, hashValue, hashStatus,
                    CSPFeedbacks[].{feedbackValue,tags}; hasMoreRecords
    tat             results[]: id, algorithm, hash_digest, ideology, deleted; next
    threat-updates  data[]: id, type, indicator, should_delete, descriptors.data[].{status,tags};
                    paging.next

Records with a `hashStatus` of Withdrawn or Deleted, `deleted` or `should_delete` withdraw their
entry. A file may hold several pages, or records without a page (see `json_records`). A record is
refused if its type, value, id or deletion is malformed. Other values that are not understood,
fields that its feed is not known to have, and kinds of signals that are not kept are counted. Of a
record of which nothing is kept only its kind is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from featsvc.banks.lists.formats.json_records import Page, Record, decode_record, pages
from featsvc.banks.lists.formats.rows import (
    RAW_TEXT,
    ImportRow,
    LeftOut,
    PageEnd,
    bad_row,
    check_row,
    kept_labels,
    kept_signals,
)
from featsvc.banks.records import EntrySignal, Opinion
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput

_decoder = msgspec.json.Decoder(dict[str, Any])


class _Fields:
    """The fields of a record, and what of it is left out."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        self.left_out: list[LeftOut] = []

    def note_unknown(self, known: frozenset[str]) -> None:
        self.left_out += [LeftOut(f'field "{name}"') for name in self._values if name not in known]

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def needed_text(self, name: str) -> str:
        """Raises InvalidInput unless it is a text."""
        value = self._values.get(name)
        if not isinstance(value, str):
            raise InvalidInput.at(name, "must be a text" if name in self else "is missing")
        return value

    def number_or_text(self, name: str) -> str:
        """Return an id as text, "" without one. Raises InvalidInput if it is neither."""
        value = self._values.get(name)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise InvalidInput.at(name, "must be a number or a text")
        return str(value).strip()

    def flag(self, name: str) -> bool:
        """Return False without one. Raises InvalidInput: a deletion must not be overlooked."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, bool):
            raise InvalidInput.at(name, "must be true or false")
        return bool(value)

    def text(self, name: str) -> str:
        """Return "" without one; a value of another type is left out."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, str):
            self._leave_out(name)
            return ""
        return value or ""

    def values(self, name: str, *, under: str = "data") -> list[Any]:
        """Return a list, or that in an object of the Graph API; other values are left out."""
        value = self._values.get(name)
        if isinstance(value, dict):
            value = value.get(under)
        if value is not None and not isinstance(value, list):
            self._leave_out(name)
            return []
        return value or []

    def objects(self, name: str) -> "list[_Fields]":
        """Like `values`, with their own fields; what they leave out is left out by this one."""
        objects = []
        for value in self.values(name):
            if isinstance(value, dict):
                objects.append(_Fields(value))
                objects[-1].left_out = self.left_out
            else:
                self._leave_out(name)
        return objects

    def _leave_out(self, name: str) -> None:
        self.left_out.append(LeftOut(f'field "{name}"'))


@dataclass(frozen=True, slots=True)
class _Feed:
    """A feed. Its pages have records under `records`, which all have the field `mark`."""

    records: str
    mark: str
    known: frozenset[str]
    to_row: Callable[[int, _Fields], ImportRow | None]
    has_more: Callable[[dict[str, Any]], bool]


def read_stopncii(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow | LeftOut | PageEnd]:
    """Entries are identified by their hash: a record has no id."""
    return _rows(chunks, _STOPNCII)


def read_tat(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow | LeftOut | PageEnd]:
    return _rows(chunks, _TAT)


def read_threat_updates(
    chunks: Iterable[bytes],
) -> Iterator[ImportRow | BadRow | LeftOut | PageEnd]:
    return _rows(chunks, _THREAT_UPDATES)


def _rows(chunks: Iterable[bytes], feed: _Feed) -> Iterator[ImportRow | BadRow | LeftOut | PageEnd]:
    """Raises InvalidInput if the file has neither a page nor a record of the feed."""
    found = False
    for item in pages(chunks, feed.records):
        if isinstance(item, Page):
            found = True
            yield PageEnd(feed.has_more(item.fields))
            continue
        try:
            fields = _Fields(decode_record(_decoder, item.data))
            found = found or feed.mark in fields
            yield from _row(item, fields, feed)
        except InvalidInput as exc:
            reason = f"{exc} (record {item.number})"
            row = item.data[:1024].decode("utf-8", "replace")
            yield bad_row(item.line, exc.field, reason, row)
    if not found:
        raise InvalidInput.at(
            "file", f"the document has no array {feed.records}; is this the right format?"
        )


def _row(item: Record, fields: _Fields, feed: _Feed) -> Iterator[ImportRow | LeftOut]:
    if not item.paged and feed.mark not in fields:
        raise InvalidInput(
            f"neither a page, which has {feed.records}, nor a record, which has {feed.mark}"
        )
    row = feed.to_row(item.line, fields)
    if row is not None:
        fields.note_unknown(feed.known)
        check_row(row)
        yield row
    yield from fields.left_out


def _stopncii(line: int, fields: _Fields) -> ImportRow | None:
    kind = fields.needed_text("signalType")
    value = fields.needed_text("hashValue")
    signals = _signals(fields, _STOPNCII_KINDS.get(kind.lower(), kind), value, "hashValue")
    if not signals:
        return None
    status = fields.text("hashStatus")
    if status.lower() not in _STATUSES:
        fields.left_out.append(LeftOut(f'status "{status}"'))
    feedbacks = fields.objects("CSPFeedbacks")
    opinion = _opinion(fields, feedbacks, "feedbackValue", _FEEDBACKS)
    labels = _labels(fields, feedbacks)
    withdrawn = _STATUSES.get(status.lower(), False)
    return ImportRow(line, signals, "", labels, "", opinion, withdrawn=withdrawn)


def _tat(line: int, fields: _Fields) -> ImportRow | None:
    external_id, withdrawn = fields.number_or_text("id"), fields.flag("deleted")
    kind, value = fields.needed_text("algorithm"), fields.needed_text("hash_digest")
    signals = _signals(fields, kind, value, "hash_digest")
    if not signals:
        return None
    labels = kept_labels([fields.text("ideology")], fields.left_out)
    return ImportRow(line, signals, external_id, labels, withdrawn=withdrawn)


def _threat_update(line: int, fields: _Fields) -> ImportRow | None:
    external_id, withdrawn = fields.number_or_text("id"), fields.flag("should_delete")
    if withdrawn and external_id and "indicator" not in fields:
        return ImportRow(line, (), external_id, withdrawn=True)
    kind, value = fields.needed_text("type"), fields.needed_text("indicator")
    signals = _signals(fields, kind.upper().removeprefix("HASH_"), value, "indicator")
    if not signals:
        return None
    descriptors = [fields, *fields.objects("descriptors")]
    opinion = _opinion(fields, descriptors, "status", _DESCRIPTOR_STATUSES)
    labels = _labels(fields, descriptors)
    return ImportRow(line, signals, external_id, labels, "", opinion, withdrawn=withdrawn)


def _signals(fields: _Fields, kind: str, value: str, field: str) -> tuple[EntrySignal, ...]:
    return kept_signals(kind, value, fields.left_out, field=field)


def _labels(fields: _Fields, tagged: Iterable[_Fields]) -> tuple[str, ...]:
    """Return the tags, which are texts or objects with a `text`."""
    labels: list[str] = []
    for tag in (tag for each in tagged for tag in each.values("tags")):
        text = tag.get("text") if isinstance(tag, dict) else tag
        if isinstance(text, str):
            labels.append(text)
        else:
            fields.left_out.append(LeftOut("label"))
    return kept_labels(labels, fields.left_out)


def _opinion(
    fields: _Fields, holders: Iterable[_Fields], name: str, known: Mapping[str, Opinion]
) -> Opinion:
    """Return the opinion that the holders have, DISPUTED if they have several."""
    opinions = set()
    for text in (holder.text(name) for holder in holders):
        if text.lower() not in known:
            fields.left_out.append(LeftOut(f'opinion "{text}"'))
        opinions.add(known.get(text.lower(), Opinion.UNSPECIFIED))
    opinions.discard(Opinion.UNSPECIFIED)
    return Opinion.DISPUTED if len(opinions) > 1 else next(iter(opinions), Opinion.UNSPECIFIED)


_STOPNCII_KINDS = {"text": RAW_TEXT}
_STATUSES = {
    "": False,
    "unknown": False,
    "received": False,
    "active": False,
    "withdrawn": True,
    "deleted": True,
}
_FEEDBACKS = {
    **dict.fromkeys(
        ("", "unknown", "none", "qualityunknown", "pendingreview", "withdrawn", "deleted"),
        Opinion.UNSPECIFIED,
    ),
    "blocked": Opinion.POSITIVE,
    "notblocked": Opinion.NEGATIVE,
}
_DESCRIPTOR_STATUSES = {
    **dict.fromkeys(("", "unknown", "suspicious"), Opinion.UNSPECIFIED),
    "malicious": Opinion.POSITIVE,
    "non_malicious": Opinion.NEGATIVE,
}
_STOPNCII = _Feed(
    records="hashRecords",
    mark="hashValue",
    known=frozenset(
        {"hashValue", "signalType", "hashStatus", "caseNumbers", "lastModtimestamp", "CSPFeedbacks"}
    ),
    to_row=_stopncii,
    has_more=lambda page: bool(page.get("hasMoreRecords")),
)
_TAT = _Feed(
    records="results",
    mark="hash_digest",
    known=frozenset(
        {
            "id",
            "algorithm",
            "hash_digest",
            "ideology",
            "file_type",
            "deleted",
            "updated_on",
            "created_on",
        }
    ),
    to_row=_tat,
    has_more=lambda page: bool(page.get("next")),
)
_THREAT_UPDATES = _Feed(
    records="data",
    mark="indicator",
    known=frozenset(
        {
            "id",
            "type",
            "indicator",
            "should_delete",
            "last_updated",
            "creation_time",
            "descriptors",
            "status",
            "tags",
        }
    ),
    to_row=_threat_update,
    has_more=lambda page: isinstance(page.get("paging"), dict) and bool(page["paging"].get("next")),
)
