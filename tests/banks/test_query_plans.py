"""Changes of single entries read single entries; those of many read each row once.

On SQLite, which plans by fixed figures, and on PostgreSQL, which may never have counted the rows.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import takewhile
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, select, text

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import EntrySignal
from featsvc.banks.results import ImportOptions
from featsvc.banks.sql import large_changes
from featsvc.banks.sql.schema import entries
from featsvc.banks.store import BankStore
from tests.banks.lists import hex_list, ids, list_file

ENTRIES = 20_000
"""With fewer, PostgreSQL rightly reads whole tables."""
WALKS = re.compile(
    r"SCAN (entries|entry_signals|live)\b"  # SQLite
    r"|(entries|live) USING (COVERING )?INDEX \w+ \(bank_key=\?\)"
    r"|Seq Scan on (entries|entry_signals)"  # PostgreSQL
    r"|Index Cond: \(bank_key = '?\d+('::bigint)?\)"
)

FIRST = re.compile(
    r"^SELECT EXISTS|^SELECT (entries\.id|decisions\.identity) \n(?s:.*)ORDER BY \1 ?\n LIMIT"
)


ROWS_ONCE = re.compile(r"SCAN (?!head|VALUES|CONSTANT)")
REPEATED_SCAN = re.compile(
    r"Nested Loop.*\n(?:.*\n){0,8}?\s*->  Materialize.*\n\s*->  Seq Scan on (?!head|banks)"
    r"|SubPlan \d+\n\s*->  Seq Scan on (?!head)"
)


def repeats(plan: str) -> bool:
    """Return whether a plan reads a table once for each row of another."""
    if REPEATED_SCAN.search(plan):  # PostgreSQL
        return True
    return _nests(plan.splitlines(), inside=False)


def _nests(lines: Sequence[str], *, inside: bool) -> bool:
    """Return whether SQLite reads a table in a loop; `lines` are the nodes below one, indented."""
    while lines:
        line, text = lines[0], lines[0].lstrip()
        depth = len(line) - len(text)
        margin = " " * (depth + 1)
        below = [*takewhile(methodcaller("startswith", margin), lines[1:])]
        lines = lines[1 + len(below) :]
        if inside and ROWS_ONCE.match(text):
            return True
        once = text.startswith(("SCALAR", "LIST", "MATERIALIZE"))
        if _nests(below, inside="CORRELATED" in text or (inside and not once)):
            return True
        # A loop is inside of the one before it.
        inside = inside or bool(text.startswith("SEARCH") or ROWS_ONCE.match(text))
    return False


@contextmanager
def walking(store: BankStore) -> Iterator[dict[str, str]]:
    """Collect the statements that walk a table or a bank, each with its plan."""
    with plans(store) as found:
        yield found
    for statement, lines in list(found.items()):
        # Whether there is any entry is one step.
        if not WALKS.search(lines) or FIRST.search(statement):
            del found[statement]


@contextmanager
def plans(store: BankStore) -> Iterator[dict[str, str]]:
    """Collect the statements of a store, each with its plan."""
    found: dict[str, str] = {}
    explain = "EXPLAIN QUERY PLAN " if store._database.is_sqlite else "EXPLAIN "

    def plan(
        connection: Connection, _cursor: Any, statement: str, parameters: Any, *_: object
    ) -> None:
        if not re.match("SELECT|INSERT|UPDATE|DELETE", statement):
            return
        cursor = connection.connection.cursor()
        cursor.execute(explain + statement, parameters)
        depths = {0: -1}
        lines = ""
        for row in cursor.fetchall():
            if len(row) > 1:  # SQLite: node, parent, unused, text
                depths[row[0]] = depths[row[1]] + 1
            lines += f"{' ' * depths.get(row[0], 0)}{row[-1]}\n"
        cursor.close()
        found[statement] = lines

    event.listen(store._database._engine, "before_cursor_execute", plan)
    yield found
    event.remove(store._database._engine, "before_cursor_execute", plan)


@pytest.fixture
def large(bank: BankStore) -> BankStore:
    bank.import_entries("b", list_file(hex_list(map(value, range(ENTRIES))), chunk_bytes=1 << 16))
    return bank


def value(number: int) -> int:
    """Return a hash that differs from others in its first bytes, which are indexed."""
    return number << 192 | number


def entry(number: int, **fields: Any) -> ImportRow:
    return ImportRow(0, (EntrySignal("pdq", value(number).to_bytes(32, "big")),), **fields)


@pytest.mark.slow
def test_changes_of_single_entries_walk_no_bank(large: BankStore) -> None:
    first = ids(large)[0]
    rows = f"pdq,{value(7):064x},,true\npdq,{value(ENTRIES + 9):064x},,\n"
    csv = f"algorithm,signal,external_id,withdrawn\n{rows}"
    with walking(large) as found:
        large.add_entries("b", [entry(ENTRIES + 1), entry(ENTRIES + 2, external_id="x")])
        large.add_entries("b", [entry(5, labels=("changed",))])
        large.import_entries("b", list_file(csv))
        large.quarantine_entries("b", [first], release=False)
        large.withdraw_entries("b", [first])
        large.add_entries("b", [entry(ENTRIES + 3, external_id="x")], allow_replaced=True)
        large.withdraw_entries("b", [], external_ids=["x"])
        large.add_entries("b", [entry(ENTRIES + 3, external_id="x")])
        large.withdraw_entries("b", signals=entry(ENTRIES + 3).signals)
    assert not found, "\n\n".join(f"{s}\n{plan}" for s, plan in found.items())
    assert len(ids(large)) == ENTRIES + 3 - 3


def test_plans_that_walk_are_noticed(large: BankStore) -> None:
    with walking(large) as found:
        options = ImportOptions(replace=True, allow_withdrawn=ENTRIES)
        large.import_entries("b", list_file(hex_list(range(5))), options)
    assert any(statement.startswith("INSERT INTO planned_removals") for statement in found)


@pytest.mark.slow
def test_settings_and_expired_entries_are_read_without_walking(large: BankStore) -> None:
    past = datetime(2020, 1, 1, tzinfo=UTC)
    large.add_entries("b", [entry(ENTRIES + 1, expire_time=past)])
    revision = large.head().revision
    with walking(large) as found:
        assert large.get_bank("b").expired_entries == 1
        assert [each.expired_entries for each in large.list_banks().banks] == [1]
        large.update_bank("b", {"description": "new"})
        assert large.list_revisions("b").revisions[0].settings
    assert not found, "\n\n".join(f"{s}\n{plan}" for s, plan in found.items())
    assert large.diff_revisions("b", revision).settings


def analyzed(store: BankStore) -> None:
    """Let PostgreSQL count the rows, as its daemon does after a while."""
    if not store._database.is_sqlite:
        with store._database.write() as connection:
            connection.execute(text("ANALYZE"))


def change_many(store: BankStore, first: int, last: int) -> None:
    """Undo, replace, withdraw and compare; an import has withdrawn rows with and without ids."""
    half = list_file(hex_list(map(value, range(first, last))), chunk_bytes=1 << 16)
    store.import_entries(
        "b", half, ImportOptions(replace=True, dry_run=True, allow_withdrawn=ENTRIES)
    )
    before = store.head().revision
    withdrawn = [f"pdq,{value(n):064x},{f'i{n}' if n % 2 else ''},true" for n in range(first, last)]
    csv = "algorithm,signal,external_id,withdrawn\n" + "\n".join(withdrawn)
    options = ImportOptions(allow_withdrawn=ENTRIES)
    store.import_entries("b", list_file(csv, chunk_bytes=1 << 16), options)
    store.diff_revisions("b", before)
    store.rollback_bank("b", before, dry_run=True)
    store.rollback_bank("b", before)
    half = list_file(hex_list(map(value, range(first, last))), chunk_bytes=1 << 16)
    store.import_entries("b", half, ImportOptions(replace=True, allow_withdrawn=ENTRIES))
    store.rollback_bank("b", before)


@pytest.mark.slow
@pytest.mark.parametrize("counted", [False, True])
def test_large_changes_read_each_row_once(large: BankStore, counted: bool) -> None:
    if counted:
        analyzed(large)
    with plans(large) as found:
        change_many(large, 0, ENTRIES // 2)
        large.create_bank("c")
        large.delete_bank("b", force=True)
    wrong = {statement: plan for statement, plan in found.items() if repeats(plan)}
    assert not wrong, "\n\n".join(f"{s}\n{plan}" for s, plan in wrong.items())
    assert any("planned_copies" in statement for statement in found)


def test_plans_that_repeat_are_noticed(large: BankStore) -> None:
    """Notes have no index: each live entry would read the bank again."""
    older, newer = entries.alias("older"), entries.alias("newer")
    same = newer.c.note > older.c.note
    with plans(large) as found, large.view() as view:
        view.connection.execute(
            select(older.c.version).where(~select(newer.c.id).where(same).exists()).limit(0)
        )
    assert [repeats(plan) for s, plan in found.items() if "NOT (EXISTS" in s] == [True]


@pytest.mark.slow
def test_undoing_one_entry_walks_no_bank(large: BankStore) -> None:
    before = large.head().revision
    large.withdraw_entries("b", [ids(large)[0]])
    with walking(large) as found:
        large.diff_revisions("b", before)
        large.rollback_bank("b", before, dry_run=True)
        large.rollback_bank("b", before)
    assert not found, "\n\n".join(f"{s}\n{plan}" for s, plan in found.items())


@pytest.mark.slow
def test_the_work_of_large_changes_is_linear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite counts the instructions that it executes, whatever else the machine does."""
    monkeypatch.setattr(large_changes, "LARGE_VERSIONS", 100)
    few, many = (instructions(tmp_path / f"{n}.db", n) / n for n in (1_000, 4_000))
    assert many < 1.4 * few


def instructions(path: Path, size: int) -> int:
    """Return how many thousand instructions `change_many` executes on a bank of so many entries."""
    executed = 0

    def count() -> None:
        nonlocal executed
        executed += 1

    store = BankStore(f"sqlite:///{path}")
    event.listen(
        store._database._engine,
        "connect",
        lambda connection, _: connection.set_progress_handler(count, 1000),
    )
    store.create_bank("b")
    content = hex_list(map(value, range(size)))
    store.import_entries("b", list_file(content, chunk_bytes=1 << 16))
    executed = 0
    change_many(store, 0, size // 2)
    store.close()
    return executed
