"""Changes of single entries: add, withdraw, quarantine; and copies of versions for all undoing."""

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Select,
    Table,
    and_,
    func,
    insert,
    literal,
    select,
    update,
)

from featsvc.banks.lists import joining, merging, staging
from featsvc.banks.lists.formats.rows import ImportRow, check_row
from featsvc.banks.records import MAX_ENTRY_SIGNALS, MAX_SIGNALS, ChangeContext, stored_version
from featsvc.banks.results import AddResult, QuarantineResult, WithdrawResult
from featsvc.banks.sql.changes import Change, ChangeEffect, Request, bank_row, once, signals_removed
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.identity import live_of_external_ids
from featsvc.banks.sql.schema import entries, entry_signals, import_rows
from featsvc.banks.sql.view import StoreView
from featsvc.errors import InvalidInput, NotFound

MAX_ENTRIES_A_CALL = 1000

# Old version -> its copy; a temporary table of the writing connection.
_copies = Table(
    "version_copies",
    MetaData(),
    Column("old", BigInteger, primary_key=True),
    Column("new", BigInteger, nullable=False),
    prefixes=["TEMPORARY"],
)


def add(
    database: Database, bank_id: str, rows: Sequence[ImportRow], context: ChangeContext
) -> AddResult:
    """See `BankStore.add_entries`."""
    _check_number(len(rows), "entries")
    for row in rows:
        check_row(row)
        for signal in row.signals:
            field = f"entries[{row.line}].signals"
            stored_version(signal.algorithm, signal.version, field=field)
        originals = sum(1 for signal in row.signals if signal.variant == "original")
        if not row.signals or originals > MAX_SIGNALS:
            raise InvalidInput(
                f"entries[{row.line}].signals: {originals}, must be 1 to {MAX_SIGNALS}",
                field=f"entries[{row.line}].signals",
            )
        if len(row.signals) > MAX_ENTRY_SIGNALS:
            raise InvalidInput(
                f"entries[{row.line}].signals: {len(row.signals)} with variants, at most "
                f"{MAX_ENTRY_SIGNALS}",
                field=f"entries[{row.line}].signals",
            )
    request = Request(context, "add", bank_id, tuple(rows))
    with database.session() as connection, staging.staging_table(connection):
        with connection.begin():
            joining.join_same_entries(connection, staging.stage_rows(connection, rows))
        with database.exclusive(connection):
            return once(connection, request, AddResult, lambda: _add(connection, bank_id, context))


def _add(connection: Connection, bank_id: str, context: ChangeContext) -> AddResult:
    bank = bank_row(connection, bank_id)
    change = Change.begin(connection, bank_id, "add", context)
    effect, _ = merging.merge(connection, change, bank.key, replace=False)
    if not effect.nothing:
        change.log(connection, effect)
    named = select(import_rows.c.identity)
    live = and_(entries.c.bank_key == bank.key, entries.c.removed_revision.is_(None))
    found = StoreView(connection).entries_where(and_(live, entries.c.identity.in_(named)))
    return AddResult(tuple(found), 0 if effect.nothing else change.revision)


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
        versions |= _live_external(connection, bank.key, external_ids, source)
        revision = Change.begin(connection, bank_id, "withdraw", context)
        remove(connection, revision, entries.c.version.in_(versions))
        signals = signals_removed(connection, bank.key, revision.revision)
        revision.log(connection, ChangeEffect(withdrawn=len(versions)))
        number = 0 if dry_run else revision.revision
        return WithdrawResult(len(versions), sum(signals.values()), number)

    with database.session() as connection, database.exclusive(connection) as transaction:
        request = Request(context, "withdraw", bank_id, arguments)
        done = once(connection, request, WithdrawResult, change)
        if dry_run:
            transaction.rollback()
        return done


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
        differ = and_(entries.c.version.in_(versions), entries.c.quarantined == release)
        action = "release" if release else "quarantine"
        revision = Change.begin(connection, bank_id, action, context)
        copied, _ = copy_versions(
            connection, revision, select(entries.c.version).where(differ),
            quarantined=literal(not release),
        )  # fmt: skip
        if copied:
            revision.log(connection, ChangeEffect(changed=copied, versions=copied))
        return QuarantineResult(copied, revision.revision if copied else 0)

    with database.write() as connection:
        arguments = tuple(entry_ids), release
        request = Request(context, "quarantine", bank_id, arguments)
        return once(connection, request, QuarantineResult, change)


def remove(connection: Connection, change: Change, condition: ColumnElement[bool]) -> int:
    """End the live versions for which it holds; returns their number."""
    live = entries.c.removed_revision.is_(None)
    return connection.execute(
        update(entries).where(live, condition).values(removed_revision=change.revision)
    ).rowcount


def copy_versions(
    connection: Connection,
    change: Change,
    versions: Select[tuple[int]],
    *,
    quarantined: ColumnElement[bool] | None = None,
) -> tuple[int, int]:
    """Live copies of versions of one bank, in place of what is live under the same identity.

    Returns how many there are, and how many took another's place. They take the version numbers
    from the change's first on.
    """
    _copies.create(connection, checkfirst=True)
    old = versions.subquery()
    nth = func.row_number().over(order_by=old.c[0])
    connection.execute(
        insert(_copies).from_select(
            ["old", "new"], select(old.c[0], literal(change.first_version - 1) + nth)
        )
    )
    copied = connection.scalar(select(func.count()).select_from(_copies)) or 0
    source = entries.join(_copies, _copies.c.old == entries.c.version)
    pair = select(entries.c.bank_key, entries.c.identity).select_from(source).subquery()
    live = entries.alias("live")
    same = select(live.c.version).join(
        pair, and_(pair.c.bank_key == live.c.bank_key, pair.c.identity == live.c.identity)
    )
    same = same.where(live.c.removed_revision.is_(None))
    replaced = remove(connection, change, entries.c.version.in_(same))
    kept = [c for c in entries.c if c.name not in _WRITTEN]
    flag = entries.c.quarantined if quarantined is None else quarantined
    connection.execute(
        insert(entries).from_select(
            ["version", "quarantined", "added_revision", *(c.name for c in kept)],
            select(_copies.c.new, flag, literal(change.revision), *kept)
            .select_from(source)
            .order_by(_copies.c.new),
        )
    )
    signals = [c for c in entry_signals.c if c.name != "version"]
    connection.execute(
        insert(entry_signals).from_select(
            ["version", *(c.name for c in signals)],
            select(_copies.c.new, *signals)
            .join(_copies, _copies.c.old == entry_signals.c.version)
            .order_by(_copies.c.new, entry_signals.c.ordinal),
        )
    )
    _copies.drop(connection)
    return copied, replaced


_WRITTEN = frozenset({"version", "quarantined", "added_revision", "removed_revision"})


def _live_versions(
    connection: Connection, bank_key: int, ids: Sequence[int], source: str | None = None
) -> set[int]:
    found = select(entries.c.id, entries.c.version).where(
        entries.c.bank_key == bank_key,
        entries.c.id.in_(ids),
        entries.c.removed_revision.is_(None),
    )
    if source is not None:
        found = found.where(entries.c.source == source)
    rows = connection.execute(found).all()
    if missing := set(ids) - {row.id for row in rows}:
        raise NotFound(
            f"names: entry {min(missing)} is not live in this bank{_from(source)}; "
            "list its entries",
            field="names",
        )
    return {row.version for row in rows}


def _live_external(
    connection: Connection, bank_key: int, ids: Sequence[str], source: str | None
) -> set[int]:
    named = [one for one in ids if one]
    found = live_of_external_ids(bank_key, named, source)
    rows = connection.execute(found).all() if named else []
    if missing := set(ids) - {row.external_id for row in rows}:
        raise NotFound(
            f"external_ids: {min(missing)[:64]!r} is not live in this bank{_from(source)}; "
            "list its entries",
            field="external_ids",
        )
    return {row.version for row in rows}


def _from(source: str | None) -> str:
    if source is None:
        return ""
    return f" from the source {source[:64]!r}" if source else " without a source"


def _check_number(number: int, field: str) -> None:
    if not 1 <= number <= MAX_ENTRIES_A_CALL:
        raise InvalidInput(
            f"{field}: {number}, must be 1 to {MAX_ENTRIES_A_CALL} a call", field=field
        )
