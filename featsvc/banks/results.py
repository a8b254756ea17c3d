"""What the store is asked to change, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from featsvc.banks.records import (
    MAX_SOURCE_BYTES,
    Bank,
    BankMode,
    Entry,
    EntrySignal,
    Revision,
    check_labels,
    check_text,
)

MAX_BAD_ROWS_KEPT = 1000


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be imported. `line` counts from 1; `row` is cut at 256 characters."""

    line: int
    column: str
    reason: str
    row: str


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import did, or would do.

    `duplicate_rows` hold a signal that an earlier row of the file holds already. A duplicate with
    an external id of its own is an entry of its own, any other adds nothing. `withdrawn_entries`
    are those that the file withdraws, or that `replace` does. Entries of the file with a signal
    that is live elsewhere count in `in_other_banks`, and in `in_safe_lists` where that is one.
    `low_information` signals fit much that has nothing to do with each other: all zeros, a
    repeated pattern. `unmatchable_signals` are kept, but never compared.
    """

    rows: int = 0
    new_entries: int = 0
    changed_entries: int = 0
    unchanged_entries: int = 0
    withdrawn_entries: int = 0
    duplicate_rows: int = 0
    bad_rows: int = 0
    in_other_banks: int = 0
    in_safe_lists: int = 0
    low_information: int = 0
    unmatchable_signals: int = 0
    bad: tuple[BadRow, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to import. `source` and `labels` are given to rows: the source where a row has none.
    With its external id it says which entry a row is, withdrawals too.

    With an `etag` the bank must still be what its reader saw.
    """

    source: str = ""
    labels: tuple[str, ...] = ()
    dry_run: bool = False
    skip_bad: bool = False
    replace: bool = False
    etag: str = ""

    def __post_init__(self) -> None:
        check_labels(self.labels)
        check_text("source", self.source, MAX_SOURCE_BYTES)


DEFAULT_IMPORT = ImportOptions()


@dataclass(frozen=True, slots=True)
class ImportResult:
    """`revision` is 0 where nothing was changed; `refused` where bad rows forbade the import."""

    summary: ImportSummary
    revision: int
    refused: bool
    format: str
    sha256: str


@dataclass(frozen=True, slots=True)
class BankPage:
    banks: tuple[Bank, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class EntryPage:
    """`distances`: where nearness was asked for, that of each entry's nearest signal."""

    entries: tuple[Entry, ...]
    next_page_token: str
    total_entries: int
    distances: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries are listed: all that is given must hold. Raises InvalidInput.

    `near`: entries with a signal of that algorithm within `max_distance` (inclusive).
    `revision`: as it was then, 0 for now. `show_withdrawn`: those that are not live any more too.
    """

    external_id: str = ""
    labels: tuple[str, ...] = ()
    source: str = ""
    near: EntrySignal | None = None
    max_distance: float = 0
    revision: int = 0
    show_withdrawn: bool = False

    def __post_init__(self) -> None:
        check_labels(self.labels)


NO_FILTER = EntryFilter()


@dataclass(frozen=True, slots=True)
class RevisionPage:
    """Newest first."""

    revisions: tuple[Revision, ...]
    next_page_token: str


class ChangeKind(Enum):
    ADDED = "added"
    WITHDRAWN = "withdrawn"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class EntryChange:
    """`entry` as it is at the later revision; at the earlier one where it was withdrawn."""

    kind: ChangeKind
    entry: Entry


@dataclass(frozen=True, slots=True)
class DiffPage:
    changes: tuple[EntryChange, ...]
    next_page_token: str
    total_changes: int


@dataclass(frozen=True, slots=True)
class AddResult:
    entries: tuple[Entry, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class WithdrawResult:
    """`revision` is 0 for a dry run."""

    entries: int
    signals: int
    revision: int


@dataclass(frozen=True, slots=True)
class QuarantineResult:
    """`entries` that were not so before."""

    entries: int
    revision: int


@dataclass(frozen=True, slots=True)
class RollbackResult:
    """`revision` is 0 for a dry run, or where nothing differs."""

    revision: int
    restored_entries: int
    withdrawn_entries: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """Live entries of one bank with a signal that is live in another."""

    entries: int
    shared: int
    other_entries: int
    pairs: tuple[tuple[Entry, Entry], ...]
    """The first of them, each with an entry of the other bank."""


class MatchKey(NamedTuple):
    """What matches are counted by. A tuple: one is made for every match."""

    bank_id: str
    entry_id: int
    mode: BankMode


@dataclass(frozen=True, slots=True)
class MatchCount:
    """How often an entry matched within the days asked for, per mode of its bank then."""

    entry: Entry
    matches: Mapping[BankMode, int]
    last_day: datetime

    @property
    def total(self) -> int:
        return sum(self.matches.values())


@dataclass(frozen=True, slots=True)
class BankMatches:
    """Counts of a bank, largest first. `median` is over the entries that matched at all."""

    total: Mapping[BankMode, int]
    matched_entries: int
    median: float
    entries: tuple[MatchCount, ...] = field(default=())
