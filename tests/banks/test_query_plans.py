"""Changes of single entries read single entries: no statement walks a bank, on either database."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, event

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import EntrySignal
from featsvc.banks.results import ImportOptions
from featsvc.banks.store import BankStore
from tests.banks.lists import hex_list, ids, list_file

ENTRIES = 20_000
"""With fewer, PostgreSQL rightly reads whole tables."""
WALKS = re.compile(
    r"SCAN (entries|entry_signals|live)\b"  # SQLite
    r"|(entries|live) USING (COVERING )?INDEX \w+ \(bank_key=\?\)"
    r"|Seq Scan on (entries|entry_signals)"  # PostgreSQL
    r"|Index Cond: \(bank_key = \d+\)"
)


@contextmanager
def walking(store: BankStore) -> Iterator[dict[str, str]]:
    """Collect the statements that walk a table or a bank, each with its plan."""
    found: dict[str, str] = {}
    explain = "EXPLAIN QUERY PLAN " if store._database.is_sqlite else "EXPLAIN "

    def plan(
        connection: Connection, _cursor: Any, statement: str, parameters: Any, *_: object
    ) -> None:
        if not re.match("SELECT|INSERT|UPDATE|DELETE", statement):
            return
        cursor = connection.connection.cursor()
        cursor.execute(explain + statement, parameters)
        lines = "\n".join(str(row[-1]) for row in cursor.fetchall())
        cursor.close()
        # Whether there is any live entry is one step.
        if WALKS.search(lines) and not statement.startswith("SELECT EXISTS"):
            found[statement] = lines

    event.listen(store._database._engine, "before_cursor_execute", plan)
    yield found
    event.remove(store._database._engine, "before_cursor_execute", plan)


@pytest.fixture
def large(bank: BankStore) -> BankStore:
    bank.import_entries("b", list_file(hex_list(range(ENTRIES)), chunk_bytes=1 << 16))
    return bank


def entry(number: int, **fields: Any) -> ImportRow:
    return ImportRow(0, (EntrySignal("pdq", number.to_bytes(32, "big")),), **fields)


@pytest.mark.slow
def test_changes_of_single_entries_walk_no_bank(large: BankStore) -> None:
    first = ids(large)[0]
    csv = f"algorithm,signal,external_id,withdrawn\npdq,{7:064x},,true\npdq,{ENTRIES + 9:064x},,\n"
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
