"""Options, filters and results of the bank store's methods.

Results of changes are stored as JSON for retries: their field names are part of the store's layout.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import NamedTuple

from featsvc.banks.records import (
    MAX_SOURCE_BYTES,
    SAME_SETTINGS,
    Bank,
    BankMode,
    Entry,
    EntrySignal,
    Revision,
    SettingsDifference,
    check_labels,
    check_text,
)
from featsvc.errors import InvalidInput

MAX_BAD_ROWS_KEPT = 1000
MAX_NAMED = 1000
"""Withdrawn entries, and rows that withdraw nothing, that a result names; it counts all."""
MAX_SOURCES_NAMED = 100


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be imported. `line` counts from 1; `row` is cut at 256 characters."""

    line: int
    column: str
    reason: str
    row: str


@dataclass(frozen=True, slots=True)
class WithdrawnEntry:
    """An entry that is withdrawn; `line` of an import names it, 0 if none does."""

    id: int
    bank_id: str
    external_id: str
    source: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class UnknownWithdrawal:
    """A row that withdraws what the bank does not hold.

    It names an external id, or a signal, in the form of lists; `algorithm` is empty without one,
    `value` for the grams of a text.
    """

    line: int
    external_id: str
    algorithm: str
    value: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an import would be refused."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """Counts of what an import did, or would do in a dry run.

    `duplicate_rows` repeat a signal of an earlier row of the file: one with a different external
    id is a separate entry, any other adds nothing. `withdrawn_entries` were withdrawn by the file
    or by `replace`. `in_other_banks` counts entries of the file that share a signal with a live
    entry of another bank, `in_safe_lists` those for which that bank is a safe list.
    `low_information` signals (all zeros, a repeated pattern) are near much unrelated content.
    `unknown_withdrawals` counts withdrawn rows that name no live entry of their source; `unknown`
    and `withdrawn` name the first of these and of the withdrawn entries. `bank_entries` were live
    before. `signals` counts those of the good rows by algorithm, `source_count` their sources, of
    which "" is that of rows without one. `refusals` of a dry run say why the import would be
    refused. `kept_withdrawn` counts entries of the file that stay withdrawn, because a curator
    decided that: they are neither new, changed nor unchanged.
    `unmatchable_signals` are stored, but never compared. `unstable_signals`, as the list marks
    them, find exact copies only. `left_out` counts what the file holds that is not kept, by kind.
    `changed_fields` counts the changed entries that differ in each field, `expired_entries` the
    entries of the file that have expired already.
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
    unstable_signals: int = 0
    unknown_withdrawals: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    kept_withdrawn: int = 0
    bad: tuple[BadRow, ...] = ()
    changed_fields: Mapping[str, int] = field(default_factory=dict)
    expired_entries: int = 0
    bank_entries: int = 0
    withdrawn: tuple[WithdrawnEntry, ...] = ()
    unknown: tuple[UnknownWithdrawal, ...] = ()
    signals: Mapping[str, int] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    source_count: int = 0
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to import a list. Raises InvalidInput for labels, a source, or replacing with bad rows.

    Rows without a source get `source`; it and the external id identify a row's entry, also in a
    withdrawal. All rows get `labels`. With `replace` the entries of the list's sources that it does
    not hold are withdrawn. With an `etag` the bank must still be in that state. `algorithm` is that
    of bare hashes. `column_map` maps our columns to those of a table; it is remembered with the
    bank, and {"": ""} forgets it. `ignored_columns` of a table are not read. `allow_withdrawn`
    and `allow_replaced` are explained in `lists/brakes.py`.
    """

    source: str = ""
    labels: tuple[str, ...] = ()
    dry_run: bool = False
    skip_bad: bool = False
    replace: bool = False
    etag: str = ""
    algorithm: str = ""
    column_map: Mapping[str, str] = field(default_factory=dict)
    ignored_columns: tuple[str, ...] = ()
    allow_withdrawn: int | None = None
    allow_replaced: bool = False

    def __post_init__(self) -> None:
        check_labels(self.labels)
        check_text("source", self.source, MAX_SOURCE_BYTES)
        if self.replace and self.skip_bad:
            raise InvalidInput.at(
                "options.skip_bad",
                "must not be set with replace, which would withdraw the entry of a bad row; "
                "correct the file",
            )

    def __repr__(self) -> str:
        # Retries are identified by it: at their defaults, later fields read as before they were.
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        later = ("algorithm", "column_map", "ignored_columns", "allow_replaced")
        shown = (
            f"{name}={value!r}"
            for name, value in values.items()
            if not (name in later and not value)
            and not (name == "allow_withdrawn" and value is None)
        )
        return f"ImportOptions({', '.join(shown)})"

    @property
    def forgets_map(self) -> bool:
        return dict(self.column_map) == {"": ""}


DEFAULT_IMPORT = ImportOptions()


@dataclass(frozen=True, slots=True)
class ImportResult:
    """`revision` is 0 if nothing changed; `refused`: bad rows prevented the import.

    `column_map` is the map that was used, our columns -> the list's; `map_remembered`: it was that
    of an earlier import. `unread_columns` are columns of the list that say nothing about entries,
    and those that were ignored.
    """

    summary: ImportSummary
    revision: int
    refused: bool
    format: str
    sha256: str
    column_map: Mapping[str, str] = field(default_factory=dict)
    map_remembered: bool = False
    unread_columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BankPage:
    banks: tuple[Bank, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class EntryPage:
    """`distances`: that of each entry's nearest signal, for a filter with `near`; else empty."""

    entries: tuple[Entry, ...]
    next_page_token: str
    total_entries: int
    distances: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Conditions that all listed entries meet. Raises InvalidInput for labels.

    `near` selects entries with a signal of its algorithm within `max_distance` (inclusive).
    `revision` selects the state of the bank at that revision; 0 is the current state.
    `show_withdrawn` includes withdrawn entries. `expired` selects those that have expired by now,
    or all others; None selects both.
    `decided` selects those that a curator has decided
    something about, including withdrawn ones; now only.
    """

    external_id: str = ""
    labels: tuple[str, ...] = ()
    source: str = ""
    near: EntrySignal | None = None
    max_distance: float = 0
    revision: int = 0
    show_withdrawn: bool = False
    expired: bool | None = None
    decided: bool = False

    def __post_init__(self) -> None:
        check_labels(self.labels)


NO_FILTER = EntryFilter()


@dataclass(frozen=True, slots=True)
class Recount:
    """A bank whose counts are not those of its live entries: before, and counted again."""

    bank_id: str
    entries_before: int
    signals_before: Mapping[str, int]
    entries_now: int
    signals_now: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RevisionPage:
    """Lines of the log, newest first."""

    revisions: tuple[Revision, ...]
    next_page_token: str


class ChangeKind(Enum):
    ADDED = "added"
    WITHDRAWN = "withdrawn"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class EntryChange:
    """A difference: the entry at the second revision, or at the first if it is withdrawn.

    One that is changed has the entry at the first revision as `older`, and the fields that differ.
    """

    kind: ChangeKind
    entry: Entry
    older: Entry | None = None
    changed_fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DiffPage:
    """`settings` are on the first page only."""

    changes: tuple[EntryChange, ...]
    next_page_token: str
    total_changes: int
    settings: SettingsDifference = SAME_SETTINGS


@dataclass(frozen=True, slots=True)
class AddResult:
    entries: tuple[Entry, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class WithdrawResult:
    """`revision` is 0 for a dry run. `withdrawn` names the first of the entries, by id."""

    entries: int
    signals: int
    revision: int
    withdrawn: tuple[WithdrawnEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class EditResult:
    """`entries`: those about which something else is decided now; `revision` is 0 if none."""

    entries: int
    revision: int


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """`entries` are live again; `unlisted` ones are not, as their list withdrew them meanwhile."""

    entries: int
    unlisted: int
    revision: int


@dataclass(frozen=True, slots=True)
class RollbackResult:
    """`revision` is 0 for a dry run, or if nothing differs."""

    revision: int
    restored_entries: int
    withdrawn_entries: int
    settings: SettingsDifference = SAME_SETTINGS


@dataclass(frozen=True, slots=True)
class Overlap:
    """Live entries of a bank, of another bank, and those of the first that share a signal.

    `shared` is counted for the first page only.
    """

    entries: int
    shared: int
    other_entries: int
    pairs: tuple[tuple[Entry, Entry], ...]
    """Shared entries by id, each with an entry of the other bank."""
    next_page_token: str = ""


class MatchKey(NamedTuple):
    """The key that matches are counted by. A tuple, because every match makes one."""

    bank_id: str
    entry_id: int
    mode: BankMode


@dataclass(frozen=True, slots=True)
class MatchCount:
    """Matches of an entry within some days, per mode of its bank at the time of the match."""

    entry: Entry
    matches: Mapping[BankMode, int]

    @property
    def total(self) -> int:
        return sum(self.matches.values())


@dataclass(frozen=True, slots=True)
class BankMatches:
    """Match counts of a bank; `median` is over entries that matched.

    `entries` are largest first, or by id on a page.
    """

    total: Mapping[BankMode, int]
    matched_entries: int
    median: float
    entries: tuple[MatchCount, ...]
    next_page_token: str = ""
