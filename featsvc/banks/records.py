"""What a bank store holds: banks, entries, their signals, and the log of changes.

Times are aware `datetime`s in UTC. A revision is a positive integer; 0 is the empty store.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
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
MAX_QUALITY = 100
MAX_SIGNALS = 16
"""Besides variants."""
MAX_ENTRY_SIGNALS = 256
"""Variants included."""
ENGINES = ("auto", "faiss", "scan", "multi-index")

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BANK_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)


def check_bank_id(bank_id: str) -> str:
    """The id itself. Raises InvalidInput."""
    if not _BANK_ID.fullmatch(bank_id):
        raise InvalidInput(
            f"bank_id: {bank_id[:80]!r} is not 1 to 64 of a-z, 0-9, '_', '-' beginning with a "
            "letter or digit",
            field="bank_id",
        )
    return bank_id


def check_threshold(algorithm: str, threshold: float, *, field: str) -> None:
    """Raises UnknownAlgorithm, or InvalidInput where it is out of the algorithm's range."""
    largest = get_algorithm(algorithm, field=field).largest_distance
    if not 0 <= threshold <= largest:
        raise InvalidInput(
            f"{field}: {threshold:g} is not within 0 to {largest} for {algorithm}", field=field
        )


def check_text(name: str, text: str, max_bytes: int) -> None:
    """Raises InvalidInput where it is too long, or holds what no database stores."""
    # Three bytes a character at most are counted only where that can matter.
    if len(text) * 4 > max_bytes and len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise InvalidInput(f"{name}: longer than {max_bytes} bytes", field=name)
    if "\0" in text:
        raise InvalidInput(f"{name}: holds a NUL character", field=name)


def check_labels(labels: tuple[str, ...]) -> None:
    """Raises InvalidInput where there are too many, or one is empty or too long."""
    if len(labels) > MAX_LABELS:
        raise InvalidInput(f"labels: {len(labels)}, at most {MAX_LABELS}", field="labels")
    for label in labels:
        if not label:
            raise InvalidInput("labels: one is empty", field="labels")
        if _CONTROL.search(label):
            raise InvalidInput(f"labels: {label!r} holds a control character", field="labels")
        check_text("labels", label, MAX_LABEL_BYTES)


class BankMode(Enum):
    ENFORCE = "enforce"
    """Matches are meant to be acted on."""
    SHADOW = "shadow"
    """Matches are reported and counted, so that a list can be watched before it acts."""
    OFF = "off"
    """Never searched."""


class Opinion(Enum):
    """What an entry's source thinks of the content."""

    UNSPECIFIED = ""
    POSITIVE = "positive"
    """It is what the bank is about."""
    NEGATIVE = "negative"
    """It is not: the entry is kept, and matches in safe lists only."""
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True, kw_only=True)
class BankSettings:
    """The part of a bank that its curator sets. Raises InvalidInput, naming the field.

    `thresholds` maps an algorithm to the largest distance (inclusive) that counts as a match,
    where it differs from the algorithm's default; `query_variants` (names of the table in
    `featsvc.hashing.variants`) are what of a picture is tried besides the original.
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
            raise InvalidInput(
                f"engine: {self.engine!r} is none of {', '.join(ENGINES)}", field="engine"
            )
        query_variants(self.query_variants, field="query_variants")
        for name, text, limit in (
            ("display_name", self.display_name, MAX_EXTERNAL_ID_BYTES),
            ("description", self.description, MAX_NOTE_BYTES),
        ):
            check_text(name, text, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank(BankSettings):
    """One curated list: its settings, and what is live in it now.

    `revision` is the newest one that changed the bank or its entries; `etag` names the settings
    and the entries as they are.
    """

    id: str
    etag: str
    revision: int
    create_time: datetime
    update_time: datetime
    entry_count: int
    signal_counts: Mapping[str, int]
    """Algorithm -> live signals."""

    @property
    def signal_count(self) -> int:
        """Live signals of all algorithms."""
        return sum(self.signal_counts.values())


class EntrySignal(NamedTuple):
    """One hash or vector of an entry; `value` is that of a `signals.Signal`.

    Of an opaque algorithm it is the text itself. `version` is the algorithm's that made it, 0 for
    this build's; of an entry that was read it is never 0. A tuple, since a list has millions.
    """

    algorithm: str
    value: bytes
    variant: str = "original"
    quality: int | None = None
    version: int = 0

    def __repr__(self) -> str:
        # It identifies retries: a signal without a version reads as it did before versions.
        fields = zip(self._fields, self, strict=True)
        shown = ", ".join(f"{k}={v!r}" for k, v in fields if k != "version" or v)
        return f"EntrySignal({shown})"

    @property
    def text(self) -> str:
        """As lists carry it: lower-case hex, or the text of an opaque algorithm."""
        return format_value(self.algorithm, self.value)


def stored_version(algorithm: str, version: int, *, field: str) -> int:
    """What is stored for a signal's version, 0 for this build's: the algorithm's own.

    Raises InvalidSignal for any other, UnknownAlgorithm.
    """
    current = get_algorithm(algorithm, field=field).version
    if version not in (0, current):
        raise InvalidSignal(
            f"{field}: {algorithm} version {version}; values of different versions do not "
            f"compare; this build has {algorithm} version {current}",
            field=field,
        )
    return current


def first_version(algorithm: str) -> int:
    """That of values from before versions were kept: a model's stands in its name."""
    return int(algorithm.partition("@")[2] or 1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece of known content.

    `id` names it through all its changes. It is live at revision r where
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


@dataclass(frozen=True, slots=True)
class ChangeContext:
    """Who changes something and why; kept in the log. Raises InvalidInput where it is too long.

    A change with a `request_id` happens once: a retry is answered as the first call was.
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
class Head:
    """The newest committed revision and when it was committed (None: nothing ever was)."""

    revision: int
    commit_time: datetime | None


@dataclass(frozen=True, slots=True)
class Revision:
    """One line of the log. `bank_id` is empty where the change was no bank's."""

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
