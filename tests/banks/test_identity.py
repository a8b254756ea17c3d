"""Identity of entries: bank, source and external id; an id from two sources is two entries."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import ChangeContext, EntrySignal
from featsvc.banks.results import ChangeKind, EntryFilter, ImportOptions, WithdrawResult
from featsvc.banks.sql.identity import external_identity, identity_of
from featsvc.banks.store import BankStore
from featsvc.errors import InvalidInput, NotFound
from tests.banks.lists import list_file, live

HEADER = "algorithm,signal,external_id,source,withdrawn\n"


@pytest.fixture
def bank(store: BankStore) -> BankStore:
    """A bank with the id 2819 from three sources, and with another id that begins alike."""
    store.create_bank("b")
    for number, source in enumerate(("feed", "partner", "")):
        import_rows(
            store, f"pdq,{number:064x},2819,{source},", f"pdq,{number:063x}f,28191,{source},"
        )
    return store


def import_rows(store: BankStore, *rows: str, source: str = "", replace: bool = False) -> object:
    file = list_file(HEADER + "\n".join(rows) + "\n")
    options = ImportOptions(source=source, replace=replace, allow_replaced=True)
    return store.import_entries("b", file, options).summary


def live_ids(store: BankStore) -> set[tuple[str, str]]:
    """Return external id and source of all live entries."""
    return {(entry.external_id, entry.source) for entry in live(store).values()}


ids = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(ids, ids, st.text() | st.just(""), st.text() | st.just(""))
def test_no_two_entries_share_an_identity(one: str, other: str, source: str, second: str) -> None:
    same = (one, source) == (other, second)
    assert (external_identity(one, source) == external_identity(other, second)) == same
    assert external_identity(one, "") <= external_identity(one, source)
    assert external_identity(one, source) < external_identity(one, "") + "\x20"


def test_long_values_are_identified_by_a_digest() -> None:
    # Stores hold these identities: neither the limit nor the form may change.
    exactly, longer = (identity_of("", "", (EntrySignal("m@1", b"\1" * n),)) for n in (64, 65))
    assert exactly == "sm@1:" + "01" * 64
    assert longer == "sm@1:" + blake2b(b"\1" * 65, digest_size=32).hexdigest()


def test_two_sources_of_an_id_are_two_entries(bank: BankStore) -> None:
    every = {(name, source) for name in ("2819", "28191") for source in ("feed", "partner", "")}
    assert live_ids(bank) == every
    assert bank.get_bank("b").entry_count == 6
    before = {entry.source: entry for entry in live(bank).values() if entry.external_id == "2819"}
    import_rows(bank, f"pdq,{7:064x},2819,feed,")
    after = {entry.source: entry for entry in live(bank).values() if entry.external_id == "2819"}
    assert after["feed"].id == before["feed"].id
    assert after["feed"].signals[0].value == (7).to_bytes(32)
    assert {s: after[s] for s in ("partner", "")} == {s: before[s] for s in ("partner", "")}


def test_rows_without_a_source_get_that_of_the_options(bank: BankStore) -> None:
    same = import_rows(bank, f"pdq,{0:064x},2819,,", f"pdq,{1:064x},2819,partner,", source="feed")
    assert "unchanged_entries=2" in repr(same)
    new = import_rows(bank, f"pdq,{0:064x},2819,,", source="other")
    assert "new_entries=1" in repr(new)
    assert ("2819", "feed") in live_ids(bank)
    assert ("2819", "other") in live_ids(bank)


def test_rows_of_a_file_are_joined_within_their_source(store: BankStore) -> None:
    store.create_bank("b")
    rows = (f"pdq,{1:064x},a,feed,", f"md5,{1:032x},a,feed,")
    other_rows = (f"pdq,{2:064x},a,,", f"md5,{2:032x},a,partner,")
    import_rows(store, *rows, *other_rows, source="partner")
    joined = {e.source: {s.algorithm for s in e.signals} for e in live(store).values()}
    assert joined == {"feed": {"pdq", "md5"}, "partner": {"pdq", "md5"}}


def test_a_file_withdraws_within_its_source(bank: BankStore) -> None:
    import_rows(bank, f"pdq,{0:064x},2819,feed,true")
    assert ("2819", "feed") not in live_ids(bank)
    import_rows(bank, f"pdq,{0:064x},2819,,true", source="partner")
    import_rows(bank, f"pdq,{0:064x},28191,,true")
    assert live_ids(bank) == {("2819", ""), ("28191", "feed"), ("28191", "partner")}


def test_replace_withdraws_entries_of_the_sources_of_the_list(bank: BankStore) -> None:
    before = live_ids(bank)
    import_rows(bank, f"pdq,{0:064x},2819,feed,", f"pdq,{9:064x},28191,new,", replace=True)
    gone = {("28191", "feed")}
    assert gone < before
    assert live_ids(bank) == before - gone | {("28191", "new")}
    import_rows(bank, f"pdq,{9:064x},28191,new,", source="partner", replace=True)
    assert {source for _, source in live_ids(bank)} == {"", "feed", "new"}


def test_added_entries_change_those_of_their_source(bank: BankStore) -> None:
    before = {e.source: e.id for e in live(bank).values() if e.external_id == "2819"}
    signals = (EntrySignal("pdq", b"\x07" * 32),)
    row = ImportRow(0, signals, external_id="2819", source="partner")
    rows = [row, row._replace(line=1, source="other")]
    added = bank.add_entries("b", rows, allow_replaced=True)
    ids = {entry.source: entry.id for entry in added.entries}
    assert ids["partner"] == before["partner"]
    assert ids["other"] not in before.values()
    assert len(added.entries) == 2


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ("feed", {"partner", ""}),
        ("", {"feed", "partner"}),
        (None, set()),
    ],
)
def test_withdrawal_by_source_or_of_all(
    bank: BankStore, source: str | None, left: set[str]
) -> None:
    result = bank.withdraw_entries("b", (), ["2819"], source=source)
    assert result.entries == 3 - len(left)
    assert {s for name, s in live_ids(bank) if name == "2819"} == left
    assert len([name for name, _ in live_ids(bank) if name == "28191"]) == 3
    assert bank.get_bank("b").entry_count == 3 + len(left)


def test_a_withdrawal_does_not_reach_another_source(bank: BankStore) -> None:
    with pytest.raises(NotFound, match="no live entry '2819' in this bank from the source 'x'"):
        bank.withdraw_entries("b", (), ["2819"], source="x")
    bank.withdraw_entries("b", (), ["2819"], source="")
    with pytest.raises(NotFound, match="no live entry '2819' in this bank without a source"):
        bank.withdraw_entries("b", (), ["2819", "28191"], source="")
    entry = next(e for e in live(bank).values() if e.source == "feed")
    with pytest.raises(NotFound, match=f"no live entry {entry.id} in this bank from"):
        bank.withdraw_entries("b", [entry.id], source="partner")
    assert bank.withdraw_entries("b", [entry.id], source="feed").entries == 1


def test_many_ids_are_withdrawn_at_once(store: BankStore) -> None:
    store.create_bank("b")
    import_rows(store, *(f"pdq,{n:064x},i{n},{'feed' if n % 2 else ''}," for n in range(1500)))
    names = [f"i{n}" for n in range(1000)]
    assert store.withdraw_entries("b", (), names, dry_run=True).entries == 1000
    assert store.withdraw_entries("b", (), names).entries == 1000
    assert len(live_ids(store)) == 500


def test_entries_are_listed_by_id_and_source(bank: BankStore) -> None:
    def sources(external_id: str, source: str = "") -> list[str]:
        page = bank.list_entries("b", EntryFilter(external_id=external_id, source=source))
        return sorted(entry.source for entry in page.entries)

    assert sources("2819") == ["", "feed", "partner"]
    assert sources("2819", "feed") == ["feed"]
    assert sources("281") == sources("2819\x1ffeed") == []


def test_ids_with_control_characters_stay_different(store: BankStore) -> None:
    store.create_bank("b")
    names = ["a", "a\x1e", "a\x1f", "a\x1ffeed", "a\x1e1feed", "a\x01", "a\x1f\x1e", "a\x1e0"]
    rows = [
        ImportRow(i, (EntrySignal("pdq", bytes([i] * 32)),), external_id=name, source=source)
        for i, (name, source) in enumerate((n, s) for n in names for s in ("", "feed"))
    ]
    assert len(store.add_entries("b", rows).entries) == 16
    for name in names:
        listed = store.list_entries("b", EntryFilter(external_id=name)).entries
        assert [(e.external_id, e.source) for e in listed] == [(name, ""), (name, "feed")]
        assert store.withdraw_entries("b", (), [name]).entries == 2
    assert live_ids(store) == set()


def test_rollbacks_and_diffs_distinguish_sources(bank: BankStore) -> None:
    before = live(bank)
    revision = bank.head().revision
    import_rows(bank, f"pdq,{0:064x},2819,feed,true", f"pdq,{5:064x},2819,partner,")
    changes = bank.diff_revisions("b", revision).changes
    expected = {(ChangeKind.WITHDRAWN, "feed"), (ChangeKind.CHANGED, "partner")}
    assert {(c.kind, c.entry.source) for c in changes} == expected
    result = bank.rollback_bank("b", revision)
    assert (result.restored_entries, result.withdrawn_entries) == (2, 0)
    now = live(bank)
    assert {k: e.signals for k, e in now.items()} == {k: e.signals for k, e in before.items()}
    assert bank.get_bank("b").entry_count == 6


def test_the_source_is_part_of_a_retried_call(bank: BankStore) -> None:
    context = ChangeContext(request_id="r")
    first = bank.withdraw_entries("b", (), ["2819"], context, source="feed")
    assert bank.withdraw_entries("b", (), ["2819"], context, source="feed") == first
    with pytest.raises(InvalidInput, match="another call"):
        bank.withdraw_entries("b", (), ["2819"], context)


@contextmanager
def plans(store: BankStore, pattern: str) -> Iterator[list[str]]:
    """Collect the database's plans of the store's queries that match a pattern."""
    collected: list[str] = []
    queries: list[tuple[str, object]] = []

    def collect(_c: object, _k: object, statement: str, parameters: object, *_: object) -> None:
        if re.search(pattern, statement) and statement.startswith(("SELECT", "WITH")):
            queries.append((statement, parameters))

    with store._database.read() as connection:
        engine = connection.engine
    sa.event.listen(engine, "before_cursor_execute", collect)
    try:
        yield collected
    finally:
        sa.event.remove(engine, "before_cursor_execute", collect)
    with store._database.read() as connection:
        explain = "EXPLAIN QUERY PLAN "
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            explain = "EXPLAIN "
        for statement, parameters in queries:
            rows = connection.exec_driver_sql(explain + statement, parameters)  # type: ignore[arg-type]
            collected.append("\n".join(str(row[-1]) for row in rows))


def _list(store: BankStore) -> object:
    return store.list_entries("b", EntryFilter(external_id="2819")).total_entries


def _withdraw(source: str | None, number: int) -> Callable[[BankStore], WithdrawResult]:
    def call(store: BankStore) -> WithdrawResult:
        names = ["2819", *(f"i{n}" for n in range(number - 1))]
        return store.withdraw_entries("b", (), names, source=source, dry_run=True)

    return call


@pytest.mark.slow
@pytest.mark.parametrize(
    "call", [_list, _withdraw(None, 1), _withdraw(None, 1000), _withdraw("", 1000)]
)
def test_ids_are_looked_up_by_the_index(
    bank: BankStore, call: Callable[[BankStore], object]
) -> None:
    import_rows(bank, *(f"pdq,{n:064x},i{n},," for n in range(20_000)))
    with plans(bank, r"entries\.identity (>=|=|IN)") as collected:
        assert call(bank)
    by_sqlite = r"SEARCH entries USING INDEX entries_identity \(identity[>=]"
    by_postgresql = r"Scan (using|on) entries_identity .*\n.*Index Cond: \(+identity.*"
    assert collected
    for plan in collected:
        assert "SCAN entries" not in plan
        assert "Seq Scan on entries" not in plan
        assert re.search(f"{by_sqlite}|{by_postgresql}", plan), plan


def test_joined_rows_obey_the_limit_of_labels(store: BankStore) -> None:
    store.create_bank("b")
    header = "algorithm,signal,external_id,labels\n"

    def rows(count: int) -> str:
        parts = (range(20), range(20, count))
        labels = (";".join(f"l{n}" for n in part) for part in parts)
        return header + "".join(f"pdq,{n:064x},a,{text}\n" for n, text in enumerate(labels))

    store.import_entries("b", list_file(rows(32)))
    with pytest.raises(InvalidInput, match="entry 'a': has 33 labels, at most 32"):
        store.import_entries("b", list_file(rows(33)))
