"""Small and large changes, alone and among others, are what a plain model says, at every revision.

More examples: TEST_EXAMPLES=1000 pytest tests/banks/test_large_changes.py --timeout 3600
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import count, cycle
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import Entry, EntrySignal
from featsvc.banks.results import ChangeKind, ImportOptions
from featsvc.banks.sql import large_changes
from featsvc.banks.sql.schema import banks, entries, entry_signals, is_live, pending_change
from featsvc.banks.sql.view import StoreView, live_at
from featsvc.banks.store import BankStore
from featsvc.errors import Conflict, NotFound
from tests.banks.lists import exported, list_file, log_since
from tests.banks.plain_store import (
    Identity,
    PlainBank,
    PlainEntry,
    PlainStore,
    Row,
    identity_of,
    signal_count,
)

EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "8"))
SMALL = large_changes.LARGE_VERSIONS


class Op(NamedTuple):
    """An operation on a bank. What it picks from the bank is chosen when it is run."""

    kind: str
    bank: int
    rows: tuple[Row, ...] = ()
    source: str = ""
    flag: bool = False
    """Of an import: replace; of a quarantine: release."""
    pick: int = 0


class Step(NamedTuple):
    """An operation, what others do between its pieces, and at which pause it fails, if at all."""

    op: Op
    meanwhile: tuple[Op, ...] = ()
    fails_at: int = 0
    killed: bool = False


sources = st.sampled_from(["", "feed", "partner"])
signals = st.lists(st.integers(1, 6), min_size=1, max_size=2, unique=True).map(tuple)
rows = st.builds(
    Row,
    st.sampled_from(["", "", "x", "y"]),
    sources,
    signals,
    st.sampled_from(["", "l"]),
    st.sampled_from([False, False, False, True]),
)
picks = st.integers(0, 1000)
which = st.sampled_from([0, 0, 0, 1])
listed = st.lists(rows, min_size=1, max_size=8).map(tuple)
added = st.lists(rows.map(lambda row: row._replace(withdrawn=False)), min_size=1, max_size=4)
no_rows, no_source = st.just(()), st.just("")


def operation(
    *kinds: str,
    rows: st.SearchStrategy[Any] = no_rows,
    source: st.SearchStrategy[str] = no_source,
) -> st.SearchStrategy[Op]:
    return st.tuples(st.sampled_from(kinds), which, rows, source, st.booleans(), picks).map(
        lambda fields: Op(*fields)
    )


changes = (
    operation("import", rows=listed, source=sources)
    | operation("add", rows=added.map(tuple))
    | operation("withdraw", "withdraw_ids", "quarantine")
    | operation("rollback")
)
# Few: what follows a deletion is less interesting.
ops = st.integers(0, 9).flatmap(lambda n: operation("delete") if n == 9 else changes)
steps = st.tuples(
    ops, st.lists(ops, max_size=4).map(tuple), st.sampled_from([0, 0, 0, 1, 2, 4]), st.booleans()
).map(lambda fields: Step(*fields))


class InjectedError(Exception):
    """A large change ends at a pause."""


class Stores:
    """A store, another one for what others do meanwhile, and the model of both."""

    numbers = count()

    def __init__(self, store: BankStore, other: BankStore) -> None:
        self.store, self.other = store, other
        number = next(self.numbers)
        self.names = [f"a{number}", f"b{number}"]
        self.model = PlainStore(store.head().revision)
        self.ids: dict[int, int] = {}
        for name in self.names:
            self.create(store, name)

    def run(self, store: BankStore, op: Op) -> None:
        self.prepare(store, op)()

    def prepare(self, store: BankStore, op: Op) -> Callable[[], None]:
        """Choose what an operation needs; return what runs it, then the model."""
        name, model = self.names[op.bank], self.model
        bank = model.banks.get(name)
        if bank is None:
            return lambda: self.create(store, name)
        born = model.born[name]

        def both(change: Callable[[], object], modelled: Callable[[], object]) -> None:
            try:
                result = change()
            except (NotFound, Conflict):
                # Only for a bank that others have deleted meanwhile.
                assert model.born.get(name) != born or name not in model.banks
                return
            assert model.born[name] == born
            assert name in model.banks
            self.check_result(result, modelled())

        if op.kind == "import":
            options = ImportOptions(
                source=op.source, replace=op.flag, allow_withdrawn=1000, allow_replaced=True
            )
            return lambda: both(
                lambda: store.import_entries(name, list_file(jsonl(op.rows)), options),
                lambda: model.import_rows(name, op.rows, source=op.source, replace=op.flag),
            )
        if op.kind == "add":
            added = [import_row(i, row) for i, row in enumerate(op.rows)]
            return lambda: both(
                lambda: store.add_entries(name, added, allow_replaced=True),
                lambda: model.add(name, op.rows),
            )
        if op.kind == "delete":
            return lambda: both(
                lambda: store.delete_bank(name, force=True), lambda: model.delete(name)
            )
        if op.kind == "rollback":
            revision = model.base + 1 + op.pick % (model.revision - model.base)
            return lambda: both(
                lambda: store.rollback_bank(name, revision), lambda: model.rollback(name, revision)
            )
        return lambda: self.run_picked(store, op, name, dict(bank))

    def create(self, store: BankStore, name: str) -> None:
        store.create_bank(name)
        self.model.create(name)

    def run_picked(self, store: BankStore, op: Op, name: str, bank: PlainBank) -> None:
        picked = [key for i, key in enumerate(bank) if op.pick >> (i % 10) & 1]
        if not picked:
            return
        self.check_now(store)  # it learns the ids of new entries
        real = {model: id_ for id_, model in self.ids.items()}
        ids = [real[bank[key].id] for key in picked]
        if op.kind == "quarantine":
            store.quarantine_entries(name, ids, release=op.flag)
            self.model.quarantine(name, picked, release=op.flag)
        elif op.kind == "withdraw_ids":
            store.withdraw_entries(name, ids, until_listed=True)
            self.model.withdraw(name, picked)
        elif named := [key for key in picked if key[0] and key[1] == picked[0][1]]:
            store.withdraw_entries(
                name, (), [key[0] for key in named], source=picked[0][1], until_listed=True
            )
            self.model.withdraw(name, named)

    def check_result(self, result: Any, counts: Any) -> None:
        if counts is None:
            return
        if hasattr(result, "summary"):
            summary = result.summary
            found = summary.new_entries, summary.changed_entries, summary.withdrawn_entries
            assert found == counts
        elif hasattr(result, "restored_entries"):
            restored = counts.added + counts.changed
            assert (result.restored_entries, result.withdrawn_entries) == (
                restored,
                counts.withdrawn,
            )
        assert result.revision == self.model.revision or not any(counts)

    def check_now(self, store: BankStore) -> None:
        """Compare what readers see with the model: entries, their ids, counts."""
        with store.view() as view:
            assert view.head.revision == self.model.revision
            live = self.found(view, is_live)
            counts = {bank.id: bank for bank in view.banks() if bank.id in self.names}
        assert live == self.filled(self.model.banks)
        assert counts.keys() == self.model.banks.keys()
        for name, bank in self.model.banks.items():
            assert counts[name].entry_count == len(bank)
            assert counts[name].signal_counts == +signal_count(bank)

    def filled(self, state: Mapping[str, PlainBank]) -> Mapping[str, PlainBank]:
        """Return a state with an empty bank for each that does not exist."""
        return {name: state.get(name, {}) for name in self.names}

    def found(self, view: StoreView, condition: Any) -> Mapping[str, PlainBank]:
        ours = entries.c.bank_key.in_(select(banks.c.key).where(banks.c.id.in_(self.names)))
        found: dict[str, dict[Identity, PlainEntry]] = {name: {} for name in self.names}
        for entry in view.entries_where(ours & condition):
            plain = self.plain(entry)
            identity = identity_of(plain.external_id, plain.source, plain.signals)
            assert identity not in found[entry.bank_id], f"{identity} is live twice"
            found[entry.bank_id][identity] = plain
        return found

    def plain(self, entry: Entry) -> PlainEntry:
        numbers = frozenset(int.from_bytes(s.value, "big") for s in entry.signals)
        return PlainEntry(
            self.modelled_id(entry),
            entry.external_id,
            entry.source,
            numbers,
            frozenset(entry.labels),
            entry.quarantined,
        )

    def modelled_id(self, entry: Entry) -> int:
        """Return the model's id of an entry: the first time, that of the entry it must be."""
        if entry.id not in self.ids:
            numbers = frozenset(int.from_bytes(s.value, "big") for s in entry.signals)
            identity = identity_of(entry.external_id, entry.source, numbers)
            state = self.model.states[entry.added_revision - self.model.base]
            modelled = state.get(entry.bank_id, {}).get(identity)
            assert modelled is not None, f"{identity} should not be live"
            assert modelled.id not in self.ids.values(), f"{identity} has another id than before"
            self.ids[entry.id] = modelled.id
        return self.ids[entry.id]

    def check_history(self) -> None:
        """Compare every revision: entries, exports, diffs, followers, and the log."""
        model = self.model
        revisions = range(model.base + 1, model.revision + 1)
        with self.store.view() as view:
            log = log_since(view, model.base)
            for revision in revisions:
                state = model.states[revision - model.base]
                assert self.found(view, live_at(revision)) == self.filled(state)
                self.check_followed(view, revision)
        assert [
            (r.bank_id, (r.added_entries, r.changed_entries, r.withdrawn_entries)) for r in log
        ] == model.log
        for name in model.banks:
            for revision in revisions:
                self.check_export(name, revision)
                for other in {min(revision + 1, model.revision), model.revision}:
                    self.check_diff(name, revision, other)

    def check_followed(self, view: StoreView, revision: int) -> None:
        versions = select(entry_signals.c.version).join(entries)
        live = {*view.connection.scalars(versions.where(live_at(revision)))}
        removed = view.versions_removed_since(revision)
        added = {signal.version for signal in view.signals_added_since(revision)}
        assert live.issuperset(removed)
        assert not added & live
        now = {*view.connection.scalars(versions.where(is_live))}
        assert live - {*removed} | added == now

    def check_export(self, name: str, revision: int) -> None:
        lines = exported(self.store, name, "jsonl", revision).splitlines()
        found = sorted(
            (
                row.get("external_id", ""),
                row.get("source", ""),
                sorted(int(s["signal"], 16) for s in row["signals"]),
                row.get("labels", []),
            )
            for row in map(json.loads, lines)
        )
        assert found == sorted(
            (e.external_id, e.source, sorted(e.signals), sorted(e.labels))
            for e in self.model.at(revision, name).values()
        )

    def check_diff(self, name: str, older: int, newer: int) -> None:
        before, after = self.model.at(older, name), self.model.at(newer, name)
        expected = dict.fromkeys(after.keys() - before.keys(), ChangeKind.ADDED)
        expected |= dict.fromkeys(before.keys() - after.keys(), ChangeKind.WITHDRAWN)
        # An entry that was withdrawn and added again alike did not change.
        expected |= {
            key: ChangeKind.CHANGED
            for key in after.keys() & before.keys()
            if after[key][1:] != before[key][1:]
        }
        page = self.store.diff_revisions(name, older, newer)
        found = {}
        for change in page.changes:
            plain = self.plain(change.entry)
            identity = identity_of(plain.external_id, plain.source, plain.signals)
            found[identity] = change.kind
        assert found == expected
        assert page.total_changes == len(expected)


def jsonl(rows: tuple[Row, ...]) -> str:
    return "".join(
        json.dumps(
            {
                "external_id": row.external_id,
                "source": row.source,
                "signals": [{"algorithm": "pdq", "signal": f"{n:064x}"} for n in row.signals],
                "labels": [row.label] if row.label else [],
                "withdrawn": row.withdrawn,
            }
        )
        + "\n"
        for row in rows
    )


def import_row(line: int, row: Row) -> ImportRow:
    signals = tuple(EntrySignal("pdq", n.to_bytes(32, "big")) for n in row.signals)
    labels = (row.label,) if row.label else ()
    return ImportRow(line, signals, row.external_id, labels, row.source)


@pytest.fixture(params=["small", "large"])
def large(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Every change, however small, is made in one transaction, or in pieces of two versions."""
    is_large = bool(request.param == "large")
    if is_large:
        monkeypatch.setattr(large_changes, "LARGE_VERSIONS", 0)
        monkeypatch.setattr(large_changes, "PIECE_VERSIONS", 2)
        monkeypatch.setattr(large_changes, "PIECE_REMOVALS", 2)
    return is_large


@pytest.fixture
def other(store_url: str) -> Iterator[BankStore]:
    other = BankStore(store_url)
    yield other
    other.close()


@pytest.mark.slow
def test_changes_are_what_the_model_says(store: BankStore, large: bool) -> None:
    @settings(max_examples=EXAMPLES)
    @given(st.lists(ops, min_size=1, max_size=12))
    def law(sequence: list[Op]) -> None:
        stores = Stores(store, store)
        for op in sequence:
            stores.run(store, op)
            stores.check_now(store)
        stores.check_history()

    law()


class Interference:
    """Lets others make changes whenever a change holds no lock, and ends it at one of its pauses.

    On SQLite a change pauses for those that wait; nobody waits in a single thread, so each pause
    is made as if one waited.
    """

    def __init__(self, stores: Stores, step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stores, self._step = stores, step
        self._left = list(step.meanwhile)
        self._pauses = 0
        self._failed = False
        database = stores.store._database
        waits = cycle([True, False])
        begin_write, turn, discard = (
            database._begin_write,
            database.turn,
            large_changes._discard_pending,
        )

        def interrupted_begin_write(*args: Any) -> Any:
            self.pause()
            return begin_write(*args)

        def late_turn(*args: Any) -> Any:
            self.others(large=True)
            return turn(*args)

        def discard_unless_killed(*args: Any) -> None:
            if not (self._failed and step.killed):
                discard(*args)

        monkeypatch.setattr(database, "_begin_write", interrupted_begin_write)
        monkeypatch.setattr(database, "turn", late_turn)
        monkeypatch.setattr(database, "_writers_wait", lambda: next(waits))
        monkeypatch.setattr(large_changes, "_discard_pending", discard_unless_killed)

    def pause(self) -> None:
        self._pauses += 1
        self.others(large=False)
        if self._pauses == self._step.fails_at and not self._failed:
            self._failed = True
            raise InjectedError

    def others(self, *, large: bool) -> None:
        """Make the next change of others, and look at what readers see."""
        stores = self._stores
        was, large_changes.LARGE_VERSIONS = (
            large_changes.LARGE_VERSIONS,
            large_changes.LARGE_VERSIONS if large else SMALL,
        )
        try:
            if self._left:
                stores.run(stores.other, self._left.pop(0))
            stores.check_now(stores.other)
        finally:
            large_changes.LARGE_VERSIONS = was

    def finish(self) -> None:
        while self._left:
            self.others(large=True)


@pytest.mark.slow
def test_changes_among_others_are_in_some_order(
    store: BankStore, other: BankStore, large: bool
) -> None:
    """A change that takes long is as if it were made at its end, by itself, or not at all."""

    @settings(max_examples=EXAMPLES)
    @given(st.lists(steps, min_size=1, max_size=6))
    def law(sequence: list[Step]) -> None:
        stores = Stores(store, other)
        for step in sequence:
            change = stores.prepare(store, step.op)
            # Others only interrupt what is planned before its transaction.
            planned = step.op.kind in ("import", "add", "delete", "rollback")
            interrupted = planned and stores.names[step.op.bank] in stores.model.banks
            with pytest.MonkeyPatch.context() as monkeypatch:
                meanwhile = step if interrupted else step._replace(meanwhile=())
                interference = Interference(stores, meanwhile, monkeypatch)
                try:
                    change()
                except InjectedError:
                    stores.check_now(other)
            interference.finish()
            stores.check_now(store)
        stores.check_history()

    law()
    store.create_bank("last")
    store.import_entries("last", list_file(jsonl((Row("", "", (1,)), Row("", "", (2,))))))
    with store.view() as view:
        left = view.connection.execute(select(pending_change)).all()
    assert not (large and left)
