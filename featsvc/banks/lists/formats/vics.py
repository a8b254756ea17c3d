"""Project VIC's VICS as JSON (OData): the media of cases.

    {"@odata.context": "...", "value": [{"CaseID": "...", "Media": [
       {"MediaID": 1, "Category": 1, "MD5": "...", "SHA1": "...", "Series": "...", "Tags": "a;b",
        "AlternativeHashes": [{"HashName": "PhotoDNA", "HashValue": "..."}]}]}]}

Category, series and tags become labels: `category:1`, `series:NAME`. What a category means depends
on the country, so it decides nothing here. Media have no external id: a `MediaID` counts within one
case only. Files, cases and other fields are not read.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain

import msgspec

from featsvc.banks.lists.formats.encoding import HEAD_BYTES
from featsvc.banks.lists.formats.exchanges import Rows, entry, file_hash, rows_of
from featsvc.banks.lists.formats.json_objects import Found
from featsvc.banks.lists.formats.json_records import decode_record
from featsvc.banks.lists.formats.rows import ImportRow, LeftOut
from featsvc.banks.records import EntrySignal
from featsvc.banks.results import BadRow

_MEDIA = re.compile(rb'"Media"\s*:\s*\[')
_TAG_ENDS = re.compile("[;,]")


class _Alternative(msgspec.Struct):
    HashName: str = ""
    HashValue: str = ""


class _Media(msgspec.Struct):
    MD5: str | None = None
    SHA1: str | None = None
    SHA256: str | None = None
    PhotoDNA: str | None = None
    AlternativeHashes: tuple[_Alternative, ...] | None = ()
    Category: int | str | None = None
    Series: str | None = None
    Tags: str | None = None
    Comments: str | None = None


_decoder = msgspec.json.Decoder(_Media)


def read(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow | LeftOut]:
    """Media may be in cases, or themselves the `value` of the document."""
    pieces = iter(chunks)
    head = b""
    while len(head) < HEAD_BYTES and (piece := next(pieces, b"")):
        head += piece
    key = "Media" if _MEDIA.search(head) else "value"
    return rows_of(chain((head,), pieces), (key,), _parse)


def _parse(found: Found) -> Rows:
    media = decode_record(_decoder, found.data)
    hashes = [
        (name, value)
        for name in ("MD5", "SHA1", "SHA256", "PhotoDNA")
        if (value := getattr(media, name))
    ]
    hashes += [(a.HashName, a.HashValue) for a in media.AlternativeHashes or () if a.HashValue]
    signals: list[EntrySignal] = []
    for name, value in hashes:
        signal = file_hash(name, value, field=name)
        if signal is None:
            yield LeftOut(f"hash by {name}")
        else:
            signals.append(signal)
    if not signals:
        if not hashes:
            yield LeftOut("item without a hash")
        return
    labels = [] if media.Category is None else [f"category:{media.Category}"]
    labels += [f"series:{media.Series.strip()}"] if media.Series and media.Series.strip() else []
    labels += _TAG_ENDS.split(media.Tags or "")
    yield from entry(found.line, signals, labels=labels, note=media.Comments or "")
