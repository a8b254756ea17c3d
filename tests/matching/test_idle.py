"""A poll that finds nothing new reads a few rows, whatever the length of the log."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from featsvc.banks.sql import migrations, schema
from featsvc.banks.store import BankStore
from featsvc.matching.follower import Follower
from featsvc.matching.indexer import Indexer
from featsvc.matching.segments import published
from tests.banks.lists import hex_list, list_file
from tests.matching.rows import list_of

POLLS = 5

# What begins each transaction: on PostgreSQL it limits the waits and reads the schema's version.
_BEGINS = ("BEGIN", "PRAGMA", "SELECT current_setting('featsvc.session'")


@contextmanager
def statements(store: BankStore) -> Iterator[list[str]]:
    """Collect the store's statements, without the look at the schema that begins each read."""
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement != migrations.REVISION and not statement.startswith(_BEGINS):
            seen.append(statement)

    engine = store._database._engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def lengthen(store: BankStore, revisions: int) -> None:
    """Append changes without entries to the log, up to this number of revisions."""
    with store._database.write() as connection:
        head = connection.execute(sa.select(schema.head)).one()
        last = connection.execute(
            sa.select(schema.revisions).where(schema.revisions.c.revision == head.revision)
        ).one()
        lines = [
            {
                **last._mapping,
                "revision": number,
                "change": number,
                "first_version": head.next_version,
                "added_entries": 0,
                "withdrawn_entries": 0,
                "changed_entries": 0,
            }
            for number in range(head.revision + 1, revisions + 1)
        ]
        connection.execute(sa.insert(schema.revisions), lines)
        connection.execute(sa.update(schema.head).values(revision=revisions, change=revisions))


def rows_scanned(store: BankStore, statement: str) -> int:
    """Return how many rows PostgreSQL or SQLite reads for the statement, at most."""
    with store._database.read() as connection:
        if connection.dialect.name == "sqlite":
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").all()
            # Without a sort, a scan ends with the first row that LIMIT or EXISTS asks for.
            assert not [line for line in plan if "TEMP B-TREE" in line[-1]], plan
            return 0
        (plan,) = connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
        ).scalars()
    return _scanned(plan[0]["Plan"])


def _scanned(node: dict[str, Any]) -> int:
    own = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    scanned = own * node["Actual Loops"] if "Scan" in node["Node Type"] else 0
    return int(scanned) + sum(map(_scanned, node.get("Plans", ())))


@pytest.mark.slow
@pytest.mark.parametrize("with_segment", [False, True], ids=["rows", "segment"])
def test_an_idle_poll_is_one_statement(
    store: BankStore, tmp_path: Path, with_segment: bool
) -> None:
    """Of follower and indexer, at 10 and at 2,000 revisions since the segment."""
    for bank in ("a", "b"):
        store.create_bank(bank)
        store.import_entries(bank, list_file(hex_list(range(20))))
    folder = tmp_path / "segments"
    indexer = Indexer(store, folder, compact_entries=1_000)
    if with_segment:
        indexer.build()
    follower = Follower(store, segments=folder)
    scanned = []
    for revisions in (10, 2_000):
        lengthen(store, revisions)
        for _ in range(2):
            follower._poll()
            indexer.build_if_outdated()
        for poll in (follower._poll, indexer.build_if_outdated):
            with statements(store) as seen:
                for _ in range(POLLS):
                    poll()
            assert len(seen) == POLLS, seen
            assert len(set(seen)) == 1
            scanned.append(rows_scanned(store, seen[0]))
    assert follower.snapshot.revision == 2_000
    assert len(published(folder)) == with_segment
    assert len(set(scanned)) == 1
    assert scanned[0] <= 10


@pytest.mark.slow
def test_a_change_reads_only_the_log_since_the_last_one(store: BankStore, tmp_path: Path) -> None:
    """The indexer adds up what changed since its segment, and builds exactly when it is enough."""
    store.create_bank("b")
    store.import_entries("b", list_file(list_of(range(20))))
    indexer = Indexer(store, tmp_path, compact_entries=10)
    assert indexer.build_if_outdated() is not None
    lengthen(store, 500)
    counted = []
    for number in range(20, 30):
        assert indexer.build_if_outdated() is None
        store.import_entries("b", list_file(list_of([number])))
        with statements(store) as seen:
            built = indexer.build_if_outdated()
        counted.append(sum("sum(" in statement for statement in seen))
        assert (built is not None) is (number == 29)
        assert not any("FROM revisions \nWHERE" in s and "added_entries," in s for s in seen)
    assert counted == [2] * 10
