"""Look-ups find what joins find, and operations read what they need, whatever PostgreSQL knows.

A store that was never analysed has no statistics; after ANALYZE a new bank is in none. The plan of
each statement that an operation executes is judged, so that a new one need not be listed.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event, select, text

from featsvc.banks.results import EntryFilter
from featsvc.banks.sql import large_changes
from featsvc.banks.sql.lookups import look_up
from featsvc.banks.sql.schema import banks, entries, entry_signals
from featsvc.banks.store import BankStore
from tests.banks.databases import PostgresServer
from tests.banks.operations import Operations, fill, import_lines

LARGE, OTHER, NEW = 8_000, 3_000, 1_200
REVISIONS = 20_000
STORED = frozenset(
    ("entries", "entry_signals", "decisions", "revisions", "requests", "match_counts")
)
# Columns of which a condition makes an index read few rows.
FEW = {
    "entries_pkey": "version",
    "entries_bank": r"\bid\b",
    "entries_identity": "identity",
    "entries_removed": "removed_change",
    "entries_expiring": "expire_time",
    "entry_signals_pkey": "version",
    "entry_signals_value": "substr",
    "decisions_pkey": "identity",
    "decisions_added": "added_change",
    "decisions_removed": "removed_change",
    "revisions_pkey": "revision",
    "revisions_change": "change",
    "revisions_bank": "bank_id",
    "requests_pkey": r"\bid\b",
    "requests_time": "time",
    "match_counts_pkey": "entry_id",
}
READS_A_BANK = frozenset(
    (
        "replace all but one",
        "find label",
        "find source",
        "find near",
        "find not expired",
        "find decided",
        "find withdrawn",
        "find at a revision",
        "page with withdrawn",
        "page of a source, deep",
        "overlap",
        "overlap of the large one",
        "matches",
        "page of matches",
        "export",
        "delete",
    )
)
"""Operations whose answer needs all entries, decisions or counts of a bank, once."""


MOST_OF_ENTRIES = frozenset(("page with withdrawn", "overlap of the large one"))
"""Operations that read the large bank: by statistics PostgreSQL rightly reads the whole table."""


class Scan(NamedTuple):
    """A node of a plan that reads a table; `repeated` for each row of another node."""

    kind: str
    table: str
    by: str
    """The index."""
    condition: str
    rows: int
    repeated: bool

    @property
    def few(self) -> bool:
        """Whether an index finds the rows by more than their bank."""
        return bool(self.by) and bool(re.search(FEW[self.by], self.condition))


def scans(node: dict[str, Any], *, repeated: bool = False) -> Iterator[Scan]:
    """Yield the nodes that read tables."""
    if "Scan" in node["Node Type"] and node["Node Type"] != "Bitmap Heap Scan":
        yield Scan(
            node["Node Type"],
            node.get("Relation Name", ""),
            node.get("Index Name", ""),
            node.get("Index Cond", ""),
            node["Plan Rows"],
            repeated,
        )
    for below in node.get("Plans", ()):
        relation = below["Parent Relationship"]
        once = relation == "InitPlan" or "hashed" in str(node.get("Filter", ""))
        inner = relation == "Inner" and _repeats(node)
        again = inner or (relation == "SubPlan" and not once)
        yield from scans(below, repeated=again or (repeated and relation != "InitPlan"))


def _repeats(node: dict[str, Any]) -> bool:
    """Return whether a join reads its inner side again and again.

    The numbers of staged rows are known: they were counted.
    """
    outer = node["Plans"][0]
    counted = not any(scan.table in STORED or scan.by in FEW for scan in scans(outer))
    return node["Node Type"] == "Nested Loop" and not (counted and outer["Plan Rows"] <= 1)


def wrong(found: Scan, *, reads_a_bank: bool) -> bool:
    """Return whether a scan reads more than its operation needs."""
    if found.table in STORED and not found.by:
        return True
    if found.by.split("_")[0] not in {name.split("_")[0] for name in STORED}:
        # A staged table, analysed: whole, but not for each row of another.
        small = found.table in SMALL or found.rows <= 1
        return found.kind == "Seq Scan" and found.repeated and not small
    return found.by in FEW and not found.few and (found.repeated or not reads_a_bank)


def limited(statement: str, plan: dict[str, Any]) -> bool:
    """Return whether a statement ends with the first row of an index's order."""
    below = plan.get("Plans", ())
    return plan["Node Type"] == "Limit" and "Index" in below[-1]["Node Type"]


SMALL = frozenset(("head", "banks", "bank_settings", "import_details", "pending_change", ""))


@contextmanager
def plans(store: BankStore) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Collect the statements of a store on PostgreSQL, each with its plan."""
    found: list[tuple[str, dict[str, Any]]] = []
    engine = store._database._engine

    def explain(
        connection: Connection, _cursor: Any, statement: str, parameters: Any, *_: object
    ) -> None:
        if not re.match("SELECT|INSERT|UPDATE|DELETE|WITH", statement):
            return
        if "pg_catalog" not in statement:
            cursor = connection.connection.cursor()
            one = parameters[0] if isinstance(parameters, list) else parameters
            cursor.execute("EXPLAIN (FORMAT JSON) " + statement, one)
            rows = cursor.fetchall()
            cursor.close()
            found.append((statement, rows[0][0][0]["Plan"]))

    event.listen(engine, "before_cursor_execute", explain)
    yield found
    event.remove(engine, "before_cursor_execute", explain)


@pytest.fixture(scope="module")
def filled(postgres: PostgresServer) -> Iterator[str]:
    """Return the URL of a store with three banks, decisions and a long log, never analysed."""
    url = postgres.create_database()
    store = BankStore(url)
    store.head()
    with store._database.write() as connection:
        for table in sorted(STORED):
            connection.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = false)"))
        # Of a bank that was deleted.
        connection.execute(
            text(
                "INSERT INTO revisions SELECT n, n, 'old', 'update', '', '', '', '', '', 0, 0, 0,"
                f" 1, n FROM generate_series(1, {REVISIONS}) AS n"
            )
        )
        connection.execute(text(f"UPDATE head SET revision = {REVISIONS}, change = {REVISIONS}"))
    fill(store, "large", LARGE)
    fill(store, "other", OTHER)
    ids = [entry.id for entry in store.list_entries("large", page_size=1000).entries]
    store.quarantine_entries("large", ids)
    store.quarantine_entries("large", ids, release=True)
    store.quarantine_entries("large", ids)
    store.close()
    yield url
    postgres.drop_database(url)


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["none", "of another time"])
def test_operations_read_what_they_need(
    filled: str, statistics: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_changes, "LARGE_VERSIONS", 500)
    store = BankStore(filled)
    with store._database.write() as connection:
        if statistics != "none":
            connection.execute(text("ANALYZE"))
        known = "SELECT count(*) FROM pg_stats WHERE tablename IN ('entries', 'entry_signals')"
        assert bool(connection.scalar(text(known))) == (statistics != "none")
    report = []
    for operation in Operations(
        store, f"new {statistics}"[:6].replace(" ", "-") + "b", NEW, "large", LARGE
    ).every():
        operation.prepare()
        with plans(store) as found:
            operation.run()
        assert found, operation.name
        whole = statistics != "none" and operation.name in MOST_OF_ENTRIES
        for statement, plan in found:
            if limited(statement, plan):
                continue
            bad = [s for s in scans(plan) if wrong(s, reads_a_bank=operation.name in READS_A_BANK)]
            if whole:
                bad = [scan for scan in bad if (scan.table, scan.repeated) != ("entries", False)]
            if bad:
                report.append(f"{operation.name}: {bad}\n{statement[:1500]}\n")
    with store._database.read() as connection:
        if statistics == "none":
            assert connection.scalar(text(known)) == 0
    store.close()
    assert not report, "\n".join(report)


def test_a_plain_join_is_noticed(filled: str) -> None:
    """The signals of a page of entries: without statistics PostgreSQL expects many of each."""
    store = BankStore(filled)
    with store.view() as view:
        versions = list(view.connection.scalars(select(entries.c.version).limit(500)))
        of_page = entries.c.version.in_(versions)
        plain = select(entries.c.id, entry_signals.c.value).join_from(entries, entry_signals)
        of_version = entry_signals.c.version == entries.c.version
        source, signal = look_up(view.connection, entries, entry_signals, of_version)
        looked_up = select(entries.c.id, signal.value).select_from(source)
        with plans(store) as found:
            joined = view.connection.execute(plain.where(of_page)).all()
            again = view.connection.execute(looked_up.where(of_page)).all()
    store.close()
    assert sorted(joined) == sorted(again)
    judged = [any(wrong(s, reads_a_bank=False) for s in scans(plan)) for _, plan in found]
    assert judged == [True, False]


@pytest.mark.parametrize("optional", [False, True])
def test_look_ups_find_what_joins_find(store: BankStore, optional: bool) -> None:
    """Banks beside their entries of a source: each pair once, and with `optional` lone banks."""

    @settings(
        max_examples=10,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(st.lists(st.integers(0, 2), max_size=6))
    def pairs_are_equal(sources: list[int]) -> None:
        name = f"b{len(store.list_banks(page_size=1000).banks)}"
        store.create_bank(name)
        lines = (f"pdq,{n:064x},x{n},,s{source},,\n" for n, source in enumerate(sources, 1))
        import_lines(store, name, lines)
        with store.view() as view:
            of_bank = entries.c.bank_key == banks.c.key, entries.c.source == "s1"
            source, entry = look_up(view.connection, banks, entries, *of_bank, optional=optional)
            pairs = select(banks.c.id, entry.external_id).select_from(source)
            found = [tuple(row) for row in view.connection.execute(pairs)]
        expected: list[tuple[str, str | None]] = []
        for bank in store.list_banks(page_size=1000).banks:
            listed = store.list_entries(bank.id, EntryFilter(source="s1")).entries
            expected += [(bank.id, entry.external_id) for entry in listed]
            expected += [(bank.id, None)] * (optional and not listed)
        assert sorted(map(repr, found)) == sorted(map(repr, expected))

    pairs_are_equal()
