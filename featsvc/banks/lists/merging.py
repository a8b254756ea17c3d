"""What an import will do: its staged rows are compared with the live entries of the bank."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    SelectBase,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    insert,
    literal,
    select,
    text,
    true,
    update,
)

from featsvc.banks.lists import withdrawing
from featsvc.banks.sql.changes import EntryCounts, PendingRevision, count_signals
from featsvc.banks.sql.decisions import Values, decode
from featsvc.banks.sql.large_changes import ChangePlan, analyze
from featsvc.banks.sql.lookups import look_up
from featsvc.banks.sql.schema import (
    banks,
    decisions,
    entries,
    entry_signals,
    has_signal,
    is_live,
    is_live_bank,
    listed_entries,
    listed_in,
    live_decisions,
)
from featsvc.banks.sql.temporary import (
    ROW_ORDINALS,
    import_details,
    import_rows,
    import_withdrawals,
    planned_removals,
    row_number,
    row_ordinal,
    touched_identities,
)

_COUNTED = ("new", "same", "total", "kept", "kept_same")
_is_first = row_ordinal == 0
_is_touched = import_rows.c.identity.in_(select(touched_identities.c.identity))


class _Overlay(NamedTuple):
    """The effective columns of the version that a staged row becomes."""

    number: int
    columns: dict[str, Any]


class ImportPlan(ChangePlan):
    """The staged rows become versions of entries: new ones, and new versions of live ones.

    With `replaced` sources, the live entries of these sources that no row holds are withdrawn.
    Decisions of curators win over the rows, but with `restores` a row makes its entry live although
    a curator has withdrawn it.
    """

    def __init__(
        self,
        connection: Connection,
        bank_key: int,
        *,
        replaced: Sequence[str] = (),
        withdrawals: bool = False,
        restores: bool = False,
    ) -> None:
        super().__init__(connection, bank_key)
        self._restores = restores
        self._overlays: list[_Overlay] = []
        self._replaced = tuple(replaced)
        self.by_rows = withdrawals
        """Whether rows withdraw entries."""
        self.revised = False
        """Whether others have changed the bank since the first plan."""
        self._numbers = 0
        self._counts = EntryCounts()
        self._counted: Counter[str] = Counter()
        self.unchanged = 0
        """Staged entries that are live, and whose list said the same before."""
        self.kept_withdrawn = 0
        """Staged entries that are not live, because a curator has withdrawn them."""

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
        # Touched entries are found by their identity.
        in_list = listed_in if conditions else listed_entries
        listed = and_(in_list(self.bank_key), *conditions)
        rows = _is_touched if conditions else true()
        if conditions:
            self.revised = True
            self._counted.subtract(self._count_rows(_is_touched))
            self._forget_touched(*conditions)
        if self.any_decisions:
            self._find_withdrawn()
        # By id: the first one is a step in an index, while a bitmap would be of the whole bank.
        first = select(entries.c.id).where(listed).order_by(entries.c.id).limit(1)
        if conditions or connection.scalar(first) is not None:
            self._find_listed_versions(rows)
            self._plan_removals(listed, rows, and_(listed_in(self.bank_key), *conditions))
        self._overlays = self._find_overlays() if self.any_decisions else []
        # What is decided of other rows may have changed, too.
        if self.any_decisions:
            self._counted.clear()
            rows = true()
        self._count(rows)

    def prepare(self) -> None:
        tables = [(import_rows, "identity")]
        if self.by_rows:
            tables += [(import_withdrawals, "identity"), (import_withdrawals, "value")]
        for table, name in tables:
            index = f"{table.name}_{name} ON {table.name} ({name})"
            self.connection.execute(text(f"CREATE INDEX IF NOT EXISTS {index}"))
            analyze(self.connection, table.name)

    def touch_others(self) -> None:
        if self.by_rows:
            withdrawing.touch_hit_by_signal(self.connection, self.bank_key)

    def _forget_touched(self, *touched: ColumnElement[bool]) -> None:
        if self.by_rows:
            withdrawing.forget_touched(self.connection, and_(*touched))
        names = ("old_version", "old_id", "old_create_time", "decided_withdrawn")
        nothing = dict.fromkeys(names)
        self.connection.execute(
            update(import_rows).where(_is_touched).values(**nothing, unchanged=False)
        )

    def _find_withdrawn(self) -> None:
        withdrawn = select(decisions.c.identity).where(
            live_decisions(self.bank_key), decisions.c.withdrawn
        )
        self.connection.execute(
            update(import_rows)
            .where(import_rows.c.identity.in_(withdrawn))
            .values(decided_withdrawn=True)
        )

    def _find_overlays(self) -> list["_Overlay"]:
        """Return what decisions make of the staged entries that become new versions."""
        details, decided = import_details.c, decisions.c
        rows = self.connection.execute(
            select(
                row_number.label("number"),
                decided.decided,
                *(details[name] for name in Values._fields),
            )
            .select_from(import_rows)
            .join(import_details, import_rows.c.details == details.key)
            .join(decisions, decided.identity == import_rows.c.identity)
            .where(_is_first, ~import_rows.c.unchanged, live_decisions(self.bank_key))
        )
        overlays = []
        for number, stored, *listed in rows:
            decision = decode(stored)
            if self._restores:
                decision = replace(decision, withdrawn=False)
            overlays.append(_Overlay(number, decision.effective(Values(*listed))))
        return overlays

    def _find_listed_versions(self, rows: ColumnElement[bool]) -> None:
        """Write beside each of the rows the listed version of its identity, if there is one."""
        staged = import_rows.alias("staged")
        same = entries.c.identity == staged.c.identity, listed_in(self.bank_key)
        source, entry = look_up(self.connection, staged, entries, *same)
        found = select(
            staged.c.row, entry.version, entry.id, entry.create_time, entry.digest, entry.withheld
        ).select_from(source)
        pairs = found.subquery("listed")
        unchanged = pairs.c.digest == import_rows.c.digest
        if self._restores:
            unchanged = and_(unchanged, ~pairs.c.withheld)
        self.connection.execute(
            update(import_rows)
            .values(
                old_version=pairs.c.version,
                old_id=pairs.c.id,
                old_create_time=pairs.c.create_time,
                unchanged=unchanged,
            )
            .where(rows, import_rows.c.row == pairs.c.row)
        )

    def _plan_removals(
        self,
        listed: ColumnElement[bool],
        rows: ColumnElement[bool],
        named: ColumnElement[bool],
    ) -> None:
        """`listed` selects all listed entries to look at, `named` those that rows name."""
        held = self._held.where(rows)
        self._remove_later(held.where(~import_rows.c.unchanged))
        if self._replaced:
            of_sources = select(entries.c.version).where(
                listed, entries.c.source.in_(self._replaced)
            )
            # EXCEPT, not NOT IN: PostgreSQL runs a NOT IN that exceeds its memory for each row.
            self._remove_later(of_sources.except_(held))
        if self.by_rows:
            withdrawing.find_hits(self.connection, self.bank_key, named)
            hit = withdrawing.hit_versions(self.connection, named)
            known = select(planned_removals.c.version)
            self._remove_later(hit.except_(held, known))

    @property
    def _held(self) -> Select[tuple[int | None]]:
        """The listed versions of the staged entries."""
        staged = import_rows.c
        return select(staged.old_version).where(_is_first, staged.old_version.is_not(None))

    def withdrawn_versions(self) -> CompoundSelect[tuple[int]]:
        """Select the live versions that the plan removes and no other replaces."""
        removed = select(planned_removals.c.version)
        if self.any_decisions:
            live = entries.c.version == planned_removals.c.version, ~entries.c.withheld
            removed = removed.join(entries, and_(*live))
        return removed.except_(self._held)

    def _remove_later(self, versions: SelectBase) -> None:
        self.connection.execute(insert(planned_removals).from_select(["version"], versions))

    def _count(self, rows: ColumnElement[bool]) -> None:
        """Count the plan; only these rows are not counted yet."""
        connection = self.connection
        self._counted.update(self._count_rows(rows))
        new, same, total, kept, kept_same = (self._counted[name] for name in _COUNTED)
        analyze(connection, planned_removals.name)
        removed = connection.scalar(select(func.count()).select_from(planned_removals)) or 0
        changed = total - new - same
        last = connection.scalar(select(func.max(import_rows.c.row))) if new or changed else None
        self._numbers = 0 if last is None else last // ROW_ORDINALS + 1
        self.unchanged = same
        self._counts = EntryCounts(new, changed, removed - changed, self._numbers)
        if self.any_decisions:
            self._count_unseen(kept, kept_same)

    def _count_rows(self, rows: ColumnElement[bool]) -> dict[str, int]:
        staged = import_rows.c
        counted = (
            _count(staged.old_version.is_(None)),
            _count(staged.unchanged),
            func.count(),
            _count(staged.decided_withdrawn),
            _count(and_(staged.decided_withdrawn, staged.unchanged)),
        )
        values = self.connection.execute(select(*counted).where(_is_first, rows)).one()
        return dict(zip(_COUNTED, values, strict=True))

    def _count_unseen(self, kept: int, kept_same: int) -> None:
        """Correct the counts, in which withheld versions are like all others."""
        staged = import_rows.c
        withdrawn = and_(_is_first, staged.decided_withdrawn)
        relisted = select(func.count()).where(withdrawn, staged.old_version.is_(None))
        returned = self.connection.scalar(relisted) or 0
        counts, rewritten = self._counts, kept - kept_same - returned
        new, changed = counts.new, counts.changed - rewritten
        unlisted = self.count_removals(withheld=True) - rewritten
        if self._restores:
            new += rewritten
            unseen = unlisted
        else:
            new -= returned
            self.unchanged -= kept_same
            self.kept_withdrawn = kept
            unseen = unlisted + rewritten + returned
        self._counts = EntryCounts(
            new, changed, counts.withdrawn - unlisted, counts.versions, unseen
        )

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
        grown.subtract(count_signals(self.connection, true(), planned_removals))
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
            "quarantined": false(),
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
            changed = changed.where(_is_touched)
        connection = self.connection
        rows = changed.where(_is_first).with_only_columns(*entry.values())
        connection.execute(insert(entries).from_select(list(entry), rows))
        signals = changed.with_only_columns(*signal.values())
        connection.execute(insert(entry_signals).from_select(list(signal), signals))
        overlays = [
            overlay.columns | {"new": pending.first_version + overlay.number}
            for overlay in self._overlays
            if first <= overlay.number < last
        ]
        if overlays:
            # Still nobody's: the values of the list become the effective ones.
            own = and_(
                entries.c.version == bindparam("new"), entries.c.added_change == pending.change
            )
            connection.execute(update(entries).where(own), overlays)


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def count_elsewhere(connection: Connection, bank_key: int) -> tuple[int, int]:
    """Count the staged entries with a signal that is live in another bank, and in a safe list."""
    others = and_(banks.c.key != bank_key, is_live_bank)
    if not connection.scalar(select(exists().where(others, banks.c.entry_count > 0))):
        return 0, 0
    staged, details = import_rows.c, import_details.c
    rows = import_rows.join(import_details, details.key == staged.details)
    equal = has_signal(entry_signals, details.algorithm, details.algorithm_version, staged.value)
    signals, signal = look_up(connection, rows, entry_signals, equal)
    live = entries.c.version == signal.version, is_live
    found, entry = look_up(connection, signals, entries, *live)
    source, bank = look_up(connection, found, banks, banks.c.key == entry.bank_key, others)
    shared = (
        select(row_number, func.max(case((bank.safe, 1), else_=0)).label("safe"))
        .select_from(source)
        .group_by(row_number)
        .subquery()
    )
    total, safe = connection.execute(
        select(func.count(), func.coalesce(func.sum(shared.c.safe), 0))
    ).one()
    return total, safe
