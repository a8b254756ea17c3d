"""What every format is read into, and the limits that hold for all of them."""

from datetime import UTC, datetime
from typing import NamedTuple

from featsvc.banks.records import (
    MAX_EXTERNAL_ID_BYTES,
    MAX_NOTE_BYTES,
    MAX_SOURCE_BYTES,
    EntrySignal,
    Opinion,
    check_labels,
    check_text,
)
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput
from featsvc.signals.algorithms import ALGORITHMS, get_algorithm
from featsvc.signals.text import STORED_ALGORITHMS, hash_text

ROW_CHARS = 256


class ImportRow(NamedTuple):
    """One row of a list: an entry, or a part of one.

    Rows of one file with the same external id and source are one entry: their signals and labels
    are joined, the first row's other fields stand. A row that is `withdrawn` takes back the entry
    of its external id and source, or else of its signal, and what earlier rows of the file said of
    it. A tuple, since a list has millions.
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


def check_row(row: ImportRow) -> None:
    """Raises InvalidInput, its `field` naming the column."""
    check_text("external_id", row.external_id, MAX_EXTERNAL_ID_BYTES)
    check_labels(row.labels)
    check_text("source", row.source, MAX_SOURCE_BYTES)
    check_text("note", row.note, MAX_NOTE_BYTES)


# Names of signal types and fields in exchanged lists, where they are not ours.
ALIASES = {
    "video_md5": "md5", "photo_md5": "md5", "imagemd5": "md5", "videomd5": "md5",
    "imagesha1": "sha1", "videosha1": "sha1", "imagesha256": "sha256", "videosha256": "sha256",
    "imagepdq": "pdq", "photodna": "pdna", "imagephotodna": "pdna", "videotmk": "tmk",
    "tmk-pdqf": "tmk", "tmk_pdqf": "tmk", "tmkpdqf": "tmk", "sha-1": "sha1", "sha-256": "sha256",
    "ssvh-pdna": "ssvh", "ssvh-safer": "ssvh", "videovpdq": "vpdq", "text_tlsh": "tlsh",
    "text_string": "raw_text",
}  # fmt: skip
RAW_TEXT = "raw_text"
"""How lists name a text itself (ThreatExchange's TEXT_STRING): it is hashed here and forgotten."""
_HEX_DIGITS = {a.name: a.hex_digits for a in ALGORITHMS.values() if a.bits and a.bits % 8 == 0}
"""Of those whose hex is whole bytes: what is read without a detour."""


def algorithm_of(name: str, *, field: str = "algorithm") -> str:
    """Our name of an algorithm as lists call it, in any case. Raises UnknownAlgorithm."""
    name = name.strip().lower()
    return get_algorithm(ALIASES.get(name, name), field=field).name


def listed_algorithm(name: str, *, field: str = "algorithm") -> str:
    """The same, or RAW_TEXT. Raises UnknownAlgorithm."""
    known = name.strip().lower()
    return RAW_TEXT if ALIASES.get(known, known) == RAW_TEXT else algorithm_of(name, field=field)


def parse_listed_signals(
    algorithm: str,
    text: str,
    *,
    field: str = "signal",
    variant: str = "original",
    quality: int | None = None,
) -> tuple[EntrySignal, ...]:
    """A signal of what `listed_algorithm` says, or those of a raw text. Raises InvalidSignal, and
    InvalidInput for a text of which nothing can be hashed."""
    if algorithm != RAW_TEXT:
        return (
            parse_listed_signal(algorithm, text, field=field, variant=variant, quality=quality),
        )
    hashes = hash_text(text, STORED_ALGORITHMS, parts=True)
    if not hashes.signals:
        raise InvalidInput(f"{field}: {hashes.reason}", field=field)
    return tuple(EntrySignal(s.algorithm.name, s.value, s.variant) for s in hashes.signals)


def parse_listed_signal(
    algorithm: str,
    text: str,
    *,
    field: str = "signal",
    variant: str = "original",
    quality: int | None = None,
) -> EntrySignal:
    """A signal of any algorithm, those that are only stored too. Raises InvalidSignal."""
    if len(text) == _HEX_DIGITS.get(algorithm):
        try:
            value = bytes.fromhex(text)
        except ValueError:
            value = b""
        # Blanks inside would make it shorter.
        if len(value) * 2 == len(text):
            return EntrySignal(algorithm, value, variant, quality)
    kind = get_algorithm(algorithm)
    value = kind.distance.parse_listed(kind, text, field=field)
    return EntrySignal(algorithm, value, variant, quality)


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
