"""The row that every format is read into, and what is common to parsing all formats."""

import base64
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from featsvc.banks.records import (
    MAX_EXTERNAL_ID_BYTES,
    MAX_LABELS,
    MAX_NOTE_BYTES,
    MAX_SOURCE_BYTES,
    EntrySignal,
    Opinion,
    check_labels,
    check_text,
    check_variant,
)
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput, InvalidSignal, shown
from featsvc.signals.algorithms import ALGORITHMS, find_algorithm, get_algorithm
from featsvc.signals.distance import MAX_STORED_CHARS, OPAQUE
from featsvc.signals.text import STORED_ALGORITHMS, hash_text

ROW_CHARS = 256


class ImportRow(NamedTuple):
    """One row of a list: an entry, or a part of one.

    Rows of a file with the same external id and source are one entry: their signals and labels
    are joined, the other fields are those of the first row. A `withdrawn` row withdraws the entry
    of its external id and source, or else of its signal, and cancels earlier rows of the file for
    that entry. `unstable_signals` counts those that the list marks so. A tuple, because a list has
    millions.
    """

    line: int
    signals: tuple[EntrySignal, ...]
    external_id: str = ""
    labels: tuple[str, ...] = ()
    source: str = ""
    opinion: Opinion = Opinion.UNSPECIFIED
    note: str = ""
    expire_time: datetime | None = None
    withdrawn: bool = False
    unstable_signals: int = 0

    def __repr__(self) -> str:
        # Retries are identified by it: without such signals it reads as before they were counted.
        fields = zip(self._fields, self, strict=True)
        shown = ", ".join(f"{k}={v!r}" for k, v in fields if k != "unstable_signals" or v)
        return f"ImportRow({shown})"


class LeftOut(NamedTuple):
    """What a record holds that is not kept: so many of a kind, in words that a curator reads.

    The first word of a kind is singular: `url`, `fingerprint by reference`.
    """

    kind: str
    number: int = 1


class PageEnd(NamedTuple):
    """The end of a page of a feed, and whether it says that more pages follow."""

    has_more: bool


def check_row(row: ImportRow) -> None:
    """Raises InvalidInput, its `field` naming the column."""
    check_text("external_id", row.external_id, MAX_EXTERNAL_ID_BYTES)
    check_labels(row.labels)
    check_text("source", row.source, MAX_SOURCE_BYTES)
    check_text("note", row.note, MAX_NOTE_BYTES)
    for signal in row.signals:
        check_variant(signal.variant)
    if row.expire_time is not None:
        utc_time(row.expire_time, field="expire_time")


BY_REFERENCE = "fingerprint by reference"
OTHER_KINDS = "other kinds"
RAW_TEXT = "raw_text"
"""A text itself instead of its hash (ThreatExchange's TEXT_STRING): it is hashed, and not kept."""
_FOREIGN_NAMES = {
    "md5": ("video_md5", "photo_md5", "imagemd5", "videomd5"),
    "sha1": ("sha-1", "imagesha1", "videosha1"),
    "sha256": ("sha-256", "imagesha256", "videosha256"),
    "pdq": ("imagepdq",),
    "pdna": ("photodna", "imagephotodna"),
    "tmk": ("tmk-pdqf", "tmk_pdqf", "tmkpdqf", "videotmk"),
    "ssvh": ("ssvh-pdna", "ssvh-safer"),
    "vpdq": ("videovpdq",),
    "tlsh": ("text_tlsh",),
    RAW_TEXT: ("text_string",),
}
"""Names of signal types in exchanged lists, for each of our names."""
_URLS = frozenset({"url", "uri", "raw_uri", "unclickable_url"})
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_ADDRESS_CHARS = 96
"""Base64 of the shortest fingerprint that is only stored, PhotoDNA, is 192 characters long."""
_OUR_NAMES = {foreign: ours for ours, names in _FOREIGN_NAMES.items() for foreign in names}
_HEX = re.compile("[0-9a-fA-F]*")
_BASE64_LETTERS = re.compile("[0-9A-Za-z+/]*|[0-9A-Za-z_-]*")
_HEX_DIGITS = {a.name: a.hex_digits for a in ALGORITHMS.values() if a.bits and a.bits % 8 == 0}
"""Digits of algorithms whose hex is whole bytes: a shortcut for most values."""


def our_name(name: str) -> str:
    """Translate a signal type of a list, in any case, to our name; unknown names stay."""
    name = name.strip().lower()
    return _OUR_NAMES.get(name, name)


def algorithm_of(name: str, *, field: str = "algorithm") -> str:
    """Translate a signal type of a list to an algorithm's name. Raises UnknownAlgorithm."""
    return get_algorithm(our_name(name), field=field).name


def listed_algorithm(name: str, *, field: str = "algorithm") -> str:
    """Like `algorithm_of`, but also accept RAW_TEXT. Raises UnknownAlgorithm."""
    return RAW_TEXT if our_name(name) == RAW_TEXT else algorithm_of(name, field=field)


def kept_signals(
    name: str, text: str, left_out: list[LeftOut], *, field: str = "signal"
) -> tuple[EntrySignal, ...]:
    """Parse a signal of a feed. What is not kept is added to `left_out`, and gives no signal.

    That is an unknown kind, an address instead of a value, and a value that is too long to store.
    Raises InvalidInput for a bad value of a known kind.
    """
    kind = our_name(name)
    algorithm = find_algorithm(kind)
    if kind != RAW_TEXT and algorithm is None:
        left_out.append(LeftOut("url" if kind in _URLS else kind))
        return ()
    if algorithm is not None and algorithm.distance is OPAQUE:
        if _is_address(text.strip()):
            left_out.append(LeftOut(BY_REFERENCE))
            return ()
        if len(text) > MAX_STORED_CHARS:
            left_out.append(LeftOut(f"{kind} of more than {MAX_STORED_CHARS:,} characters"))
            return ()
    return parse_listed_signals(kind, text, field=field)


def _is_address(text: str) -> bool:
    """Whether a value is a URL or an absolute path. Base64 may begin with a slash too."""
    return _URL.match(text) is not None or (
        text.startswith("/") and not (len(text) > _ADDRESS_CHARS and _BASE64.fullmatch(text))
    )


def parse_listed_signals(
    algorithm: str,
    text: str,
    *,
    field: str = "signal",
    variant: str = "original",
    quality: int | None = None,
) -> tuple[EntrySignal, ...]:
    """Parse a signal, or hash a text if the algorithm is RAW_TEXT.

    Raises InvalidSignal, or InvalidInput for a text without anything to hash.
    """
    if algorithm != RAW_TEXT:
        return (
            parse_listed_signal(algorithm, text, field=field, variant=variant, quality=quality),
        )
    hashes = hash_text(text, STORED_ALGORITHMS, parts=True)
    if not hashes.signals:
        raise InvalidInput.at(field, hashes.reason)
    return tuple(EntrySignal(s.algorithm.name, s.value, s.variant) for s in hashes.signals)


def parse_listed_signal(
    algorithm: str,
    text: str,
    *,
    field: str = "signal",
    variant: str = "original",
    quality: int | None = None,
) -> EntrySignal:
    """Parse a signal of any algorithm, also of one that is only stored. Raises InvalidSignal."""
    if len(text) == _HEX_DIGITS.get(algorithm):
        try:
            value = bytes.fromhex(text)
        except ValueError:
            value = b""
        # `fromhex` skips blanks: with one inside the value is shorter.
        if len(value) * 2 == len(text):
            return EntrySignal(algorithm, value, variant, quality)
    kind = get_algorithm(algorithm)
    try:
        value = kind.distance.parse_listed(kind, text, field=field)
    except InvalidSignal:
        other = _other_spelling(text.strip(), kind.bits)
        if other is None:
            raise
        value = other
    return EntrySignal(algorithm, value, variant, quality)


def _other_spelling(text: str, bits: int) -> bytes | None:
    """Parse `0x` and hex, or base64 of exactly so many bits; None for anything else."""
    if not bits or bits % 8:
        return None
    if text[:2] in ("0x", "0X"):
        digits = text[2:]
        is_hex = len(digits) * 4 == bits and _HEX.fullmatch(digits)
        return bytes.fromhex(digits) if is_hex else None
    encoded = text.rstrip("=")
    if len(encoded) != -(-bits // 6) or not _BASE64_LETTERS.fullmatch(encoded):
        return None
    value = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=_altchars(encoded))
    # The bits that fill the last letter must be zero: only one text is a value.
    whole = base64.b64encode(value, _altchars(encoded)).rstrip(b"=")
    return value if len(value) * 8 == bits and whole == encoded.encode() else None


def _altchars(encoded: str) -> bytes:
    return b"-_" if "-" in encoded or "_" in encoded else b"+/"


def clean_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Strip labels; drop empty ones and repetitions."""
    return tuple(dict.fromkeys(stripped for label in labels if (stripped := label.strip())))


def kept_labels(labels: Iterable[str], left_out: list[LeftOut]) -> tuple[str, ...]:
    """Like `clean_labels`; labels that an entry cannot have are added to `left_out`."""
    cleaned = clean_labels(labels)
    kept = tuple(filter(_is_label, cleaned))[:MAX_LABELS]
    if len(kept) < len(cleaned):
        left_out.append(LeftOut("label", len(cleaned) - len(kept)))
    return kept


def _is_label(text: str) -> bool:
    try:
        check_labels((text,))
    except InvalidInput:
        return False
    return True


def bad_row(line: int, column: str, reason: str, row: str) -> BadRow:
    return BadRow(line, column, reason, row[:ROW_CHARS])


def parse_time(text: str, *, field: str) -> datetime:
    """Parse ISO 8601, in UTC if it has no offset. Raises InvalidInput."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput.at(
            field, f"{shown(text)!r} is not a time; write 2030-01-31 or 2030-01-31T12:00:00Z"
        ) from None
    return utc_time(moment.replace(tzinfo=moment.tzinfo or UTC), field=field)


def utc_time(moment: datetime, *, field: str) -> datetime:
    """Return an aware time in UTC. Raises InvalidInput outside of the years 1 to 9999 in UTC."""
    if moment.utcoffset() is None:
        raise InvalidInput.at(field, "must have an offset from UTC")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidInput.at(
            field, f"{moment.isoformat()} is not within the years 1 to 9999 in UTC"
        ) from None
