"""Rows of the tables, and the records made from them."""

import json
from collections.abc import Callable, Iterable
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, select

from featsvc.banks.records import (
    DECIDED_FIELDS,
    Bank,
    BankMode,
    BankSettings,
    Entry,
    EntrySignal,
    ListedValues,
    Opinion,
    Revision,
)
from featsvc.banks.sql.schema import LABEL_SEPARATOR, banks, is_live_bank
from featsvc.banks.sql.times import from_us
from featsvc.errors import NotFound, shown

StoredRow = Row[tuple[object, ...]]


class EntryRow(NamedTuple):
    """A signal and its entry: the columns of `entries`, then of its bank and `entry_signals`."""

    version: int
    id: int
    bank_key: int
    identity: str
    digest: bytes
    external_id: str
    labels: str
    source: str
    opinion: str
    note: str
    expire_time: int | None
    quarantined: bool
    create_time: int
    added_change: int
    removed_change: int | None
    withheld: bool
    listed: str | None
    bank_id: str
    algorithm: str
    value: bytes
    variant: str
    quality: int | None
    algorithm_version: int


class SignalRow(NamedTuple):
    """The columns of a signal that an index needs.

    `labels` are joined as stored, `expire_time` is in microseconds since 1970 UTC, `quarantined`
    is the driver's true or false: a bool, or 0 and 1.
    """

    version: int
    id: int
    bank_id: str
    external_id: str
    labels: str
    source: str
    opinion: str
    quarantined: bool
    expire_time: int | None
    algorithm: str
    value: bytes
    variant: str
    algorithm_version: int


# Reading a field of SQLAlchemy's rows takes ten times as long as reading one of a NamedTuple, and
# `_make` would count the fields of each of millions of rows.
entry_row = partial(tuple.__new__, EntryRow)
signal_row = partial(tuple.__new__, SignalRow)


def bank_row(connection: Connection, bank_id: str) -> StoredRow:
    """Read the row of a bank that is not deleted. Raises NotFound."""
    row = connection.execute(select(banks).where(banks.c.id == bank_id, is_live_bank)).first()
    if row is None:
        raise NotFound(
            f"bank: there is no bank {shown(bank_id)!r}; list the banks, or create it", field="bank"
        )
    return row


def _settings(row: StoredRow) -> dict[str, Any]:
    return {
        "display_name": row.display_name,
        "description": row.description,
        "mode": BankMode(row.mode),
        "safe": row.safe,
        "thresholds": MappingProxyType(json.loads(row.thresholds)),
        "query_variants": tuple(json.loads(row.query_variants)),
        "engine": row.engine,
    }


def settings_of(row: StoredRow) -> BankSettings:
    """Raises InvalidInput for a setting that this build does not have."""
    return BankSettings(**_settings(row))


def bank_of(row: StoredRow) -> Bank:
    return Bank(
        id=row.id,
        **_settings(row),
        etag=f"{row.settings_revision:x}-{row.revision:x}",
        revision=row.revision,
        create_time=from_us(row.create_time),
        update_time=from_us(row.update_time),
        entry_count=row.entry_count,
        signal_counts=MappingProxyType(json.loads(row.signal_counts)),
        import_map=MappingProxyType(json.loads(row.import_map)),
    )


def entry_of(rows: Iterable[EntryRow], revision_of_change: Callable[[int], int]) -> Entry:
    """Make one version of an entry from its rows, one for each signal.

    `revision_of_change` returns 0 for a change that is not a revision yet.
    """
    rows = list(rows)
    row = rows[0]
    removed = row.added_change if row.withheld else row.removed_change or 0
    said = {} if row.listed is None else json.loads(row.listed)
    flags = {"withdrawn": row.withheld, "quarantined": row.quarantined}
    decided = {name for name, is_set in flags.items() if is_set} | said.keys()
    return Entry(
        id=row.id,
        bank_id=row.bank_id,
        external_id=row.external_id,
        signals=tuple(
            EntrySignal(r.algorithm, r.value, r.variant, r.quality, r.algorithm_version)
            for r in rows
        ),
        labels=split_stored_labels(row.labels),
        source=row.source,
        opinion=Opinion(row.opinion),
        note=row.note,
        expire_time=None if row.expire_time is None else from_us(row.expire_time),
        added_revision=revision_of_change(row.added_change),
        removed_revision=revision_of_change(removed) or None,
        quarantined=row.quarantined,
        create_time=from_us(row.create_time),
        decided_fields=tuple(name for name in DECIDED_FIELDS if name in decided),
        listed=_listed_of(said) if said else None,
    )


def _listed_of(stored: dict[str, Any]) -> ListedValues:
    expires = stored.get("expire_time")
    return ListedValues(
        labels=split_stored_labels(stored.get("labels", "")),
        note=stored.get("note", ""),
        opinion=Opinion(stored.get("opinion", "")),
        expire_time=None if expires is None else from_us(expires),
    )


def revision_of(row: StoredRow) -> Revision:
    return Revision(
        revision=row.revision,
        commit_time=from_us(row.commit_time),
        bank_id=row.bank_id,
        action=row.action,
        actor=row.actor,
        reason=row.reason,
        file_name=row.file_name,
        file_sha256=row.file_sha256,
        added_entries=row.added_entries,
        withdrawn_entries=row.withdrawn_entries,
        changed_entries=row.changed_entries,
    )


def split_stored_labels(stored: str) -> tuple[str, ...]:
    return tuple(stored.split(LABEL_SEPARATOR)) if stored else ()
