"""Staged rows become new versions of entries: what an import does under the writers' lock."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)

from featsvc.banks.schema import entries, entry_signals, import_rows


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge changed. `signals` is the change of the live signals per algorithm."""

    new: int
    changed: int
    unchanged: int
    withdrawn: int
    signals: Counter[str]

    @property
    def nothing(self) -> bool:
        return not (self.new or self.changed or self.withdrawn)


NOTHING = Merged(0, 0, 0, 0, Counter())


@dataclass(frozen=True, slots=True)
class Target:
    """Where a merge writes: the bank, the revision to be, its time, the first free version."""

    bank_key: int
    revision: int
    now_us: int
    next_version: int


def merge(connection: Connection, target: Target, *, replace: bool) -> Merged:
    """Apply the staged rows. With `replace`, whatever they do not name is withdrawn."""
    _find_live_versions(connection, target)
    staged = import_rows.c
    first = staged.ordinal == 0
    is_new = and_(first, staged.old_version.is_(None))
    is_changed = and_(first, staged.old_version.is_not(None), ~staged.unchanged)
    new, changed, unchanged = connection.execute(
        select(_count(is_new), _count(is_changed), _count(and_(first, staged.unchanged)))
    ).one()
    withdrawn = _withdraw_unnamed(connection, target) if replace else 0
    if changed:
        old = select(staged.old_version).where(is_changed)
        connection.execute(
            update(entries)
            .where(entries.c.version.in_(old))
            .values(removed_revision=target.revision)
        )
    signals: Counter[str] = Counter()
    if changed or withdrawn:
        signals.subtract(_signals_removed(connection, target))
    if new or changed:
        _insert_versions(connection, target)
        signals.update(_signals_staged(connection))
    return Merged(new, changed, unchanged, withdrawn, signals)


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return select(func.count()).where(condition).scalar_subquery()


def _live(target: Target) -> ColumnElement[bool]:
    return and_(entries.c.bank_key == target.bank_key, entries.c.removed_revision.is_(None))


def _find_live_versions(connection: Connection, target: Target) -> None:
    connection.execute(
        update(import_rows)
        .values(
            old_version=entries.c.version,
            old_id=entries.c.id,
            old_quarantined=entries.c.quarantined,
            old_create_time=entries.c.create_time,
            unchanged=entries.c.digest == import_rows.c.digest,
        )
        .where(_live(target), entries.c.identity == import_rows.c.identity)
    )


def _withdraw_unnamed(connection: Connection, target: Target) -> int:
    named = exists().where(import_rows.c.identity == entries.c.identity)
    result = connection.execute(
        update(entries).where(_live(target), ~named).values(removed_revision=target.revision)
    )
    return result.rowcount


def _insert_versions(connection: Connection, target: Target) -> None:
    staged = import_rows.c
    version = literal(target.next_version) + staged.seq
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
                literal(target.bank_key),
                staged.identity,
                staged.digest,
                staged.external_id,
                staged.labels,
                staged.source,
                staged.opinion,
                staged.note,
                staged.expire_time,
                func.coalesce(staged.old_quarantined, literal(False)),
                func.coalesce(staged.old_create_time, literal(target.now_us)),
                literal(target.revision),
            )
            .where(staged.ordinal == 0, ~staged.unchanged)
            .order_by(staged.seq),
        )
    )  # fmt: skip
    connection.execute(
        insert(entry_signals).from_select(
            ["version", "ordinal", "algorithm", "value", "variant", "quality"],
            select(
                version,
                staged.ordinal,
                staged.algorithm,
                staged.value,
                staged.variant,
                staged.quality,
            )
            .where(~staged.unchanged)
            .order_by(staged.seq, staged.ordinal),
        )
    )


def _signals_staged(connection: Connection) -> dict[str, int]:
    staged = import_rows.c
    rows = connection.execute(
        select(staged.algorithm, func.count().label("signals"))
        .where(~staged.unchanged)
        .group_by(staged.algorithm)
    )
    return {row.algorithm: row.signals for row in rows}


def _signals_removed(connection: Connection, target: Target) -> dict[str, int]:
    rows = connection.execute(
        select(entry_signals.c.algorithm, func.count().label("signals"))
        .join(entries, entries.c.version == entry_signals.c.version)
        .where(
            entries.c.removed_revision == target.revision,
            entries.c.bank_key == target.bank_key,
        )
        .group_by(entry_signals.c.algorithm)
    )
    return {row.algorithm: row.signals for row in rows}
