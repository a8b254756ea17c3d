"""Decisions of curators about single entries: withdraw, quarantine, edit, and take back."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, func, select

from featsvc.banks.records import ChangeContext, EntryEdit
from featsvc.banks.results import EditResult, RestoreResult
from featsvc.banks.sql.changes import IdempotentCall, PendingRevision, run_once
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.decisions import (
    NOTHING,
    Decided,
    Decision,
    apply_decisions,
    find_decisions,
)
from featsvc.banks.sql.schema import entries, listed_entries, newest_change
from featsvc.banks.sql.stored import bank_row
from featsvc.banks.sql.vector_models import check_grown_vectors
from featsvc.errors import InvalidInput, NotFound

MAX_ENTRIES_A_CALL = 1000
RESTORE = EntryEdit(reset=("withdrawn",))


@dataclass(frozen=True, slots=True)
class _Named:
    """The newest version of an entry that a call names."""

    id: int
    identity: str
    listed: bool
    withheld: bool

    @property
    def live(self) -> bool:
        return self.listed and not self.withheld


def edit(
    database: Database,
    bank_id: str,
    entry_ids: Sequence[int],
    change: EntryEdit,
    context: ChangeContext,
    *,
    action: str = "edit",
) -> EditResult:
    """See `BankStore.edit_entries`."""
    check_number(len(entry_ids), "names")
    taking_back = bool(change.reset) and change == EntryEdit(reset=change.reset)

    def allowed(entry: _Named, decision: Decision) -> bool:
        if action != "edit":
            return entry.live
        return entry.listed or (taking_back and decision != NOTHING)

    def make() -> EditResult:
        bank_key = bank_row(connection, bank_id).key
        named = _find(connection, bank_key, entry_ids, allowed)
        pending = PendingRevision.begin(connection, bank_id, action, context)
        decided = decide(connection, pending, bank_key, named, change)
        return EditResult(*_answer(connection, pending, decided))

    # Quarantines had this form before there were other edits: retries find their answers.
    method = "edit" if action == "edit" else "quarantine"
    what: object = change if action == "edit" else action == "release"
    with database.write() as connection:
        call = IdempotentCall(context, method, bank_id, (tuple(entry_ids), what))
        return run_once(connection, call, EditResult, make)


def restore(
    database: Database, bank_id: str, entry_ids: Sequence[int], context: ChangeContext
) -> RestoreResult:
    """See `BankStore.restore_entries`."""
    check_number(len(entry_ids), "names")

    def allowed(entry: _Named, decision: Decision) -> bool:
        return entry.live or decision.withdrawn

    def make() -> RestoreResult:
        bank_key = bank_row(connection, bank_id).key
        named = _find(connection, bank_key, entry_ids, allowed)
        pending = PendingRevision.begin(connection, bank_id, "restore", context)
        decided = decide(connection, pending, bank_key, named, RESTORE)
        entries_changed, revision = _answer(connection, pending, decided)
        live = decided.counts.new if decided else 0
        return RestoreResult(live, entries_changed - live, revision)

    with database.write() as connection:
        call = IdempotentCall(context, "restore", bank_id, tuple(entry_ids))
        return run_once(connection, call, RestoreResult, make)


def decide(
    connection: Connection,
    pending: PendingRevision,
    bank_key: int,
    identities: Collection[str],
    change: EntryEdit,
) -> Decided | None:
    """Edit the decisions about identities; None if that changes nothing."""
    now = find_decisions(connection, bank_key, identities)
    edited = {i: now.get(i, NOTHING).edited(change) for i in identities}
    new: Mapping[str, Decision] = {i: d for i, d in edited.items() if d != now.get(i, NOTHING)}
    if not new:
        return None
    decided = apply_decisions(connection, pending, bank_key, new)
    if decided.counts.new:
        check_grown_vectors(connection, pending.bank_id, decided.grown)
    return decided


def _answer(
    connection: Connection, pending: PendingRevision, decided: Decided | None
) -> tuple[int, int]:
    """Record a change; return how many entries it decided about, and its revision."""
    if decided is None:
        return 0, 0
    pending.record(connection, decided.counts, decided.grown)
    return decided.counts.total, pending.number


def _find(
    connection: Connection,
    bank_key: int,
    ids: Sequence[int],
    allowed: Callable[[_Named, Decision], bool],
) -> list[str]:
    """Return the identities of entries. Raises NotFound for one that is not allowed."""
    newest = (
        select(func.max(entries.c.version))
        .where(
            entries.c.bank_key == bank_key,
            entries.c.id.in_(ids),
            entries.c.added_change <= newest_change,
        )
        .group_by(entries.c.id)
    )
    listed = and_(True, listed_entries(bank_key)).label("listed")
    rows = connection.execute(
        select(entries.c.id, entries.c.identity, listed, entries.c.withheld).where(
            entries.c.version.in_(newest)
        )
    )
    named = {row.id: _Named(row.id, row.identity, row.listed, row.withheld) for row in rows}
    identities = dict.fromkeys(entry.identity for entry in named.values())
    decisions = find_decisions(connection, bank_key, identities)
    for entry_id in sorted(set(ids)):
        entry = named.get(entry_id)
        if entry is None or not allowed(entry, decisions.get(entry.identity, NOTHING)):
            raise NotFound(
                f"names: no live entry {entry_id!r:.66} in this bank, and none that a curator "
                "decided about; list its entries",
                field="names",
            )
    return list(identities)


def check_number(number: int, field: str) -> None:
    """Raises InvalidInput for a number of entries that one call may not name."""
    if not 1 <= number <= MAX_ENTRIES_A_CALL:
        raise InvalidInput.at(field, f"must be 1 to {MAX_ENTRIES_A_CALL}, not {number}")
