"""What an import will do: its staged rows are compared with the live entries of the bank."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    SelectBase,
    and_,
    case,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)

from featsvc.banks.lists import withdrawing
from featsvc.banks.sql.changes import EntryCounts, PendingRevision, count_signals
from featsvc.banks.sql.large_changes import ChangePlan, analyze
from featsvc.banks.sql.schema import (
    ROW_ORDINALS,
    banks,
    entries,
    entry_signals,
    has_signal,
    import_details,
    import_rows,
    is_live,
    is_live_bank,
    live_entries,
    planned_removals,
    row_number,
    row_ordinal,
    touched_identities,
)

_is_first = row_ordinal == 0


class ImportPlan(ChangePlan):
    """The staged rows become versions of entries: new ones, and new versions of live ones.

    With `replaced` sources, the live entries of these sources that no row holds are withdrawn.
    """

    def __init__(
        self,
        connection: Connection,
        bank_key: int,
        *,
        replaced: Sequence[str] = (),
        withdrawals: bool = False,
    ) -> None:
        super().__init__(connection, bank_key)
        self._replaced = tuple(replaced)
        self._withdrawals = withdrawals
        self._numbers = 0
        self._counts = EntryCounts()
        self.unchanged = 0
        """Staged entries that are live with equal values."""

    @property
    def numbers(self) -> int:
        return self._numbers

    @property
    def counts(self) -> EntryCounts:
        return self._counts

    def plan(self, *conditions: ColumnElement[bool]) -> None:
        connection = self.connection
        if not conditions:
            analyze(connection, import_rows.name, import_details.name)
        live = and_(live_entries(self.bank_key), *conditions)
        if conditions:
            self._forget_touched()
        if connection.scalar(select(exists().where(live))):
            self._find_live_versions(live)
            self._plan_removals(live)
        self._count()

    def _forget_touched(self) -> None:
        touched = select(touched_identities.c.identity)
        nothing = dict.fromkeys(("old_version", "old_id", "old_quarantined", "old_create_time"))
        self.connection.execute(
            update(import_rows)
            .where(import_rows.c.identity.in_(touched))
            .values(**nothing, unchanged=False)
        )

    def _find_live_versions(self, live: ColumnElement[bool]) -> None:
        staged = import_rows.c
        # A look-up for each row, whatever the database believes about the size of the bank.
        same = select(entries.c.version).where(live, entries.c.identity == staged.identity)
        self.connection.execute(
            update(import_rows).values(old_version=same.correlate(import_rows).scalar_subquery())
        )
        self.connection.execute(
            update(import_rows)
            .values(
                old_id=entries.c.id,
                old_quarantined=entries.c.quarantined,
                old_create_time=entries.c.create_time,
                unchanged=entries.c.digest == staged.digest,
            )
            .where(staged.old_version.is_not(None), entries.c.version == staged.old_version)
        )

    def _plan_removals(self, live: ColumnElement[bool]) -> None:
        staged = import_rows.c
        held = select(staged.old_version).where(_is_first, staged.old_version.is_not(None))
        self._remove_later(held.where(~staged.unchanged))
        if self._replaced:
            of_sources = select(entries.c.version).where(live, entries.c.source.in_(self._replaced))
            # EXCEPT, not NOT IN: PostgreSQL runs a NOT IN that exceeds its memory for each row.
            self._remove_later(of_sources.except_(held))
        if self._withdrawals:
            hit = withdrawing.hit_versions(self.bank_key, live)
            known = select(planned_removals.c.version)
            self._remove_later(hit.except_(held, known))

    def _remove_later(self, versions: SelectBase) -> None:
        self.connection.execute(insert(planned_removals).from_select(["version"], versions))

    def _count(self) -> None:
        connection, staged = self.connection, import_rows.c
        new, self.unchanged, total, last = connection.execute(
            select(
                _count(staged.old_version.is_(None)),
                _count(staged.unchanged),
                func.count(),
                func.coalesce(func.max(row_number), 0),
            ).where(_is_first)
        ).one()
        removed = connection.scalar(select(func.count()).select_from(planned_removals)) or 0
        changed = total - new - self.unchanged
        self._numbers = last + 1 if new or changed else 0
        self._counts = EntryCounts(new, changed, removed - changed, self._numbers)
        analyze(connection, planned_removals.name)

    def growth(self) -> Counter[str]:
        """Return by how many the plan grows the signals of each algorithm."""
        staged, details = import_rows.c, import_details.c
        added = (
            select(details.algorithm, func.count())
            .select_from(import_rows.join(import_details, staged.details == details.key))
            .where(~staged.unchanged)
            .group_by(details.algorithm)
        )
        grown = Counter(dict(map(tuple, self.connection.execute(added))))
        removed = entry_signals.c.version.in_(select(planned_removals.c.version))
        grown.subtract(count_signals(self.connection, entry_signals, removed))
        return grown

    def add_versions(
        self, pending: PendingRevision, first: int, last: int, *, touched: bool
    ) -> None:
        staged, details = import_rows.c, import_details.c
        version = literal(pending.first_version) + row_number
        source = import_rows.join(import_details, staged.details == details.key)
        entry: dict[str, ColumnElement[Any]] = {
            "version": version,
            "id": func.coalesce(staged.old_id, version),
            "bank_key": literal(self.bank_key),
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
            "added_change": literal(pending.change),
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
        changed = (
            select()
            .select_from(source)
            .where(
                staged.row >= first * ROW_ORDINALS,
                staged.row < last * ROW_ORDINALS,
                ~staged.unchanged,
            )
            .order_by(staged.row)
        )
        if touched:
            changed = changed.where(staged.identity.in_(select(touched_identities.c.identity)))
        connection = self.connection
        rows = changed.where(_is_first).with_only_columns(*entry.values())
        connection.execute(insert(entries).from_select(list(entry), rows))
        signals = changed.with_only_columns(*signal.values())
        connection.execute(insert(entry_signals).from_select(list(signal), signals))


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


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
