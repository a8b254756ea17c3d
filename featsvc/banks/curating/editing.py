"""Changes of single entries: add and withdraw."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from sqlalchemy import (
    Connection,
    Integer,
    LargeBinary,
    Select,
    String,
    column,
    select,
    values,
)

from featsvc.banks.curating.deciding import RESTORE, check_number, decide
from featsvc.banks.lists import brakes, joining, merging, staging
from featsvc.banks.lists.formats.rows import ImportRow, check_row
from featsvc.banks.records import (
    MAX_ENTRY_SIGNALS,
    MAX_SIGNALS,
    ChangeContext,
    EntryEdit,
    EntrySignal,
    stored_version,
)
from featsvc.banks.results import MAX_NAMED, AddResult, WithdrawnEntry, WithdrawResult
from featsvc.banks.sql.changes import (
    EntryCounts,
    IdempotentCall,
    PendingRevision,
    count_signals,
    find_answer,
    keep_answer,
    run_once,
)
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.decisions import find_decisions, write_decisions
from featsvc.banks.sql.identity import live_of_external_ids
from featsvc.banks.sql.large_changes import apply_change, planning_tables
from featsvc.banks.sql.lookups import look_up
from featsvc.banks.sql.schema import entries, entry_signals, has_signal, live_entries, live_in
from featsvc.banks.sql.stored import bank_row
from featsvc.banks.sql.temporary import import_rows
from featsvc.banks.sql.vector_models import check_vectors
from featsvc.banks.sql.view import StoreView
from featsvc.errors import DataCorrupt, InvalidInput, NotFound, shown
from featsvc.signals.signal import format_value

Id = TypeVar("Id", int, str)


def add(
    database: Database,
    bank_id: str,
    rows: Sequence[ImportRow],
    context: ChangeContext,
    *,
    allow_replaced: bool,
) -> AddResult:
    """See `BankStore.add_entries`."""
    check_number(len(rows), "entries")
    for row in rows:
        check_row(row)
        _check_signals(row, f"entries[{row.line}].signals")

    arguments = (*rows, *["allow_replaced"] * allow_replaced)
    call = IdempotentCall(context, "add", bank_id, arguments)

    def begin() -> PendingRevision | AddResult:
        if answer := find_answer(connection, call, AddResult):
            return answer
        return PendingRevision.begin(connection, bank_id, "add", context)

    def record(pending: PendingRevision) -> AddResult:
        counts = changes.counts
        if counts.versions:
            check_vectors(connection, bank_id, changes.grown, store=True)
        brakes.check_replaced(connection, counts, allow_replaced)
        if counts.total:
            _take_back_withdrawals(connection, pending, changes.bank_key)
            pending.record(connection, counts, changes.grown)
        added = StoreView(connection).entries_where(
            entries.c.version.in_(_live_staged(connection, changes.bank_key))
        )
        answer = AddResult(tuple(added), pending.number if counts.total else 0)
        keep_answer(connection, call, answer)
        return answer

    with (
        database.session() as connection,
        staging.staging_table(connection),
        planning_tables(connection),
    ):
        with database.read_on(connection):
            if answer := find_answer(connection, call, AddResult):
                return answer
            joining.join_same_entries(connection, staging.stage_rows(connection, rows))
            key = bank_row(connection, bank_id).key
            changes = merging.ImportPlan(connection, key, restores=True)
            changes.plan()
        return apply_change(database, changes, begin, record)


def _live_staged(connection: Connection, bank_key: int) -> list[int]:
    """Return the live versions of the staged entries."""
    same = entries.c.identity == import_rows.c.identity, live_in(bank_key)
    source, entry = look_up(connection, import_rows, entries, *same)
    return list(connection.scalars(select(entry.version).select_from(source).distinct()))


def _take_back_withdrawals(connection: Connection, pending: PendingRevision, bank_key: int) -> None:
    """Decide that the staged entries are not withdrawn; the plan has made them live."""
    withdrawn = select(import_rows.c.identity).where(import_rows.c.decided_withdrawn)
    found = find_decisions(connection, bank_key, connection.scalars(withdrawn.distinct()))
    restored = {identity: decision.edited(RESTORE) for identity, decision in found.items()}
    write_decisions(connection, pending, bank_key, restored)


def _check_signals(row: ImportRow, field: str) -> None:
    """Raises InvalidInput for the number of signals, InvalidSignal for a version."""
    for signal in row.signals:
        stored_version(signal.algorithm, signal.version, field=field)
    originals = sum(1 for signal in row.signals if signal.variant == "original")
    if not row.signals or originals > MAX_SIGNALS:
        raise InvalidInput.at(field, f"must be 1 to {MAX_SIGNALS}, not {originals}")
    if len(row.signals) > MAX_ENTRY_SIGNALS:
        raise InvalidInput.at(
            field, f"must be at most {MAX_ENTRY_SIGNALS} with variants, not {len(row.signals)}"
        )


class NamedEntries(NamedTuple):
    """Entries to withdraw: by id, by external id, and by any of their signals."""

    ids: Sequence[int]
    external_ids: Sequence[str]
    signals: Sequence[EntrySignal]


def withdraw(
    database: Database,
    bank_id: str,
    named: NamedEntries,
    context: ChangeContext,
    *,
    source: str | None,
    until_listed: bool,
    dry_run: bool,
) -> WithdrawResult:
    """See `BankStore.withdraw_entries`."""
    entry_ids, external_ids, signals = named
    check_number(len(entry_ids) + len(external_ids) + len(signals), "names")
    arguments: tuple[object, ...] = tuple(entry_ids), tuple(external_ids), dry_run
    later = (source is not None, source), (until_listed, "until listed"), (signals, tuple(signals))
    arguments = *arguments, *_given(later)

    call = IdempotentCall(context, "withdraw", bank_id, arguments)

    def find() -> tuple[int, set[int]]:
        key = bank_row(connection, bank_id).key
        versions = _live_versions(connection, key, entry_ids, source)
        versions |= _versions_of(connection, key, external_ids, source)
        return key, versions | _versions_with(connection, key, signals, source)

    def change() -> WithdrawResult:
        key, versions = find()
        withdrawn = _named(connection, bank_id, versions)
        pending = PendingRevision.begin(connection, bank_id, "withdraw", context)
        if until_listed:
            pending.remove(connection, entries.c.version.in_(versions))
            removed: Mapping[str, int] = pending.signals_removed(connection, key)
            pending.record(connection, EntryCounts(withdrawn=len(versions)))
        else:
            removed = _decide_withdrawn(connection, pending, key, versions)
        return WithdrawResult(len(versions), sum(removed.values()), pending.number, withdrawn)

    if dry_run:
        with database.read() as connection:
            if answer := find_answer(connection, call, WithdrawResult):
                return answer
            _, versions = find()
            removed = count_signals(connection, entries.c.version.in_(versions))
            withdrawn = _named(connection, bank_id, versions)
            return WithdrawResult(len(versions), sum(removed.values()), 0, withdrawn)
    with database.write() as connection:
        return run_once(connection, call, WithdrawResult, change)


def _given(later: Iterable[tuple[object, object]]) -> list[object]:
    """Return the values that are given: a call without any reads as before there were any."""
    return [value for given, value in later if given]


def _decide_withdrawn(
    connection: Connection, pending: PendingRevision, bank_key: int, versions: Collection[int]
) -> Counter[str]:
    """Withdraw entries and record it; return how many live signals of each algorithm that takes."""
    named = select(entries.c.identity).where(entries.c.version.in_(versions))
    identities = list(connection.scalars(named))
    decided = decide(connection, pending, bank_key, identities, EntryEdit(withdrawn=True))
    if decided is None:
        raise DataCorrupt("bank store: a live entry is withdrawn by a decision")
    pending.record(connection, decided.counts, decided.grown)
    return Counter({name: -number for name, number in decided.grown.items()})


def _live_versions(
    connection: Connection, bank_key: int, ids: Sequence[int], source: str | None = None
) -> set[int]:
    """Return the live versions of entries. Raises NotFound."""
    query = select(entries.c.id, entries.c.version).where(
        live_entries(bank_key), entries.c.id.in_(ids)
    )
    if source is not None:
        query = query.where(entries.c.source == source)
    return _find(connection, query, ids, "names", source)


def _versions_of(
    connection: Connection, bank_key: int, external_ids: Sequence[str], source: str | None
) -> set[int]:
    """Return the live versions with an external id. Raises NotFound."""
    if not external_ids:
        return set()
    query = live_of_external_ids(connection, bank_key, external_ids, source)
    return _find(connection, query, external_ids, "external_ids", source)


def _versions_with(
    connection: Connection,
    bank_key: int,
    signals: Sequence[EntrySignal],
    source: str | None,
) -> set[int]:
    """Return the live versions that have any of the signals.

    Raises NotFound for one of none, InvalidSignal for one of another version.
    """
    if not signals:
        return set()
    named = [
        (s.algorithm, stored_version(s.algorithm, s.version, field="signals"), s.value)
        for s in signals
    ]
    columns = column("algorithm", String), column("version", Integer), column("value", LargeBinary)
    # A join: for a condition of many signals SQLite would rather read the whole bank.
    wanted = values(*columns, name="signals").data(named).cte("wanted")
    same = has_signal(entry_signals, wanted.c.algorithm, wanted.c.version, wanted.c.value)
    found_signals, signal = look_up(connection, wanted, entry_signals, same)
    live = [entries.c.version == signal.version, live_in(bank_key)]
    if source is not None:
        live.append(entries.c.source == source)
    found_entries, entry = look_up(connection, found_signals, entries, *live)
    query = select(*wanted.c, entry.version.label("entry")).select_from(found_entries)
    rows = connection.execute(query).all()
    found = {(row.algorithm, row.version, row.value) for row in rows}
    for algorithm, _, value in (signal for signal in named if signal not in found):
        text = shown(f"{algorithm}:{format_value(algorithm, value)}")
        raise NotFound(
            f"signals: no live entry with {text} in this bank{_origin(source)}; search the banks "
            "for it",
            field="signals",
        )
    return {row.entry for row in rows}


def _named(connection: Connection, bank_id: str, versions: set[int]) -> tuple[WithdrawnEntry, ...]:
    columns = entries.c.id, entries.c.external_id, entries.c.source
    first = select(*columns).where(entries.c.version.in_(versions)).order_by(entries.c.id)
    rows = connection.execute(first.limit(MAX_NAMED))
    return tuple(WithdrawnEntry(row.id, bank_id, row.external_id, row.source) for row in rows)


def _origin(source: str | None) -> str:
    if source is None:
        return ""
    return f" from the source {shown(source)!r}" if source else " without a source"


def _find(
    connection: Connection,
    query: Select[tuple[Id, int]],
    ids: Sequence[Id],
    field: str,
    source: str | None,
) -> set[int]:
    """Run a query of ids and versions; return the versions. Raises NotFound for a missing id."""
    rows = connection.execute(query).all()
    if missing := set(ids) - {row[0] for row in rows}:
        raise NotFound(
            f"{field}: no live entry {min(missing)!r:.66} in this bank{_origin(source)}; list its "
            "entries",
            field=field,
        )
    return {row.version for row in rows}
