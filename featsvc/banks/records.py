"""Records of the bank store: banks, entries, signals and the log of changes.

Times are timezone-aware `datetime`s in UTC. A revision is a positive integer; 0 is the empty store.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from featsvc.errors import InvalidInput, InvalidSignal
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import format_value
from featsvc.signals.variants import query_variants

MAX_EXTERNAL_ID_BYTES = 512
MAX_SOURCE_BYTES = 512
MAX_LABELS = 32
MAX_LABEL_BYTES = 128
MAX_NOTE_BYTES = 4096
MAX_REQUEST_ID_BYTES = 128
MAX_VARIANT_CHARS = 32
MAX_FOREIGN_VARIANTS = 1000
"""Different names of variants in a list or call, beside those that this build makes."""
MAX_QUALITY = 100
MAX_SIGNALS = 16
"""Signals of an entry without variants."""
MAX_ENTRY_SIGNALS = 256
"""Signals of an entry with variants."""
MAX_NUMBER_DIGITS = 18
"""Digits of an entry id or revision: they fit a signed 64-bit integer."""
ENGINES = ("auto", "faiss", "scan", "multi-index")

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BANK_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)


def parse_number(text: str) -> int | None:
    """Parse an entry id or revision in decimal digits; None if the text is not one."""
    if text.isascii() and text.isdecimal() and len(text) <= MAX_NUMBER_DIGITS:
        return int(text)
    return None


def check_bank_id(bank_id: str) -> str:
    """Return the id. Raises InvalidInput if it is malformed."""
    if not _BANK_ID.fullmatch(bank_id):
        raise InvalidInput.at(
            "bank_id",
            "must be 1 to 64 of a-z, 0-9, '_' and '-', starting with a letter or digit, "
            f"not {bank_id[:80]!r}",
        )
    return bank_id


def check_threshold(algorithm: str, threshold: float, *, field: str) -> None:
    """Raises UnknownAlgorithm, or InvalidInput for a threshold outside the algorithm's range."""
    largest = get_algorithm(algorithm, field=field).largest_distance
    if not 0 <= threshold <= largest:
        raise InvalidInput.at(field, f"must be 0 to {largest} for {algorithm}, not {threshold:g}")


def check_text(name: str, text: str, max_bytes: int) -> None:
    """Raises InvalidInput for a text that is too long or holds a NUL, which no database stores."""
    # A character is at most 4 bytes: most texts are short enough without being encoded.
    if len(text) * 4 > max_bytes and len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise InvalidInput.at(name, f"must be at most {max_bytes} bytes")
    if "\0" in text:
        raise InvalidInput.at(name, "must not hold a NUL character")


def check_variant(name: str, *, field: str = "variant") -> str:
    """Return the name. Raises InvalidInput for one that is empty, too long or malformed.

    A list may use names that `featsvc.signals.variants` does not have.
    """
    if not name or len(name) > MAX_VARIANT_CHARS or _CONTROL.search(name):
        raise InvalidInput.at(
            field, f"must be 1 to {MAX_VARIANT_CHARS} characters, none of them a control character"
        )
    return name


def check_labels(labels: tuple[str, ...], *, field: str = "labels") -> None:
    """Raises InvalidInput for too many labels, or one that is empty, too long or malformed."""
    if len(labels) > MAX_LABELS:
        raise InvalidInput.at(field, f"must be at most {MAX_LABELS}, not {len(labels)}")
    for label in labels:
        if not label:
            raise InvalidInput.at(field, "a label must not be empty")
        if _CONTROL.search(label):
            raise InvalidInput.at(field, f"{label!r} must not hold a control character")
        check_text(field, label, MAX_LABEL_BYTES)


class BankMode(Enum):
    ENFORCE = "enforce"
    """Matches are to be acted on."""
    SHADOW = "shadow"
    """Matches are reported and counted only: a list is watched before it is enforced."""
    OFF = "off"
    """Never searched."""


class Opinion(Enum):
    """The judgement of the content by an entry's source."""

    UNSPECIFIED = ""
    POSITIVE = "positive"
    """The content belongs to the bank."""
    NEGATIVE = "negative"
    """The content does not belong: the entry is kept, but matches in safe lists only."""
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True, kw_only=True)
class BankSettings:
    """Settings of a bank. Raises InvalidInput, naming the field.

    `thresholds` maps an algorithm to the largest distance (inclusive) of a match, where it differs
    from the algorithm's default. `query_variants` names the variants of a picture (see
    `featsvc.signals.variants`) that are searched besides the original.
    """

    display_name: str = ""
    description: str = ""
    mode: BankMode = BankMode.ENFORCE
    safe: bool = False
    thresholds: Mapping[str, float] = field(default_factory=dict)
    query_variants: tuple[str, ...] = ()
    engine: str = "auto"

    def __post_init__(self) -> None:
        for algorithm, threshold in self.thresholds.items():
            check_threshold(algorithm, threshold, field=f"thresholds[{algorithm}]")
        if self.engine not in ENGINES:
            raise InvalidInput.at(
                "engine", f"must be one of {', '.join(ENGINES)}, not {self.engine!r}"
            )
        query_variants(self.query_variants, field="query_variants")
        for name, text, limit in (
            ("display_name", self.display_name, MAX_EXTERNAL_ID_BYTES),
            ("description", self.description, MAX_NOTE_BYTES),
        ):
            check_text(name, text, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank(BankSettings):
    """A curated list: its settings and the counts of its live entries.

    `revision` is the last revision that changed the bank or its entries. `etag` identifies the
    current state of settings and entries. `expired_entries` is counted by the store's methods only.
    """

    id: str
    etag: str
    revision: int
    create_time: datetime
    update_time: datetime
    entry_count: int
    signal_counts: Mapping[str, int]
    """Algorithm -> live signals."""
    expired_entries: int = 0
    import_map: Mapping[str, str] = field(default_factory=dict)
    """Our columns -> those of the tables that are imported into the bank, as last given."""

    @property
    def signal_count(self) -> int:
        """Number of live signals of all algorithms."""
        return sum(self.signal_counts.values())


class EntrySignal(NamedTuple):
    """One hash or vector of an entry.

    `value` is the value of a `signals.Signal`, or the text itself for an opaque algorithm.
    `version` is the version of the algorithm that computed it; 0 means this build's version, and
    entries read from the store never have 0. A tuple, because a list has millions.
    """

    algorithm: str
    value: bytes
    variant: str = "original"
    quality: int | None = None
    version: int = 0

    def __repr__(self) -> str:
        # Retries are identified by it: without a version it reads as before there were versions.
        fields = zip(self._fields, self, strict=True)
        shown = ", ".join(f"{k}={v!r}" for k, v in fields if k != "version" or v)
        return f"EntrySignal({shown})"

    @property
    def text(self) -> str:
        """The value as lists carry it: lower-case hex, or the text of an opaque algorithm."""
        return format_value(self.algorithm, self.value)


def stored_version(algorithm: str, version: int, *, field: str) -> int:
    """Return the algorithm's version in this build, which is stored with a new signal.

    Raises UnknownAlgorithm, or InvalidSignal if `version` is neither 0 nor that version.
    """
    current = get_algorithm(algorithm, field=field).version
    if version not in (0, current):
        raise InvalidSignal.at(
            field,
            f"{algorithm} version {version} cannot be stored: this build has {algorithm} "
            f"version {current}, and values of different versions do not compare",
        )
    return current


def initial_version(algorithm: str) -> int:
    """Return the version of signals stored before versions were kept: 1, or that in the name."""
    return int(algorithm.partition("@")[2] or 1)


LISTED_FIELDS = ("labels", "note", "opinion", "expire_time")
"""Fields of an entry that its list sets and a curator may decide otherwise."""
DECIDED_FIELDS = ("withdrawn", "quarantined", *LISTED_FIELDS)
"""Fields of an entry that a curator may decide."""


@dataclass(frozen=True, slots=True)
class ListedValues:
    """What the list says of the fields that a curator has decided; others have their default."""

    labels: tuple[str, ...] = ()
    note: str = ""
    opinion: Opinion = Opinion.UNSPECIFIED
    expire_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece of known content.

    `id` stays the same through all changes. The entry is live at revision r if
    `added_revision <= r` and (`removed_revision` is None or r < `removed_revision`).
    """

    id: int
    bank_id: str
    external_id: str
    signals: tuple[EntrySignal, ...]
    labels: tuple[str, ...]
    source: str
    opinion: Opinion
    note: str
    expire_time: datetime | None
    added_revision: int
    removed_revision: int | None
    quarantined: bool
    create_time: datetime
    decided_fields: tuple[str, ...] = ()
    """Those of DECIDED_FIELDS that a curator has decided."""
    listed: ListedValues | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryEdit:
    """What to decide about entries. Raises InvalidInput, naming the field.

    `reset` takes back what was decided about some of DECIDED_FIELDS, before the rest applies. None
    leaves a field as it is.
    """

    withdrawn: bool = False
    quarantined: bool = False
    add_labels: tuple[str, ...] = ()
    remove_labels: tuple[str, ...] = ()
    note: str | None = None
    opinion: Opinion | None = None
    expire_time: datetime | None = None
    never_expires: bool = False
    reset: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field_name, labels in (
            ("add_labels", self.add_labels),
            ("remove_labels", self.remove_labels),
        ):
            check_labels(labels, field=field_name)
        if both := set(self.add_labels) & set(self.remove_labels):
            raise InvalidInput.at("remove_labels", f"also adds {min(both)!r}; choose one")
        check_text("note", self.note or "", MAX_NOTE_BYTES)
        if self.never_expires and self.expire_time is not None:
            raise InvalidInput.at("never_expires", "contradicts expire_time; choose one")
        for name in self.reset:
            if name not in DECIDED_FIELDS:
                names = ", ".join(DECIDED_FIELDS)
                raise InvalidInput.at("reset", f"must name some of {names}, not {name[:80]!r}")
        if all(getattr(self, f.name) in (None, False, ()) for f in fields(self)):
            raise InvalidInput.at("edit", "changes nothing; set or reset a field")


@dataclass(frozen=True, slots=True)
class ChangeContext:
    """Who changes something and why; kept in the log. Raises InvalidInput for a text too long.

    A change with a `request_id` happens once: a retry gets the answer of the first call.
    """

    actor: str = ""
    reason: str = ""
    request_id: str = ""

    def __post_init__(self) -> None:
        check_text("context.actor", self.actor, MAX_SOURCE_BYTES)
        check_text("context.reason", self.reason, MAX_NOTE_BYTES)
        check_text("context.request_id", self.request_id, MAX_REQUEST_ID_BYTES)


NO_CONTEXT = ChangeContext()


@dataclass(frozen=True, slots=True)
class StoreHead:
    """The newest committed revision and its commit time; 0 and None for an empty store.

    `store_id` tells stores apart. A restored backup keeps it: its history has other times.
    """

    revision: int
    commit_time: datetime | None
    store_id: str = ""


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A setting that differs, as text; `old` or `new` is None where there is no bank.

    `name` is that of the field in `BankSettings`; a threshold is `thresholds[ALGORITHM]`, and
    `default` where the algorithm's own applies.
    """

    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class SettingsDifference:
    """Settings that differ, by name; `unknown` if older versions did not keep what they were."""

    changes: tuple[SettingChange, ...] = ()
    unknown: bool = False

    def __bool__(self) -> bool:
        return bool(self.changes)


SAME_SETTINGS = SettingsDifference()


@dataclass(frozen=True, slots=True)
class Revision:
    """One line of the log. `bank_id` is empty if the change concerned no single bank."""

    revision: int
    commit_time: datetime
    bank_id: str
    action: str
    actor: str
    reason: str
    file_name: str
    file_sha256: str
    added_entries: int
    withdrawn_entries: int
    changed_entries: int
    settings: SettingsDifference = SAME_SETTINGS
