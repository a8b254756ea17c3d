"""MISP events, as JSON: one, several, or the answer to a search of attributes.

    {"Event": {"Attribute": [...], "Object": [{"name": "file", "Attribute": [...]}]}}
    {"response": [{"Event": ...}, ...]}        {"response": {"Attribute": [...]}}

An attribute with a hash is an entry, and so is an object with hashes of one file; the UUID is the
external id. `filename|md5` and its like are read as the hash. Deleted ones are withdrawn. Tags
become labels, and so does `to_ids`: MISP's word for what is meant for automatic detection. Tags of
a whole event stand behind its attributes, and are counted and left out.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from featsvc.banks.lists.formats.exchanges import Rows, entry, file_hash, rows_of
from featsvc.banks.lists.formats.json_objects import Found
from featsvc.banks.lists.formats.json_records import decode_record
from featsvc.banks.lists.formats.rows import ImportRow, LeftOut
from featsvc.banks.records import EntrySignal
from featsvc.banks.results import BadRow

TO_IDS = "to_ids"
_TRUE = frozenset({1, "1", "true", "True"})
_Flag = bool | int | str | None


class _Tag(msgspec.Struct):
    name: str = ""


class _Attribute(msgspec.Struct):
    type: str
    value: str | float | bool | None = ""
    uuid: str | None = ""
    deleted: _Flag = False
    to_ids: _Flag = False
    comment: str | None = ""
    Tag: tuple[_Tag, ...] | None = ()


class _Object(msgspec.Struct):
    name: str = ""
    uuid: str | None = ""
    deleted: _Flag = False
    comment: str | None = ""
    Attribute: tuple[_Attribute, ...] | None = ()


_attributes = msgspec.json.Decoder(_Attribute)
_objects = msgspec.json.Decoder(_Object)


def read(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow | LeftOut]:
    return rows_of(chunks, ("Attribute", "Object", "Tag"), _parse)


def _parse(found: Found) -> Rows:
    if found.key == "Attribute":
        return _rows(found.line, [decode_record(_attributes, found.data)])
    if found.key == "Object":
        decoded = decode_record(_objects, found.data)
        return _rows(
            found.line,
            decoded.Attribute or (),
            external_id=decoded.uuid or "",
            deleted=decoded.deleted in _TRUE,
            note=decoded.comment or "",
        )
    return iter([LeftOut("tag of a whole event")])


def _rows(
    line: int,
    attributes: Sequence[_Attribute],
    *,
    external_id: str = "",
    deleted: bool = False,
    note: str = "",
) -> Rows:
    """Yield the entry of some attributes, which are about one file."""
    hashes: list[tuple[_Attribute, EntrySignal]] = []
    for attribute in attributes:
        signal = signal_of(attribute.type, str(attribute.value or ""))
        if signal is None:
            yield LeftOut(f"attribute of type {attribute.type}")
        else:
            hashes.append((attribute, signal))
    live = [pair for pair in hashes if pair[0].deleted not in _TRUE]
    if not hashes:
        return
    first = hashes[0][0]
    withdrawn = deleted or not live
    kept = hashes if withdrawn else live
    labels = [tag.name for attribute, _ in kept for tag in attribute.Tag or ()]
    labels += [TO_IDS for attribute, _ in kept if attribute.to_ids in _TRUE]
    yield from entry(
        line,
        (signal for _, signal in kept),
        external_id=external_id or first.uuid or "",
        labels=labels,
        note=note or first.comment or "",
        withdrawn=withdrawn,
    )


def signal_of(kind: str, value: str) -> EntrySignal | None:
    """Parse an attribute; None for one that is no hash that a bank keeps. Raises InvalidSignal."""
    name, composite, hashed = kind.partition("|")
    if composite:
        if name != "filename":
            return None
        kind, value = hashed, value.rpartition("|")[2]
    return file_hash(kind, value, field="value")
