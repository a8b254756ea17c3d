"""Banks: create, update, delete, and restore the settings of an earlier revision."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from featsvc.banks.records import (
    Bank,
    BankSettings,
    ChangeContext,
    SettingsDifference,
)
from featsvc.banks.results import WithdrawResult
from featsvc.banks.sql.bank_settings import (
    SETTING_COLUMNS,
    difference,
    keep_settings,
    settings_at,
    write_settings,
)
from featsvc.banks.sql.changes import (
    EntryCounts,
    IdempotentCall,
    PendingRevision,
    check_etag,
    find_answer,
    keep_answer,
    run_once,
)
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.large_changes import ChangePlan, analyze, apply_change, planning_tables
from featsvc.banks.sql.schema import banks, entries, is_live_bank, listed_entries
from featsvc.banks.sql.stored import StoredRow, bank_of, bank_row, settings_of
from featsvc.banks.sql.temporary import planned_removals
from featsvc.banks.sql.view import StoreView
from featsvc.errors import AlreadyExists, InvalidInput

SETTINGS = tuple(field.name for field in fields(BankSettings))


def create(
    database: Database, bank_id: str, settings: BankSettings, context: ChangeContext
) -> Bank:
    """See `BankStore.create_bank`."""

    def change() -> Bank:
        existing = select(banks.c.key).where(banks.c.id == bank_id, is_live_bank)
        if connection.execute(existing).first() is not None:
            raise AlreadyExists(
                f"bank_id: bank {bank_id!r} exists already; choose another id or update the bank"
            )
        pending = PendingRevision.begin(connection, bank_id, "create", context)
        values = _columns(settings)
        connection.execute(
            insert(banks).values(
                id=bank_id,
                **values,
                settings_revision=pending.number,
                revision=pending.number,
                create_time=pending.now_us,
                update_time=pending.now_us,
                entry_count=0,
                signal_counts="{}",
            )
        )
        bank = bank_row(connection, bank_id)
        keep_settings(connection, bank.key, pending.number, values)
        pending.record(connection)
        return bank_of(bank)

    with database.write() as connection:
        call = IdempotentCall(context, "create", bank_id, settings)
        return run_once(connection, call, Bank, change)


def update_settings(
    database: Database,
    bank_id: str,
    changes: Mapping[str, Any],
    context: ChangeContext,
    *,
    etag: str,
) -> Bank:
    """See `BankStore.update_bank`."""

    def change() -> Bank:
        row = bank_row(connection, bank_id)
        check_etag(row, etag, settings_only=True)
        current = settings_of(row)
        settings = replace(current, **changes)
        if settings != current:
            pending = PendingRevision.begin(connection, bank_id, "update", context)
            values = _columns(settings)
            write_settings(connection, row.key, pending.number, pending.now_us, values)
            pending.record(connection)
        return StoreView(connection).counted_bank(bank_id)

    with database.write() as connection:
        call = IdempotentCall(context, "update", bank_id, sorted(changes.items()))
        return run_once(connection, call, Bank, change)


def find_restored(
    connection: Connection, bank: StoredRow, revision: int, newest: int
) -> SettingsDifference:
    """Return what changes in a bank's settings if those of an earlier revision are restored.

    They stay if they are not known, which the answer says, or if there was no bank. Raises
    InvalidInput for settings that this build does not have.
    """
    restored = settings_at(connection, bank.key, revision)
    if restored is None:
        return SettingsDifference(unknown=difference(connection, bank, revision, newest).unknown)
    settings_of(restored)
    return difference(connection, bank, newest, revision)


def restore_settings(
    connection: Connection, pending: PendingRevision, bank: StoredRow, revision: int
) -> SettingsDifference:
    """Give a bank the settings of an earlier revision; returns and raises as `find_restored`."""
    changes = find_restored(connection, bank, revision, pending.number - 1)
    restored = settings_at(connection, bank.key, revision)
    if changes and restored is not None:
        values = {name: getattr(restored, name) for name in SETTING_COLUMNS}
        write_settings(connection, bank.key, pending.number, pending.now_us, values)
    return changes


class _WithdrawAll(ChangePlan):
    """Removes every entry of a bank, withheld ones too."""

    def __init__(self, connection: Connection, bank_key: int) -> None:
        super().__init__(connection, bank_key)
        self._counts = EntryCounts()

    @property
    def numbers(self) -> int:
        return 0

    @property
    def counts(self) -> EntryCounts:
        return self._counts

    def plan(self, *conditions: ColumnElement[bool]) -> None:
        listed = select(entries.c.version).where(listed_entries(self.bank_key), *conditions)
        self.connection.execute(insert(planned_removals).from_select(["version"], listed))
        planned = select(func.count()).select_from(planned_removals)
        removals = self.connection.scalar(planned) or 0
        unseen = 0
        if self.any_decisions:
            unseen = self.count_removals(withheld=True)
        self._counts = EntryCounts(withdrawn=removals - unseen, unseen=unseen)
        analyze(self.connection, planned_removals.name)

    def add_versions(
        self, pending: PendingRevision, first: int, last: int, *, touched: bool
    ) -> None:
        """Add none."""


def delete_bank(
    database: Database, bank_id: str, context: ChangeContext, *, etag: str, force: bool
) -> WithdrawResult:
    """See `BankStore.delete_bank`."""
    call = IdempotentCall(context, "delete", bank_id)

    def begin() -> PendingRevision | WithdrawResult:
        if answer := find_answer(connection, call, WithdrawResult):
            return answer
        row = bank_row(connection, bank_id)
        check_etag(row, etag)
        if row.entry_count and not force:
            raise InvalidInput.at(
                "force",
                f"bank {bank_id!r} holds {row.entry_count} entries; set force to withdraw them",
            )
        return PendingRevision.begin(connection, bank_id, "delete", context)

    def record(pending: PendingRevision) -> WithdrawResult:
        pending.record(connection, changes.counts, changes.grown)
        connection.execute(
            update(banks)
            .where(banks.c.key == changes.bank_key)
            .values(removed_revision=pending.number)
        )
        signals = -sum(changes.grown.values())
        answer = WithdrawResult(changes.counts.withdrawn, signals, pending.number)
        keep_answer(connection, call, answer)
        return answer

    with database.session() as connection, planning_tables(connection):
        with database.read_on(connection):
            if answer := find_answer(connection, call, WithdrawResult):
                return answer
            changes = _WithdrawAll(connection, bank_row(connection, bank_id).key)
            changes.plan()
        return apply_change(database, changes, begin, record)


def _columns(settings: BankSettings) -> dict[str, str | bool]:
    return {
        "display_name": settings.display_name,
        "description": settings.description,
        "mode": settings.mode.value,
        "safe": settings.safe,
        "thresholds": json.dumps(dict(sorted(settings.thresholds.items()))),
        "query_variants": json.dumps(settings.query_variants),
        "engine": settings.engine,
    }
