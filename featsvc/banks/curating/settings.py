"""Banks: create, update, delete."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from sqlalchemy import insert, select, update

from featsvc.banks.records import Bank, BankSettings, ChangeContext
from featsvc.banks.results import WithdrawResult
from featsvc.banks.sql.changes import (
    EntryCounts,
    IdempotentCall,
    PendingRevision,
    check_etag,
    run_once,
)
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.schema import banks, entries, is_live_bank
from featsvc.banks.sql.stored import bank_of, bank_row
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
        connection.execute(
            insert(banks).values(
                id=bank_id,
                **_columns(settings),
                settings_revision=pending.number,
                revision=pending.number,
                create_time=pending.now_us,
                update_time=pending.now_us,
                entry_count=0,
                signal_counts="{}",
            )
        )
        pending.record(connection)
        return bank_of(bank_row(connection, bank_id))

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
        bank = bank_of(row)
        current = BankSettings(**{name: getattr(bank, name) for name in SETTINGS})
        settings = replace(current, **changes)
        if settings == current:
            return bank
        pending = PendingRevision.begin(connection, bank_id, "update", context)
        connection.execute(
            update(banks)
            .where(banks.c.key == row.key)
            .values(
                **_columns(settings),
                settings_revision=pending.number,
                revision=pending.number,
                update_time=pending.now_us,
            )
        )
        pending.record(connection)
        return bank_of(bank_row(connection, bank_id))

    with database.write() as connection:
        call = IdempotentCall(context, "update", bank_id, sorted(changes.items()))
        return run_once(connection, call, Bank, change)


def delete_bank(
    database: Database, bank_id: str, context: ChangeContext, *, etag: str, force: bool
) -> WithdrawResult:
    """See `BankStore.delete_bank`."""

    def change() -> WithdrawResult:
        row = bank_row(connection, bank_id)
        check_etag(row, etag)
        if row.entry_count and not force:
            raise InvalidInput.at(
                "force",
                f"bank {bank_id!r} holds {row.entry_count} entries; set force to withdraw them",
            )
        pending = PendingRevision.begin(connection, bank_id, "delete", context)
        withdrawn = pending.remove(connection, entries.c.bank_key == row.key)
        signals = pending.signals_removed(connection, row.key)
        pending.record(connection, EntryCounts(withdrawn=withdrawn))
        connection.execute(
            update(banks).where(banks.c.key == row.key).values(removed_revision=pending.number)
        )
        return WithdrawResult(withdrawn, sum(signals.values()), pending.number)

    with database.write() as connection:
        call = IdempotentCall(context, "delete", bank_id)
        return run_once(connection, call, WithdrawResult, change)


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
