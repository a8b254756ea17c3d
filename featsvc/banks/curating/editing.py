"""Changes of single entries: add, withdraw, quarantine."""

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import Connection, Select, and_, select

from featsvc.banks.lists import joining, merging, staging
from featsvc.banks.lists.formats.rows import ImportRow, check_row
from featsvc.banks.records import MAX_ENTRY_SIGNALS, MAX_SIGNALS, ChangeContext, stored_version
from featsvc.banks.results import AddResult, QuarantineResult, WithdrawResult
from featsvc.banks.sql import copying
from featsvc.banks.sql.changes import (
    EntryCounts,
    IdempotentCall,
    PendingRevision,
    find_answer,
    keep_answer,
    run_once,
)
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.identity import live_of_external_ids
from featsvc.banks.sql.large_changes import apply_change, planning_tables
from featsvc.banks.sql.schema import entries, import_rows, live_entries, planned_copies
from featsvc.banks.sql.stored import bank_row
from featsvc.banks.sql.vector_models import check_vectors
from featsvc.banks.sql.view import StoreView
from featsvc.errors import InvalidInput, NotFound, shown

Id = TypeVar("Id", int, str)

MAX_ENTRIES_A_CALL = 1000


def add(
    database: Database, bank_id: str, rows: Sequence[ImportRow], context: ChangeContext
) -> AddResult:
    """See `BankStore.add_entries`."""
    _check_number(len(rows), "entries")
    for row in rows:
        check_row(row)
        _check_signals(row, f"entries[{row.line}].signals")

    call = IdempotentCall(context, "add", bank_id, tuple(rows))

    def begin() -> PendingRevision | AddResult:
        if answer := find_answer(connection, call, AddResult):
            return answer
        return PendingRevision.begin(connection, bank_id, "add", context)

    def record(pending: PendingRevision) -> AddResult:
        counts = changes.counts
        if counts.versions:
            check_vectors(connection, bank_id, changes.grown, store=True)
        if counts.total:
            pending.record(connection, counts, changes.grown)
        identities = select(import_rows.c.identity)
        added = StoreView(connection).entries_where(
            and_(live_entries(changes.bank_key), entries.c.identity.in_(identities))
        )
        answer = AddResult(tuple(added), pending.number if counts.total else 0)
        keep_answer(connection, call, answer)
        return answer

    with (
        database.session() as connection,
        staging.staging_table(connection),
        planning_tables(connection),
    ):
        with database.read_on(connection):
            if answer := find_answer(connection, call, AddResult):
                return answer
            joining.join_same_entries(connection, staging.stage_rows(connection, rows))
            changes = merging.ImportPlan(connection, bank_row(connection, bank_id).key)
            changes.plan()
        return apply_change(database, changes, begin, record)


def _check_signals(row: ImportRow, field: str) -> None:
    """Raises InvalidInput for the number of signals, InvalidSignal for a version."""
    for signal in row.signals:
        stored_version(signal.algorithm, signal.version, field=field)
    originals = sum(1 for signal in row.signals if signal.variant == "original")
    if not row.signals or originals > MAX_SIGNALS:
        raise InvalidInput.at(field, f"must be 1 to {MAX_SIGNALS}, not {originals}")
    if len(row.signals) > MAX_ENTRY_SIGNALS:
        raise InvalidInput.at(
            field, f"must be at most {MAX_ENTRY_SIGNALS} with variants, not {len(row.signals)}"
        )


def withdraw(
    database: Database,
    bank_id: str,
    entry_ids: Sequence[int],
    external_ids: Sequence[str],
    context: ChangeContext,
    *,
    source: str | None,
    dry_run: bool,
) -> WithdrawResult:
    """See `BankStore.withdraw_entries`."""
    _check_number(len(entry_ids) + len(external_ids), "names")
    arguments: tuple[object, ...] = tuple(entry_ids), tuple(external_ids), dry_run
    if source is not None:
        arguments = *arguments, source

    def change() -> WithdrawResult:
        bank = bank_row(connection, bank_id)
        versions = _live_versions(connection, bank.key, entry_ids, source)
        if external_ids:
            query = live_of_external_ids(bank.key, external_ids, source)
            versions |= _find(connection, query, external_ids, "external_ids", source)
        pending = PendingRevision.begin(connection, bank_id, "withdraw", context)
        pending.remove(connection, entries.c.version.in_(versions))
        signals = pending.signals_removed(connection, bank.key)
        pending.record(connection, EntryCounts(withdrawn=len(versions)))
        revision = 0 if dry_run else pending.number
        return WithdrawResult(len(versions), sum(signals.values()), revision)

    with database.write(dry_run=dry_run) as connection:
        call = IdempotentCall(context, "withdraw", bank_id, arguments)
        return run_once(connection, call, WithdrawResult, change)


def quarantine(
    database: Database,
    bank_id: str,
    entry_ids: Sequence[int],
    context: ChangeContext,
    *,
    release: bool,
) -> QuarantineResult:
    """See `BankStore.quarantine_entries`."""
    _check_number(len(entry_ids), "names")

    def change() -> QuarantineResult:
        bank = bank_row(connection, bank_id)
        versions = _live_versions(connection, bank.key, entry_ids)
        differ = select(entries.c.version, entries.c.version.label("replaced")).where(
            entries.c.version.in_(versions), entries.c.quarantined == release
        )
        action = "release" if release else "quarantine"
        pending = PendingRevision.begin(connection, bank_id, action, context)
        copied = copying.plan_copies(connection, differ)
        pending.remove(connection, entries.c.version.in_(select(planned_copies.c.old)))
        copying.copy_versions(connection, pending, quarantined=not release)
        if copied:
            pending.record(connection, EntryCounts(changed=copied, versions=copied))
        return QuarantineResult(copied, pending.number if copied else 0)

    with (
        database.session() as connection,
        planning_tables(connection),
        database.exclusive(connection),
    ):
        call = IdempotentCall(context, "quarantine", bank_id, (tuple(entry_ids), release))
        return run_once(connection, call, QuarantineResult, change)


def _live_versions(
    connection: Connection, bank_key: int, ids: Sequence[int], source: str | None = None
) -> set[int]:
    """Return the live versions of entries. Raises NotFound."""
    query = select(entries.c.id, entries.c.version).where(
        live_entries(bank_key), entries.c.id.in_(ids)
    )
    if source is not None:
        query = query.where(entries.c.source == source)
    return _find(connection, query, ids, "names", source)


def _find(
    connection: Connection,
    query: Select[tuple[Id, int]],
    ids: Sequence[Id],
    field: str,
    source: str | None,
) -> set[int]:
    """Run a query of ids and versions; return the versions. Raises NotFound for a missing id."""
    rows = connection.execute(query).all()
    if missing := set(ids) - {row[0] for row in rows}:
        origin = f" from the source {shown(source)!r}" if source else " without a source"
        raise NotFound(
            f"{field}: no live entry {min(missing)!r:.66} in this bank"
            f"{'' if source is None else origin}; list its entries",
            field=field,
        )
    return {row.version for row in rows}


def _check_number(number: int, field: str) -> None:
    if not 1 <= number <= MAX_ENTRIES_A_CALL:
        raise InvalidInput.at(field, f"must be 1 to {MAX_ENTRIES_A_CALL}, not {number}")
