"""STIX 2.1 bundles: hashes of `file` objects, and of indicators whose pattern is such hashes.

    {"type": "bundle", "id": "bundle--...", "objects": [
       {"type": "file", "id": "file--...", "hashes": {"MD5": "...", "SHA-256": "..."}},
       {"type": "indicator", "pattern": "[file:hashes.'SHA-256' = '...']", "pattern_type": "stix",
        "revoked": false, "valid_until": "2030-01-31T00:00:00Z", "labels": ["x"]}]}

The id is the external id. Revoked objects withdraw their entry, `valid_until` is the expiry, and an
indicator of type `benign` is a negative opinion. A pattern is read if all that it compares are
hashes of a file, by `=`, joined by AND in one observation and by OR; a pattern with anything else
asks for more than a hash, and is counted and left out. So are objects of other types, by type.

The library stix2-patterns is not used: it brings a parser generated for ANTLR and its run time, for
the comparisons of one form; stix2 and pymisp hold a whole document in memory.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from featsvc.banks.lists.formats.exchanges import Rows, entry, file_hash, rows_of
from featsvc.banks.lists.formats.json_objects import Found
from featsvc.banks.lists.formats.json_records import decode_record
from featsvc.banks.lists.formats.rows import ImportRow, LeftOut, parse_time
from featsvc.banks.records import EntrySignal, Opinion
from featsvc.banks.results import BadRow

_COMPARED = r"""\s*file:hashes\.(?:'([\w-]+)'|"([\w-]+)"|([\w-]+))\s*=\s*'([\w+/=-]+)'\s*"""
_COMPARISON = re.compile(_COMPARED, re.ASCII)
_OBSERVATION = rf"\s*\[{_COMPARED}(?:(?:AND|OR){_COMPARED})*\]\s*"
_PATTERN = re.compile(rf"{_OBSERVATION}(?:OR{_OBSERVATION})*", re.ASCII)
_MAX_PATTERN_CHARS = 64 * 1024
_BENIGN = "benign"


class _Kind(msgspec.Struct):
    type: str


class _Stix(_Kind):
    id: str = ""
    hashes: Mapping[str, str] | None = None
    pattern: str = ""
    pattern_type: str = "stix"
    revoked: bool = False
    valid_until: str | None = None
    labels: tuple[str, ...] | None = ()
    indicator_types: tuple[str, ...] | None = ()
    name: str | None = ""
    description: str | None = ""


_kinds = msgspec.json.Decoder(_Kind)
_decoder = msgspec.json.Decoder(_Stix)


def read(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow | LeftOut]:
    return rows_of(chunks, ("objects",), _parse)


def _parse(found: Found) -> Rows:
    kind = decode_record(_kinds, found.data).type
    if kind not in ("file", "indicator"):
        yield LeftOut(f"object of type {kind}")
        return
    stix = decode_record(_decoder, found.data)
    compared = _hashes_of(stix) if kind == "indicator" else list((stix.hashes or {}).items())
    if not compared:
        yield LeftOut(
            f"indicator of more than file hashes (a {stix.pattern_type} pattern)"
            if kind == "indicator"
            else "file without a hash"
        )
        return
    signals: list[EntrySignal] = []
    for name, value in compared:
        signal = file_hash(name, value, field="hashes" if stix.hashes else "pattern")
        if signal is None:
            yield LeftOut(f"hash by {name}")
        else:
            signals.append(signal)
    if not signals:
        return
    types = stix.indicator_types or ()
    yield from entry(
        found.line,
        signals,
        external_id=stix.id,
        labels=(*(stix.labels or ()), *types),
        note=stix.name or stix.description or "",
        opinion=Opinion.NEGATIVE if _BENIGN in types else Opinion.UNSPECIFIED,
        expire_time=parse_time(stix.valid_until, field="valid_until") if stix.valid_until else None,
        withdrawn=stix.revoked,
    )


def _hashes_of(stix: _Stix) -> list[tuple[str, str]]:
    """Return name and value of each hash of a pattern, none if it asks for anything else."""
    plain = stix.pattern_type == "stix" and len(stix.pattern) <= _MAX_PATTERN_CHARS
    if not plain or not _PATTERN.fullmatch(stix.pattern):
        return []
    return [
        (quoted or double or bare, value)
        for quoted, double, bare, value in _COMPARISON.findall(stix.pattern)
    ]
