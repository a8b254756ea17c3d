"""Staged rows become new versions of entries: what an import does under the writers' lock."""

from collections.abc import Iterator
from contextlib import contextmanager

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

from featsvc.banks.sql.changes import Change, ChangeEffect
from featsvc.banks.sql.schema import (
    WITHDRAWN,
    banks,
    entries,
    entry_signals,
    import_details,
    import_rows,
    row_number,
    row_ordinal,
    value_prefix,
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
    connection: Connection, change: Change, bank_key: int, *, replace: bool
) -> tuple[ChangeEffect, int]:
    """Apply the staged rows. With `replace`, whatever they do not name is withdrawn.

    Returns what was changed, and the number of staged entries that were there alike.
    """
    live = and_(entries.c.bank_key == bank_key, entries.c.removed_revision.is_(None))
    withdrawn = 0
    if connection.scalar(select(exists().where(live))):
        _find_live_versions(connection, live)
        withdrawn = _withdraw(connection, change, live, replace=replace)
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
        connection.execute(
            update(entries)
            .where(entries.c.version.in_(old))
            .values(removed_revision=change.revision)
        )
    if new or changed:
        with _sorted_indexes(connection, new + changed, held=change.first_version):
            _insert_versions(connection, change, bank_key)
        check_vectors(connection, change)
    return ChangeEffect(new, changed, withdrawn, last + 1 if new or changed else 0), unchanged


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


def _withdraw(
    connection: Connection, change: Change, live: ColumnElement[bool], *, replace: bool
) -> int:
    """What the rows withdraw; with `replace`, what they do not name too."""
    staged = import_rows.c
    if replace:
        named = exists().where(staged.identity == entries.c.identity, staged.details != WITHDRAWN)
        gone = ~named
    else:
        versions = select(staged.old_version).where(
            staged.details == WITHDRAWN, staged.old_version.is_not(None)
        )
        gone = entries.c.version.in_(versions)
    result = connection.execute(
        update(entries).where(live, gone).values(removed_revision=change.revision)
    )
    return result.rowcount


@contextmanager
def _sorted_indexes(connection: Connection, versions: int, *, held: int) -> Iterator[None]:
    """Build the indexes over hashes anew around a large insert: sorted once, not row by row.

    Hashes come in no order, so every row would go to a page of its own; and beyond the cache, to
    the disk. On SQLite alone: there readers go on meanwhile.
    """
    worth_it = versions >= max(_REBUILD_VERSIONS, held * _REBUILD_SHARE)
    rebuilt = _HASH_INDEXES if worth_it and connection.dialect.name == "sqlite" else ()
    for index in rebuilt:
        index.drop(connection)
    yield
    for index in rebuilt:
        index.create(connection)
    if worth_it and connection.dialect.name == "postgresql":
        # Until its own daemon comes by, PostgreSQL would plan as if the tables were empty.
        connection.execute(text("ANALYZE entries, entry_signals"))


def _insert_versions(connection: Connection, change: Change, bank_key: int) -> None:
    staged = import_rows.c
    version = literal(change.first_version) + row_number
    # Withdrawals have no details, and so are left out.
    details = import_details.c
    source = import_rows.join(import_details, staged.details == details.key)
    connection.execute(
        insert(entries).from_select(
            [
                "version", "id", "bank_key", "identity", "digest", "external_id", "labels",
                "source", "opinion", "note", "expire_time", "quarantined", "create_time",
                "added_revision",
            ],
            select(
                version,
                func.coalesce(staged.old_id, version),
                literal(bank_key),
                staged.identity,
                staged.digest,
                staged.external_id,
                details.labels,
                details.source,
                details.opinion,
                details.note,
                details.expire_time,
                func.coalesce(staged.old_quarantined, literal(False)),
                func.coalesce(staged.old_create_time, literal(change.now_us)),
                literal(change.revision),
            )
            .select_from(source)
            .where(row_ordinal == 0, ~staged.unchanged)
            .order_by(staged.row),
        )
    )  # fmt: skip
    connection.execute(
        insert(entry_signals).from_select(
            ["version", "ordinal", "algorithm", "value", "variant", "quality", "algorithm_version"],
            select(
                version,
                row_ordinal,
                details.algorithm,
                staged.value,
                details.variant,
                details.quality,
                details.algorithm_version,
            )
            .select_from(source)
            .where(~staged.unchanged)
            .order_by(staged.row),
        )
    )


def count_elsewhere(connection: Connection, bank_key: int) -> tuple[int, int]:
    """Staged entries with a signal that is live in another bank, and in a safe list of those."""
    others = and_(banks.c.key != bank_key, banks.c.removed_revision.is_(None))
    if not connection.scalar(select(exists().where(others, banks.c.entry_count > 0))):
        return 0, 0
    staged = import_rows.c
    found = (
        select(row_number, func.max(case((banks.c.safe, 1), else_=0)).label("safe"))
        .select_from(import_rows)
        .join(import_details, import_details.c.key == staged.details)
        .join(
            entry_signals,
            and_(
                value_prefix(entry_signals.c.value) == value_prefix(staged.value),
                entry_signals.c.value == staged.value,
                entry_signals.c.algorithm == import_details.c.algorithm,
                entry_signals.c.algorithm_version == import_details.c.algorithm_version,
            ),
        )
        .join(entries, entries.c.version == entry_signals.c.version)
        .join(banks, banks.c.key == entries.c.bank_key)
        .where(others, entries.c.removed_revision.is_(None))
        .group_by(row_number)
        .subquery()
    )
    total, safe = connection.execute(
        select(func.count(), func.coalesce(func.sum(found.c.safe), 0))
    ).one()
    return total, safe
