"""Banks themselves: create, update, delete."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from sqlalchemy import Connection, insert, select, update

from featsvc.banks.curating.editing import remove
from featsvc.banks.records import Bank, BankSettings, ChangeContext
from featsvc.banks.results import WithdrawResult
from featsvc.banks.sql.changes import (
    Change,
    ChangeEffect,
    Request,
    bank_row,
    check_etag,
    once,
    read_bank,
    signals_removed,
)
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.schema import banks, entries
from featsvc.banks.sql.stored import bank_of
from featsvc.errors import AlreadyExists, InvalidInput

SETTINGS = tuple(field.name for field in fields(BankSettings))


def create(
    database: Database, bank_id: str, settings: BankSettings, context: ChangeContext
) -> Bank:
    """See `BankStore.create_bank`."""

    def change() -> Bank:
        live = banks.c.removed_revision.is_(None)
        taken = select(banks.c.key).where(banks.c.id == bank_id, live)
        if connection.execute(taken).first() is not None:
            raise AlreadyExists(
                f"bank_id: there is a bank {bank_id!r} already; choose another id or update it"
            )
        revision = Change.begin(connection, bank_id, "create", context)
        connection.execute(
            insert(banks).values(
                id=bank_id,
                **_columns(settings),
                settings_revision=revision.revision,
                revision=revision.revision,
                create_time=revision.now_us,
                update_time=revision.now_us,
                entry_count=0,
                signal_counts="{}",
            )
        )
        revision.log(connection)
        return read_bank(connection, bank_id)

    with database.write() as connection:
        return once(connection, Request(context, "create", bank_id, settings), Bank, change)


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
        now = BankSettings(**{name: getattr(bank, name) for name in SETTINGS})
        wanted = replace(now, **changes)
        if wanted == now:
            return bank
        revision = Change.begin(connection, bank_id, "update", context)
        connection.execute(
            update(banks)
            .where(banks.c.key == row.key)
            .values(
                **_columns(wanted),
                settings_revision=revision.revision,
                revision=revision.revision,
                update_time=revision.now_us,
            )
        )
        revision.log(connection)
        return read_bank(connection, bank_id)

    arguments = sorted(changes.items())
    with database.write() as connection:
        return once(connection, Request(context, "update", bank_id, arguments), Bank, change)


def delete_bank(
    database: Database, bank_id: str, context: ChangeContext, *, etag: str, force: bool
) -> WithdrawResult:
    """See `BankStore.delete_bank`."""
    with database.write() as connection:
        return once(
            connection,
            Request(context, "delete", bank_id),
            WithdrawResult,
            lambda: _delete(connection, bank_id, context, etag=etag, force=force),
        )


def _delete(
    connection: Connection, bank_id: str, context: ChangeContext, *, etag: str, force: bool
) -> WithdrawResult:
    row = bank_row(connection, bank_id)
    check_etag(row, etag)
    if row.entry_count and not force:
        raise InvalidInput(
            f"force: bank {bank_id!r} holds {row.entry_count} entries; pass force to withdraw them",
            field="force",
        )
    change = Change.begin(connection, bank_id, "delete", context)
    gone = remove(connection, change, entries.c.bank_key == row.key)
    signals = signals_removed(connection, row.key, change.revision)
    change.log(connection, ChangeEffect(withdrawn=gone))
    connection.execute(
        update(banks).where(banks.c.key == row.key).values(removed_revision=change.revision)
    )
    return WithdrawResult(gone, sum(signals.values()), change.revision)


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
