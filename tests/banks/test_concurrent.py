"""Many writers at the same time: every acknowledged change holds, and the store agrees with itself.

Each writer has a source of its own in a bank that all share, so what it leaves is known whatever
the others do. One more changes and rolls back a bank of its own. Small changes are single
transactions; with `large` every change is written in pieces, which lets others go first.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import ColumnElement, select

from featsvc.banks.curating.rollback import RollbackPlan
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import EntrySignal
from featsvc.banks.results import ImportOptions
from featsvc.banks.sql import large_changes
from featsvc.banks.sql.schema import entries, entry_signals, is_listed
from featsvc.banks.store import BankStore
from tests.banks.lists import list_file

WRITERS = 4
CHANGES = 12
Held = dict[str, int]
"""External id -> the number that its signal encodes."""


class Writer:
    """Changes the entries of one source in the bank `b`, one change after the other."""

    def __init__(self, store: BankStore, number: int) -> None:
        self._store, self._source = store, f"writer-{number}"
        self._rng = random.Random(number)
        self.held: Held = {}
        self.revisions = 0

    def run(self) -> None:
        for _ in range(CHANGES):
            self._rng.choice((self.add, self.withdraw, self.import_all))()

    def _signal(self) -> int:
        return self._rng.getrandbits(200)

    def add(self) -> None:
        name, number = f"e{self._rng.randrange(8)}", self._signal()
        signals = (EntrySignal("pdq", number.to_bytes(32)),)
        row = ImportRow(0, signals, name, source=self._source)
        self._store.add_entries("b", [row], allow_replaced=True)
        self.held[name] = number
        self.revisions += 1

    def withdraw(self) -> None:
        if self.held:
            name = self._rng.choice(sorted(self.held))
            self._store.withdraw_entries(
                "b", external_ids=[name], source=self._source, until_listed=True
            )
            del self.held[name]
            self.revisions += 1

    def import_all(self) -> None:
        """Replace all that the source has."""
        new = {f"e{n}": self._signal() for n in range(8) if self._rng.random() < 0.7}
        lines = "".join(f"pdq,{number:064x},{name}\n" for name, number in new.items())
        options = ImportOptions(
            source=self._source, replace=True, allow_withdrawn=8, allow_replaced=True
        )
        file = list_file(f"algorithm,signal,external_id\n{lines}", format_name="csv")
        done = self._store.import_entries("b", file, options)
        self.held = new
        self.revisions += bool(done.revision)


def undo_and_redo(store: BankStore) -> int:
    """Change and roll back the bank `undone`; return the number of revisions."""
    made = 0
    for number in range(1, 5):
        signals = [EntrySignal("pdq", (number * 99 + i).to_bytes(32)) for i in range(9)]
        rows = [ImportRow(0, (signal,)) for signal in signals]
        added = store.add_entries("undone", rows).revision
        store.rollback_bank("undone", added - 1)
        store.rollback_bank("undone", added)
        made += 3
    return made


@pytest.mark.slow
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_what_many_write_at_once_holds(
    store: BankStore, store_url: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(large_changes, "LARGE_VERSIONS", 0)
        monkeypatch.setattr(large_changes, "PIECE_VERSIONS", 2)
        monkeypatch.setattr(large_changes, "PIECE_REMOVALS", 1)
    store.create_bank("b")
    store.create_bank("undone")
    # Half of the writers are of another process, as far as a store can tell.
    other = BankStore(store_url)
    writers = [Writer((store, other)[n % 2], n) for n in range(WRITERS)]
    undone: list[int] = []
    failures: list[BaseException] = []

    def guarded(run: Callable[[], object]) -> Callable[[], None]:
        def guard() -> None:
            try:
                run()
            except BaseException as exc:
                failures.append(exc)

        return guard

    runs = [writer.run for writer in writers] + [lambda: undone.append(undo_and_redo(other))]
    threads = [threading.Thread(target=guarded(run)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert not failures, failures
    expected = {
        (f"writer-{number}", name): {signal.to_bytes(32)}
        for number, writer in enumerate(writers)
        for name, signal in writer.held.items()
    }
    found = {
        (entry.source, entry.external_id): {signal.value for signal in entry.signals}
        for entry in store.list_entries("b", page_size=1000).entries
    }
    assert found == expected
    assert store.get_bank("undone").entry_count == 4 * 9
    made = 2 + sum(writer.revisions for writer in writers) + sum(undone)
    log = store.list_revisions(page_size=1000).revisions
    assert [line.revision for line in log] == [*range(made, 0, -1)]
    check_counts(store)


def check_counts(store: BankStore) -> None:
    """The counts of each bank are those of its rows, and no identity is listed twice."""
    with store.view() as view:
        of_rows = select(entries.c.bank_key, entries.c.identity, entry_signals.c.version).join(
            entry_signals
        )
        rows = view.connection.execute(of_rows.where(is_listed)).all()
        counted = Counter(bank for bank, *_ in {(r.bank_key, r.identity) for r in rows})
        assert max(Counter((r.bank_key, r.identity) for r in rows).values(), default=1) == 1
        for bank in view.banks():
            assert bank.entry_count == counted[view.bank_key(bank.id)]
            assert bank.signal_count == bank.entry_count


def test_what_others_change_while_a_plan_is_revised_is_planned_again(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan is revised without the writers' lock, in statements that may see later changes."""
    store, other = BankStore(store_url), BankStore(store_url)
    rows = [ImportRow(i, (EntrySignal("md5", bytes([i] * 16)),), f"x{i}") for i in range(4)]
    store.create_bank("b")
    revision = store.add_entries("b", rows[:2]).revision
    store.add_entries("b", rows[2:3])
    meanwhile: list[Callable[[], object]] = [
        lambda: other.add_entries("b", rows[3:]),
        lambda: other.rollback_bank("b", revision),
    ]
    plan = RollbackPlan.plan

    def planned(self: RollbackPlan, *conditions: ColumnElement[bool]) -> None:
        plan(self, *conditions)
        if meanwhile and self.connection.engine is store._database._engine:
            meanwhile.pop(0)()

    monkeypatch.setattr(RollbackPlan, "plan", planned)
    store.rollback_bank("b", revision)
    assert meanwhile == []
    listed = store.list_entries("b").entries
    assert [entry.external_id for entry in listed] == ["x0", "x1"]
    assert store.get_bank("b").entry_count == 2
    store.close()
    other.close()
