"""Changes of any size: small ones in one transaction, large ones in pieces that one step publishes.

SQLite has one writer, and PostgreSQL's writers take turns at the head: a change of a million
entries would keep everybody waiting. So what a change is about to do is first planned in temporary
tables, without a lock. A small plan is then applied under the writers' lock. A large one takes a
change number and version numbers far ahead of everybody else's, and writes its rows in pieces: rows
of the future, which no reader sees. Between two pieces, writers who wait go first. At the end,
under the lock, it plans again what others have changed in its bank meanwhile, and one update of
`head` publishes it all. ADR 23 has the reasons.

A large change that fails removes its rows in pieces; those of one that was killed are removed
before the next large change starts.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TypeVar, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    delete,
    func,
    insert,
    select,
    text,
    union,
    update,
)

from featsvc.banks.sql.changes import (
    EntryCounts,
    PendingRevision,
    count_signals,
    count_signals_between,
)
from featsvc.banks.sql.consistency import check_tables
from featsvc.banks.sql.database import Database, lock_head, temporary_tables
from featsvc.banks.sql.decisions import has_decisions
from featsvc.banks.sql.lookups import look_up
from featsvc.banks.sql.schema import (
    decisions,
    entries,
    entry_signals,
    in_bank,
    newest_change,
    next_version,
    pending_change,
)
from featsvc.banks.sql.stored import bank_row
from featsvc.banks.sql.temporary import planned_copies, planned_removals, touched_identities
from featsvc.errors import Conflict

T = TypeVar("T")

LARGE_VERSIONS = 5_000
"""Versions that a change may add and remove in one transaction: a tenth of a second."""
PIECE_VERSIONS = 2_000
"""Versions that a large change adds between two pauses."""
PIECE_REMOVALS = 1_000
"""Fewer: on PostgreSQL they are what a large change does under the lock."""
_AHEAD = 1_000_000
"""Changes, and versions, that others can make while a large change is being written."""
COUNTED = {"preserve_rowcount": True}
"""Options of an INSERT whose rows are counted."""
_TABLES = (planned_removals, planned_copies, touched_identities)


def analyze(connection: Connection, *tables: str) -> None:
    """Count rows on PostgreSQL, which otherwise plans by a guess until its daemon does that.

    Temporary tables, which the daemon never sees, would have 1,850 rows by the guess: enough to
    read a whole bank for a single entry.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"ANALYZE {', '.join(tables)}"))


class ChangePlan(ABC):
    """What a change of a bank's entries will do; `planned_removals` has the versions it removes.

    A subclass fills that table, and writes the versions that it adds: version numbers are the
    change's first one plus a number below `numbers`. It compares with the state after `base`, and
    again, for the touched identities only, with what is live when it is published.
    """

    def __init__(self, connection: Connection, bank_key: int) -> None:
        self.connection = connection
        self.bank_key = bank_key
        # Read before all else: what others commit meanwhile is planned again.
        newest = check_tables(connection)
        self._base, self._next_version = newest.change, newest.next_version
        self._grown: Counter[str] = Counter()
        self.any_decisions = has_decisions(connection, bank_key)
        """Whether versions of the bank may be withheld."""
        self._is_prepared = False

    @property
    @abstractmethod
    def numbers(self) -> int:
        """Version numbers that the change may use up."""

    @property
    @abstractmethod
    def counts(self) -> EntryCounts:
        """What the change does, as planned."""

    @abstractmethod
    def plan(self, *conditions: ColumnElement[bool]) -> None:
        """Plan all identities, or again those of `touched_identities`.

        The conditions select the touched entries. What was planned for them is already removed from
        `planned_removals`.
        """

    @abstractmethod
    def add_versions(
        self, pending: PendingRevision, first: int, last: int, *, touched: bool
    ) -> None:
        """Write the versions of the numbers from `first` up to, not including, `last`.

        With `touched` only those of `touched_identities`.
        """

    def prepare(self) -> None:  # noqa: B027 (most have nothing to prepare)
        """Create what makes `plan` of a few touched identities quick: indexes of temporary tables.

        It is called without a lock, once others have changed the bank.
        """

    def touch_others(self) -> None:  # noqa: B027
        """Add to `touched_identities` those that are planned otherwise because of them."""

    def write(self, pending: PendingRevision, pause: Callable[[], None]) -> None:
        """Write the whole change in pieces, with a pause between two of them."""
        last = 0
        while versions := self._next_removals(last):
            condition = entries.c.version.in_(versions)
            self._uncount_removed(condition)
            # Rows that others also remove: in turns, or PostgreSQL would find deadlocks.
            lock_head(self.connection)
            pending.remove(self.connection, condition)
            last = max(versions)
            pause()
        for first in range(0, self.numbers, PIECE_VERSIONS):
            self._add(pending, first, min(first + PIECE_VERSIONS, self.numbers), touched=False)
            pause()

    @property
    def grown(self) -> Counter[str]:
        """By how many the written change has grown the signals of each algorithm."""
        return self._grown

    def is_current(self) -> bool:
        """Return whether others have changed so little since the plan that `revise` is quick."""
        touched = self._find_touched()
        return not touched or (self._is_prepared and touched <= LARGE_VERSIONS)

    def prepare_revision(self) -> None:
        """Make `revise` quick."""
        if not self._is_prepared:
            self.prepare()
            self._is_prepared = True

    def catch_up(self) -> None:
        """Plan again what others have changed, without a lock, before anything is written."""
        # Read first: what others commit meanwhile is planned again, rather than not at all.
        newest = check_tables(self.connection)
        if self._find_touched():
            self.revise(None)
        self._base, self._next_version = newest.change, newest.next_version

    def revise(self, written: PendingRevision | None) -> None:
        """Plan again what others have changed since the plan, and write it if the plan is."""
        if not self._find_touched():
            return
        self.any_decisions = has_decisions(self.connection, self.bank_key)
        self.prepare_revision()
        self.touch_others()
        touched = self._is_touched()
        if written:
            self._take_back(written, touched)
        connection = self.connection
        of_touched = select(entries.c.version).where(touched)
        connection.execute(
            delete(planned_removals).where(planned_removals.c.version.in_(of_touched))
        )
        self.plan(touched)
        if written:
            planned = select(planned_removals.c.version)
            removed = and_(touched, entries.c.version.in_(planned))
            self._uncount_removed(removed)
            written.remove(connection, removed)
            self._add(written, 0, self.numbers, touched=True)

    def count_removals(self, *, withheld: bool) -> int:
        """Count the planned removals that are withheld, or those that are not."""
        of_version = entries.c.version == planned_removals.c.version
        removed, entry = look_up(self.connection, planned_removals, entries, of_version)
        # Not a condition, which PostgreSQL may look for in the whole table.
        counted = case((entry.withheld == withheld, 1))
        return self.connection.scalar(select(func.count(counted)).select_from(removed)) or 0

    def _next_removals(self, last: int) -> list[int]:
        table = planned_removals.c
        page = select(table.version).where(table.version > last).order_by(table.version)
        return list(self.connection.scalars(page.limit(PIECE_REMOVALS)))

    def _uncount_removed(self, condition: ColumnElement[bool]) -> None:
        # Also of those that others have removed since the plan: `_take_back` counts alike.
        seen = and_(condition, ~entries.c.withheld)
        self._grown.subtract(count_signals(self.connection, seen))

    def _add(self, pending: PendingRevision, first: int, last: int, *, touched: bool) -> None:
        self.add_versions(pending, first, last, touched=touched)
        first, last = pending.first_version + first, pending.first_version + last
        if not touched and not self.any_decisions:
            self._grown.update(count_signals_between(self.connection, first, last))
            return
        version = entries.c.version
        added = and_(version >= first, version < last, ~entries.c.withheld)
        if touched:
            added = and_(added, self._is_touched())
        self._grown.update(count_signals(self.connection, added))

    def _find_touched(self) -> int:
        """Collect the identities of the bank that others have changed; return their number."""
        table = entries.c
        added = and_(
            table.version >= self._next_version,
            # Those of a change that is being written are above; there may be a million.
            table.version < next_version,
            table.added_change > self._base,
            table.added_change <= newest_change,
        )
        removed = and_(table.removed_change > self._base, table.removed_change <= newest_change)
        changed = [
            select(table.identity).where(in_bank(self.bank_key), condition)
            for condition in (added, removed)
        ]
        decided = decisions.c
        for changes in (decided.added_change, decided.removed_change):
            since = and_(changes > self._base, changes <= newest_change)
            of_bank = in_bank(self.bank_key, decisions)
            changed.append(select(decided.identity).where(of_bank, since))
        connection = self.connection
        connection.execute(delete(touched_identities))
        found = connection.execute(
            insert(touched_identities).from_select(["identity"], union(*changed)),
            execution_options=COUNTED,
        ).rowcount
        analyze(connection, touched_identities.name)
        return found

    def _is_touched(self) -> ColumnElement[bool]:
        return and_(
            in_bank(self.bank_key),
            entries.c.identity.in_(select(touched_identities.c.identity)),
        )

    def _take_back(self, pending: PendingRevision, touched: ColumnElement[bool]) -> None:
        """Undo what was written for the touched identities."""
        connection, table = self.connection, entries.c
        planned = table.version.in_(select(planned_removals.c.version))
        seen = ~table.withheld
        self._grown.update(count_signals(connection, and_(touched, planned, seen)))
        marked = and_(touched, table.removed_change == pending.change)
        connection.execute(update(entries).where(marked).values(removed_change=None))
        written = and_(touched, table.added_change == pending.change)
        self._grown.subtract(count_signals(connection, and_(written, seen)))
        _delete_versions(connection, list(connection.scalars(select(table.version).where(written))))


def planning_tables(connection: Connection) -> AbstractContextManager[None]:
    """Create the temporary tables of a plan, and drop them at the end."""
    return temporary_tables(connection, _TABLES)


def apply_change(
    database: Database,
    plan: ChangePlan,
    begin: Callable[[], PendingRevision | T],
    record: Callable[[PendingRevision], T],
) -> T:
    """Apply a plan as one revision, and return its answer.

    Under the writers' lock `begin` checks whether the change may still be made, and returns its
    revision, or the answer of a call that has already made it. `record` then checks and records
    the change; it returns the answer. Both may raise: nothing has changed then. Raises Conflict if
    the bank was deleted, and another one has its id.
    """
    connection = plan.connection
    while plan.counts.total <= LARGE_VERSIONS:
        with database.exclusive(connection):
            pending = begin()
            if not isinstance(pending, PendingRevision):
                return pending
            check_same_bank(connection, pending.bank_id, plan.bank_key)
            if plan.is_current():
                plan.revise(None)
                plan.write(pending, _no_pause)
                return record(pending)
        with database.read_on(connection):
            plan.catch_up()
    return _apply_in_pieces(database, plan, begin, record)


def _apply_in_pieces(
    database: Database,
    plan: ChangePlan,
    begin: Callable[[], PendingRevision | T],
    record: Callable[[PendingRevision], T],
) -> T:
    connection = plan.connection
    with database.turn(connection):
        _discard_pending(database, connection)
        with database.read_on(connection):
            plan.catch_up()
        committed = False
        try:
            with database.piecewise(connection) as pause:

                def pause_and_note() -> None:
                    nonlocal committed
                    committed = pause() or committed

                def prepare() -> None:
                    nonlocal committed
                    committed = True
                    with database.read_on(connection):
                        plan.prepare_revision()

                first = begin()
                if not isinstance(first, PendingRevision):
                    return first
                check_same_bank(connection, first.bank_id, plan.bank_key)
                ahead = _reserve(connection, first)
                pause_and_note()
                plan.write(ahead, pause_and_note)
                lock_head(connection)
                if not plan.is_current():
                    pause(prepare)
                    lock_head(connection)
                newest = begin()
                if not isinstance(newest, PendingRevision):
                    raise _AnsweredMeanwhileError(newest)
                check_same_bank(connection, newest.bank_id, plan.bank_key)
                pending = replace(newest, change=ahead.change, first_version=ahead.first_version)
                plan.revise(pending)
                answer = record(pending)
                connection.execute(delete(pending_change))
            return answer
        except BaseException as exc:
            if committed:
                _discard_pending(database, connection)
            if isinstance(exc, _AnsweredMeanwhileError):
                return cast("T", exc.answer)
            raise


class _AnsweredMeanwhileError(Exception):
    """Another call with the same request id made the change first."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer


def check_same_bank(connection: Connection, bank_id: str, bank_key: int) -> None:
    """Raises NotFound, or Conflict for another bank of that id."""
    if bank_row(connection, bank_id).key != bank_key:
        raise Conflict(
            f"bank {bank_id!r} was deleted and created again while the change was prepared; "
            "look at it, then decide again"
        )


def _no_pause() -> None:
    """Go on at once: a small change is one transaction."""


def _reserve(connection: Connection, pending: PendingRevision) -> PendingRevision:
    """Take change and version numbers ahead of everybody else's."""
    ahead = replace(
        pending,
        change=pending.change + _AHEAD,
        first_version=pending.first_version + _AHEAD,
    )
    connection.execute(
        insert(pending_change).values(id=1, change=ahead.change, first_version=ahead.first_version)
    )
    return ahead


def _discard_pending(database: Database, connection: Connection) -> None:
    """Remove, in pieces, what a large change wrote that failed or was killed."""
    with database.read_on(connection):
        found = connection.execute(select(pending_change)).first()
    if found is None:
        return
    added = select(entries.c.version).where(
        entries.c.version >= found.first_version, entries.c.added_change == found.change
    )
    marked = select(entries.c.version).where(entries.c.removed_change == found.change)
    last = False
    while not last:
        with database.exclusive(connection):
            versions = list(connection.scalars(added.limit(PIECE_VERSIONS)))
            _delete_versions(connection, versions)
            kept = list(connection.scalars(marked.limit(PIECE_VERSIONS)))
            connection.execute(
                update(entries).where(entries.c.version.in_(kept)).values(removed_change=None)
            )
            last = not versions and not kept
            if last:
                connection.execute(delete(pending_change))


def _delete_versions(connection: Connection, versions: list[int]) -> None:
    for start in range(0, len(versions), PIECE_VERSIONS):
        piece = versions[start : start + PIECE_VERSIONS]
        connection.execute(delete(entry_signals).where(entry_signals.c.version.in_(piece)))
        connection.execute(delete(entries).where(entries.c.version.in_(piece)))
