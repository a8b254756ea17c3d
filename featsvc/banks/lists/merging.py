"""Last step of an import, under the writers' lock: staged rows become versions of entries."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    exists,
    func,
    insert,
    literal,
    select,
    text,
    update,
)

from featsvc.banks.sql.changes import EntryCounts, PendingRevision
from featsvc.banks.sql.schema import (
    WITHDRAWN,
    banks,
    entries,
    entry_signals,
    has_signal,
    import_details,
    import_rows,
    is_live,
    is_live_bank,
    live_entries,
    row_number,
    row_ordinal,
)
from featsvc.banks.sql.vector_models import check_vectors

_HASH_INDEXES = tuple(
    index
    for index in (*entries.indexes, *entry_signals.indexes)
    if index.name in ("entries_live", "entry_signals_value")
)
_REBUILD_VERSIONS = 20_000
_REBUILD_SHARE = 0.25


def merge(
    connection: Connection, pending: PendingRevision, bank_key: int, *, replace: bool
) -> tuple[EntryCounts, int]:
    """Apply the staged rows; with `replace`, withdraw all other entries.

    Returns the counts of what changed, and the number of staged entries that are unchanged.
    """
    analyze(connection, "import_rows, import_details")
    live = live_entries(bank_key)
    withdrawn = 0
    if connection.scalar(select(exists().where(live))):
        if replace:
            # The next statements search the rows for the identity of each entry of the bank.
            connection.execute(
                text("CREATE INDEX IF NOT EXISTS import_rows_identity ON import_rows (identity)")
            )
        _find_live_versions(connection, live)
        withdrawn = pending.remove(connection, _is_withdrawn(live, replace=replace))
    staged = import_rows.c
    first = and_(row_ordinal == 0, staged.details != WITHDRAWN)
    new, unchanged, total, last = connection.execute(
        select(
            _count(staged.old_version.is_(None)),
            _count(staged.unchanged),
            func.count(),
            func.coalesce(func.max(row_number), 0),
        ).where(first)
    ).one()
    changed = total - new - unchanged
    if changed:
        old = select(staged.old_version).where(
            first, staged.old_version.is_not(None), ~staged.unchanged
        )
        pending.remove(connection, entries.c.version.in_(old))
    if new or changed:
        with _sorted_indexes(connection, new + changed, stored=pending.first_version):
            _insert_versions(connection, pending, bank_key)
        check_vectors(connection, pending)
    return EntryCounts(new, changed, withdrawn, last + 1 if new or changed else 0), unchanged


def analyze(connection: Connection, tables: str) -> None:
    """Count rows on PostgreSQL, which otherwise plans by a guess until its daemon does that.

    Temporary tables, which the daemon never sees, would have 1,850 rows by the guess: enough to
    read a whole bank for a single entry.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"ANALYZE {tables}"))


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _find_live_versions(connection: Connection, live: ColumnElement[bool]) -> None:
    connection.execute(
        update(import_rows)
        .values(
            old_version=entries.c.version,
            old_id=entries.c.id,
            old_quarantined=entries.c.quarantined,
            old_create_time=entries.c.create_time,
            unchanged=entries.c.digest == import_rows.c.digest,
        )
        .where(live, entries.c.identity == import_rows.c.identity)
    )


def _is_withdrawn(live: ColumnElement[bool], *, replace: bool) -> ColumnElement[bool]:
    """Select entries that the staged rows withdraw; with `replace`, all that they do not hold."""
    staged = import_rows.c
    if replace:
        held = exists().where(staged.identity == entries.c.identity, staged.details != WITHDRAWN)
        return and_(live, ~held)
    # Not `live` as well, which these versions are: SQLite would look for them in the whole bank.
    versions = select(staged.old_version).where(
        staged.details == WITHDRAWN, staged.old_version.is_not(None)
    )
    return entries.c.version.in_(versions)


@contextmanager
def _sorted_indexes(connection: Connection, versions: int, *, stored: int) -> Iterator[None]:
    """Rebuild the indexes of hashes around a large insert: sort once instead of for each row.

    Hashes have no order, so each row would change another page of the index, on disk once the
    index exceeds the cache. Only on SQLite, where readers can read meanwhile.
    """
    worth_it = versions >= max(_REBUILD_VERSIONS, stored * _REBUILD_SHARE)
    rebuilt = _HASH_INDEXES if worth_it and connection.dialect.name == "sqlite" else ()
    for index in rebuilt:
        index.drop(connection)
    yield
    for index in rebuilt:
        index.create(connection)
    if worth_it:
        analyze(connection, "entries, entry_signals")


def _insert_versions(connection: Connection, pending: PendingRevision, bank_key: int) -> None:
    staged = import_rows.c
    version = literal(pending.first_version) + row_number
    # The join leaves out withdrawals, which have no details.
    details = import_details.c
    source = import_rows.join(import_details, staged.details == details.key)
    entry: dict[str, ColumnElement[Any]] = {
        "version": version,
        "id": func.coalesce(staged.old_id, version),
        "bank_key": literal(bank_key),
        "identity": staged.identity,
        "digest": staged.digest,
        "external_id": staged.external_id,
        "labels": details.labels,
        "source": details.source,
        "opinion": details.opinion,
        "note": details.note,
        "expire_time": details.expire_time,
        "quarantined": func.coalesce(staged.old_quarantined, literal(False)),
        "create_time": func.coalesce(staged.old_create_time, literal(pending.now_us)),
        "added_revision": literal(pending.number),
    }
    signal: dict[str, ColumnElement[Any]] = {
        "version": version,
        "ordinal": row_ordinal,
        "algorithm": details.algorithm,
        "value": staged.value,
        "variant": details.variant,
        "quality": details.quality,
        "algorithm_version": details.algorithm_version,
    }
    changed = select().select_from(source).where(~staged.unchanged).order_by(staged.row)
    first = changed.where(row_ordinal == 0).with_only_columns(*entry.values())
    connection.execute(insert(entries).from_select(list(entry), first))
    signals = changed.with_only_columns(*signal.values())
    connection.execute(insert(entry_signals).from_select(list(signal), signals))


def count_elsewhere(connection: Connection, bank_key: int) -> tuple[int, int]:
    """Count the staged entries with a signal that is live in another bank, and in a safe list."""
    others = and_(banks.c.key != bank_key, is_live_bank)
    if not connection.scalar(select(exists().where(others, banks.c.entry_count > 0))):
        return 0, 0
    staged = import_rows.c
    shared = (
        select(row_number, func.max(case((banks.c.safe, 1), else_=0)).label("safe"))
        .select_from(import_rows)
        .join(import_details, import_details.c.key == staged.details)
        .join(
            entry_signals,
            has_signal(
                entry_signals,
                import_details.c.algorithm,
                import_details.c.algorithm_version,
                staged.value,
            ),
        )
        .join(entries, entries.c.version == entry_signals.c.version)
        .join(banks, banks.c.key == entries.c.bank_key)
        .where(others, is_live)
        .group_by(row_number)
        .subquery()
    )
    total, safe = connection.execute(
        select(func.count(), func.coalesce(func.sum(shared.c.safe), 0))
    ).one()
    return total, safe
