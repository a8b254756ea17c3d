"""Rollbacks: entries, decisions and settings of an earlier revision become those of a new one.

What differs is found from the versions that were added or removed since, never by reading the bank:
undoing a small change of a large bank is a small change.
"""

from dataclasses import replace

from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, insert, select, text

from featsvc.banks.curating.history import changed_pairs
from featsvc.banks.curating.settings import find_restored, restore_settings
from featsvc.banks.records import ChangeContext, SettingsDifference
from featsvc.banks.results import RollbackResult
from featsvc.banks.sql import copying
from featsvc.banks.sql.changes import (
    EntryCounts,
    IdempotentCall,
    PendingRevision,
    check_etag,
    find_answer,
    keep_answer,
)
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.decisions import restore_decisions
from featsvc.banks.sql.large_changes import ChangePlan, analyze, apply_change, planning_tables
from featsvc.banks.sql.lookups import look_up
from featsvc.banks.sql.schema import entries, in_bank
from featsvc.banks.sql.stored import bank_row
from featsvc.banks.sql.temporary import planned_copies, planned_removals, touched_identities
from featsvc.banks.sql.view import change_of, check_revision, read_head
from featsvc.errors import InvalidInput


class RollbackPlan(ChangePlan):
    """Removes what differs from the revision, and copies what was live at it."""

    def __init__(self, connection: Connection, bank_key: int, revision: int) -> None:
        super().__init__(connection, bank_key)
        self._revision = revision
        self._numbers = 0
        self._counts = EntryCounts()

    @property
    def numbers(self) -> int:
        return self._numbers

    @property
    def counts(self) -> EntryCounts:
        return self._counts

    def plan(self, *conditions: ColumnElement[bool]) -> None:
        connection = self.connection
        newest = read_head(connection).revision
        changed = changed_pairs(
            connection, self.bank_key, self._revision, newest, entries.c.id, withheld=True
        ).where(*conditions)
        if conditions:
            planned = planned_copies.c.old
            touched = select(entries.c.version).where(*conditions)
            connection.execute(delete(planned_copies).where(planned.in_(touched)))
        pairs = changed.subquery()
        connection.execute(
            insert(planned_removals).from_select(
                ["version"], select(pairs.c.new).where(pairs.c.new.is_not(None))
            )
        )
        restored = select(pairs.c.old, pairs.c.new).where(pairs.c.old.is_not(None))
        self._numbers += copying.plan_copies(connection, restored, first=self._numbers)
        analyze(connection, planned_removals.name)
        self._count()

    def prepare(self) -> None:
        index = "planned_copies_old ON planned_copies (old)"
        self.connection.execute(text(f"CREATE INDEX IF NOT EXISTS {index}"))

    def _count(self) -> None:
        removed = select(func.count()).select_from(planned_removals)
        copies = planned_copies.c
        withdrawn, copied, replaced = self.connection.execute(
            select(removed.scalar_subquery(), func.count(), func.count(copies.replaced))
        ).one()
        self._counts = EntryCounts(copied - replaced, replaced, withdrawn - replaced, self._numbers)
        if self.any_decisions:
            self._count_unseen()

    def _count_unseen(self) -> None:
        """Count again what is seen: versions that are not withheld."""
        copies, connection = planned_copies.c, self.connection
        older, newer = entries.alias("older"), entries.alias("newer")
        source, old = look_up(connection, planned_copies, older, older.c.version == copies.old)
        source, replaced = look_up(
            connection, source, newer, newer.c.version == copies.replaced, optional=True
        )
        was_seen, is_seen = ~old.withheld, ~replaced.withheld
        seen = case((was_seen, 1), else_=0)
        changed = case((and_(was_seen, is_seen), 1), else_=0)
        copied, copied_seen, changed_seen = self.connection.execute(
            select(
                func.count(),
                func.coalesce(func.sum(seen), 0),
                func.coalesce(func.sum(changed), 0),
            ).select_from(source)
        ).one()
        self._counts = EntryCounts(
            copied_seen - changed_seen,
            changed_seen,
            self.count_removals(withheld=False) - changed_seen,
            self._numbers,
            self.count_removals(withheld=True) + copied - copied_seen,
        )

    def add_versions(
        self, pending: PendingRevision, first: int, last: int, *, touched: bool
    ) -> None:
        number = planned_copies.c.number
        condition = and_(number >= first, number < last)
        if touched:
            identity = entries.c.identity.in_(select(touched_identities.c.identity))
            of_touched = select(entries.c.version).where(in_bank(self.bank_key), identity)
            condition = and_(condition, planned_copies.c.old.in_(of_touched))
        copying.copy_versions(self.connection, pending, condition)


def rollback(
    database: Database,
    bank_id: str,
    revision: int,
    context: ChangeContext,
    *,
    etag: str,
    dry_run: bool,
) -> RollbackResult:
    """See `BankStore.rollback_bank`."""
    call = IdempotentCall(context, "rollback", bank_id, (revision, dry_run))

    def begin() -> PendingRevision | RollbackResult:
        if answer := find_answer(connection, call, RollbackResult):
            return answer
        check_etag(bank_row(connection, bank_id), etag)
        return PendingRevision.begin(connection, bank_id, "rollback", context)

    def record(pending: PendingRevision) -> RollbackResult:
        restored = restore_settings(connection, pending, bank_row(connection, bank_id), revision)
        decided = restore_decisions(connection, pending, changes.bank_key, change)
        counts = replace(changes.counts, unseen=changes.counts.unseen + decided)
        if differs := counts.total > 0 or bool(restored):
            pending.record(connection, counts, changes.grown)
        answer = result(pending.number if differs else 0, restored)
        keep_answer(connection, call, answer)
        return answer

    def result(number: int, settings: SettingsDifference) -> RollbackResult:
        counts = changes.counts
        return RollbackResult(number, counts.new + counts.changed, counts.withdrawn, settings)

    with database.roomy_session() as connection, planning_tables(connection):
        with database.read_on(connection):
            bank = bank_row(connection, bank_id)
            check_etag(bank, etag)
            newest = read_head(connection).revision
            check_revision(revision, newest, "revision")
            if revision < 1:
                raise InvalidInput.at("revision", f"must be at least 1, not {revision}")
            change = connection.scalar(select(change_of(revision))) or 0
            changes = RollbackPlan(connection, bank.key, revision)
            changes.plan()
            settings = find_restored(connection, bank, revision, newest)
        if dry_run:
            return result(0, settings)
        return apply_change(database, changes, begin, record)
