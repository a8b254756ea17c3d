"""The bank store on both databases."""

import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import inspect, text

from featsvc.banks.lists import merging
from featsvc.banks.records import (
    BankMode,
    BankSettings,
    ChangeContext,
    EntrySignal,
    Opinion,
)
from featsvc.banks.results import DEFAULT_IMPORT, EntryFilter, ImportOptions, ImportResult
from featsvc.banks.sql.schema import entries
from featsvc.banks.sql.stored import EntryRow, SignalRow
from featsvc.banks.store import BankStore
from featsvc.errors import (
    AlreadyExists,
    ConfigInvalid,
    DataCorrupt,
    InvalidInput,
    NotFound,
    Unavailable,
    UnknownAlgorithm,
)
from tests.banks.databases import PostgresServer
from tests.banks.lists import follow, hex_list, list_file, live, live_in, sample

CSV = "algorithm,signal,external_id,labels,note\n"


def import_text(
    store: BankStore, content: bytes | str, options: ImportOptions = DEFAULT_IMPORT
) -> ImportResult:
    return store.import_entries("b", list_file(content), options)


def test_an_empty_store_is_at_revision_zero(store: BankStore) -> None:
    assert store.head().revision == 0
    assert store.head().commit_time is None
    assert store.list_banks().banks == ()


def test_a_bank_is_read_as_it_was_created(store: BankStore) -> None:
    bank_settings = BankSettings(
        display_name="Ünïcode",
        description="d",
        mode=BankMode.SHADOW,
        safe=True,
        thresholds={"pdq": 20},
        query_variants=("flip_x",),
        engine="faiss",
    )
    created = store.create_bank("a-1", bank_settings, ChangeContext("ann", "because", "r1"))
    assert store.get_bank("a-1") == created
    assert (created.display_name, created.mode, created.safe) == ("Ünïcode", BankMode.SHADOW, True)
    assert (created.thresholds, created.query_variants) == ({"pdq": 20}, ("flip_x",))
    assert (created.engine, created.revision, created.entry_count) == ("faiss", 1, 0)
    with store.view() as view:
        (logged,) = view.revisions_since(0)
    assert (logged.action, logged.actor, logged.reason) == ("create", "ann", "because")
    assert logged.commit_time == created.create_time


def test_a_bank_id_is_used_once(bank: BankStore) -> None:
    with pytest.raises(AlreadyExists, match="'b'"):
        bank.create_bank("b")
    assert bank.head().revision == 1


@pytest.mark.parametrize("bank_id", ["", "A", "-a", "a" * 65, "a/b", "ä", "a\n"])
def test_wrong_bank_ids_are_refused(bank_id: str, tmp_path: Path) -> None:
    store = BankStore(f"sqlite:///{tmp_path / 'banks.db'}")
    with pytest.raises(InvalidInput, match="1 to 64"):
        store.create_bank(bank_id)
    store.close()


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(InvalidInput, match="0 to 256"):
        BankSettings(thresholds={"pdq": 257})
    with pytest.raises(InvalidInput, match="0 to 0"):
        BankSettings(thresholds={"md5": 1})
    with pytest.raises(UnknownAlgorithm):
        BankSettings(thresholds={"nope": 1})
    with pytest.raises(InvalidInput, match="multi-index"):
        BankSettings(engine="magic")


def test_banks_are_listed_in_pages(store: BankStore) -> None:
    for i in range(5):
        store.create_bank(f"b{i}")
    token, ids = "", []
    for _ in range(3):
        page = store.list_banks(page_size=2, page_token=token)
        ids += [bank.id for bank in page.banks]
        token = page.next_page_token
    assert (ids, token) == (["b0", "b1", "b2", "b3", "b4"], "")


@pytest.mark.parametrize("token", ["!", "AAAA", "_w"])
def test_foreign_page_tokens_are_refused(bank: BankStore, token: str) -> None:
    with pytest.raises(InvalidInput, match="page_token"):
        bank.list_entries("b", page_token=token)


def test_unknown_banks_and_entries_are_not_found(bank: BankStore) -> None:
    with pytest.raises(NotFound, match="'zz'"):
        bank.get_bank("zz")
    with pytest.raises(NotFound, match="'zz'"):
        bank.list_entries("zz")
    with pytest.raises(NotFound, match="no entry 7"):
        bank.get_entry("b", 7)
    with pytest.raises(NotFound, match="'zz'"):
        bank.import_entries("zz", list_file(hex_list([1])))
    assert bank.head().revision == 1


def test_an_import_is_one_revision_with_file_and_counts(bank: BankStore) -> None:
    context = ChangeContext("bob", "weekly", "")
    file = list_file(hex_list(range(25)), name="dir/weekly.txt")
    result = bank.import_entries("b", file, ImportOptions(source="feed", labels=("x",)), context)
    assert (result.revision, result.refused, result.format) == (2, False, "pdq-text")
    assert (result.summary.rows, result.summary.new_entries) == (25, 25)
    changed = bank.get_bank("b")
    assert (changed.entry_count, changed.signal_count, changed.revision) == (25, 25, 2)
    assert changed.signal_counts == {"pdq": 25}
    with bank.view() as view:
        logged = view.revisions_since(1)[0]
    assert (logged.action, logged.actor, logged.bank_id) == ("import", "bob", "b")
    assert (logged.file_name, logged.file_sha256) == ("weekly.txt", result.sha256)
    assert logged.added_entries == 25
    page = bank.list_entries("b")
    entry = page.entries[0]
    assert (page.total_entries, entry.source, entry.labels) == (25, "feed", ("x",))
    assert bank.get_entry("b", entry.id) == entry


def test_the_same_file_twice_changes_nothing(bank: BankStore) -> None:
    content = sample("pdq_hex.txt")
    first = import_text(bank, content)
    before = live(bank)
    again = import_text(bank, content)
    assert (first.revision, again.revision) == (2, 0)
    assert (again.summary.unchanged_entries, again.summary.new_entries) == (4, 0)
    assert live(bank) == before
    assert bank.head().revision == 2


def test_bad_rows_refuse_the_import_unless_skipped(bank: BankStore) -> None:
    content = sample("broken.csv")
    result = import_text(bank, content)
    assert (result.refused, result.revision) == (True, 0)
    assert [bad.line for bad in result.summary.bad] == [3, 4, 5, 7]
    assert live(bank) == {}
    result = import_text(bank, content, ImportOptions(skip_bad=True))
    assert (result.refused, result.revision, result.summary.bad_rows) == (False, 2, 4)
    # The same hash under two external ids: withdrawing one must leave the other.
    assert (result.summary.new_entries, result.summary.duplicate_rows) == (2, 1)
    assert {entry.external_id for entry in live(bank).values()} == {"ok-1", "dup-5"}


def test_duplicate_rows_are_counted_not_doubled(bank: BankStore) -> None:
    summary = import_text(bank, hex_list([1, 2, 1, 1])).summary
    assert (summary.rows, summary.new_entries, summary.duplicate_rows) == (4, 2, 2)


def test_rows_of_one_external_id_are_one_entry(bank: BankStore) -> None:
    content = CSV + (
        f"md5,{'11' * 16},img,a,first\npdq,{'22' * 32},other,,\npdq,{'33' * 32},img,b,second\n"
    )
    summary = import_text(bank, content).summary
    assert (summary.rows, summary.new_entries) == (3, 2)
    image = next(entry for entry in live(bank).values() if entry.external_id == "img")
    assert {s.algorithm for s in image.signals} == {"md5", "pdq"}
    assert (image.labels, image.note) == (("a", "b"), "first")
    assert bank.get_bank("b").signal_counts == {"md5": 1, "pdq": 2}
    assert import_text(bank, content).summary.unchanged_entries == 2


def test_a_changed_row_is_a_new_version_of_the_same_entry(bank: BankStore) -> None:
    import_text(bank, CSV + f"pdq,{'11' * 32},img,a,\n")
    (before,) = live(bank).values()
    result = import_text(bank, CSV + f"pdq,{'22' * 32},img,b,\n")
    (after,) = live(bank).values()
    assert result.summary.changed_entries == 1
    assert (after.id, after.create_time) == (before.id, before.create_time)
    assert (after.labels, after.added_revision) == (("b",), 3)
    with bank.view() as view:
        (removed,) = view.versions_removed_since(2)
        (old,) = view.entries_where(entries.c.version == removed)
        assert (old.removed_revision, old.labels) == (3, ("a",))
        for revision in (1, 2):
            (added,) = view.signals_added_since(revision)
            assert (added.id, added.value) == (after.id, after.signals[0].value)
        assert view.versions_removed_since(1) == ()
    assert bank.get_bank("b").signal_counts == {"pdq": 1}


def test_replace_withdraws_all_other_entries(bank: BankStore) -> None:
    import_text(bank, hex_list([1, 2, 3]))
    bank.create_bank("other")
    bank.import_entries("other", list_file(hex_list([9])))
    result = import_text(bank, hex_list([2, 4]), ImportOptions(replace=True))
    assert result.summary.withdrawn_entries == 2
    assert (result.summary.new_entries, result.summary.unchanged_entries) == (1, 1)
    values = {e.signals[0].value[-1] for e in live(bank).values() if e.bank_id == "b"}
    assert values == {2, 4}
    assert bank.get_bank("b").entry_count == 2
    assert bank.get_bank("other").entry_count == 1


def test_a_large_import_keeps_every_index(
    bank: BankStore, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "_REBUILD_VERSIONS", 1)
    indexes = "sql FROM sqlite_master" if "sqlite" in store_url else "indexdef FROM pg_indexes"
    with bank.view() as view:
        before = set(view.connection.scalars(text(f"SELECT {indexes}")))
    bank.import_entries("b", list_file(hex_list(range(1, 3000))))
    bank.import_entries("b", list_file(hex_list(range(2000, 6000))))
    with bank.view() as view:
        assert set(view.connection.scalars(text(f"SELECT {indexes}"))) == before
    near = EntrySignal("pdq", (2500).to_bytes(32, "big"))
    page = bank.list_entries("b", EntryFilter(near=near))
    assert (page.total_entries, bank.get_bank("b").entry_count) == (1, 5999)


def test_a_dry_run_counts_and_changes_nothing(bank: BankStore) -> None:
    import_text(bank, hex_list([1, 2]))
    result = import_text(bank, hex_list([2, 3]), ImportOptions(replace=True, dry_run=True))
    summary = result.summary
    assert (summary.new_entries, summary.unchanged_entries, summary.withdrawn_entries) == (1, 1, 1)
    assert result.revision == 0
    assert bank.head().revision == 2
    assert len(live(bank)) == 2


def test_every_field_is_stored(bank: BankStore) -> None:
    content = (
        "algorithm,signal,external_id,labels,source,opinion,note,expire_time,variant,quality\n"
        f'pdq,{"ab" * 32},ïd,l1;l2,s,disputed,"n\n",2031-02-03T04:05:06.000007+00:00,crop,77\n'
    )
    import_text(bank, content)
    (entry,) = live(bank).values()
    assert entry.signals == (EntrySignal("pdq", b"\xab" * 32, "crop", 77, version=1),)
    assert (entry.external_id, entry.labels, entry.source) == ("ïd", ("l1", "l2"), "s")
    assert (entry.opinion, entry.note) == (Opinion.DISPUTED, "n")
    assert entry.expire_time == datetime(2031, 2, 3, 4, 5, 6, 7, UTC)


def test_entries_are_listed_in_pages(bank: BankStore) -> None:
    import_text(bank, hex_list(range(7)))
    token, values = "", []
    for _ in range(3):
        page = bank.list_entries("b", page_size=3, page_token=token)
        values += [entry.signals[0].value[-1] for entry in page.entries]
        token = page.next_page_token
    assert (values, token) == (list(range(7)), "")


def test_a_file_that_fails_changes_nothing(bank: BankStore) -> None:
    def chunks() -> Iterator[bytes]:
        yield hex_list(range(10_000))
        raise ConnectionResetError

    file = list_file(b"")
    file._chunks = chunks()
    with pytest.raises(ConnectionResetError):
        bank.import_entries("b", file)
    assert live(bank) == {}
    assert import_text(bank, hex_list([1])).revision == 2


@pytest.mark.slow
def test_writers_take_turns_and_a_follower_sees_each_change_once(store: BankStore) -> None:
    banks, imports = ("b0", "b1"), 6
    for bank in banks:
        store.create_bank(bank)

    def write(bank: str, offset: int) -> None:
        for i in range(imports):
            numbers = range(offset + i * 50, offset + (i + 1) * 50)
            store.import_entries(bank, list_file(hex_list(numbers)))

    threads = [threading.Thread(target=write, args=(b, i * 10_000)) for i, b in enumerate(banks)]
    for thread in threads:
        thread.start()
    followed: dict[int, SignalRow] = {}
    last = 2
    while last < 14 and (len(followed) < 600 or any(t.is_alive() for t in threads)):
        with store.view() as view:
            log = view.revisions_since(last)
            assert [line.revision for line in log] == list(range(last + 1, view.head.revision + 1))
            added = follow(view, followed, last)
            assert sum(line.added_entries for line in log) == len(added)
            last = view.head.revision
    for thread in threads:
        thread.join()
    assert last == 14
    with store.view() as view:
        assert list(followed.values()) == list(view.live_signals())


def test_fields_of_rows_are_in_the_order_of_the_columns(store: BankStore) -> None:
    names = [column.name for column in entries.columns]
    assert list(EntryRow._fields[: len(names)]) == names
    with store.view() as view:
        columns = inspect(view.connection).get_columns("entries")
    assert [column["name"] for column in columns] == names


def test_a_view_stays_at_its_revision(bank: BankStore) -> None:
    import_text(bank, hex_list([1]))
    with bank.view() as view:
        import_text(bank, hex_list([2]))
        assert view.head.revision == 2
        assert len(live_in(view)) == 1
        assert view.bank("b").entry_count == 1
    assert bank.head().revision == 3


@settings(
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.booleans()), max_size=5
    )
)
def test_following_changes_equals_reading_all_entries(
    store: BankStore, imports: list[tuple[list[int], bool]]
) -> None:
    bank = f"b{store.head().revision}"
    store.create_bank(bank)
    expected: set[int] = set()
    followed: dict[int, SignalRow] = {}
    last = 0
    for numbers, replace in imports:
        file = list_file(hex_list(numbers))
        store.import_entries(bank, file, ImportOptions(replace=replace))
        expected = set(numbers) | (set() if replace else expected)
        with store.view() as view:
            follow(view, followed, last)
            last = view.head.revision
            assert list(followed.values()) == list(view.live_signals())
        assert {row.value[-1] for row in followed.values() if row.bank_id == bank} == expected
        assert store.get_bank(bank).entry_count == len(expected)


def test_urls_that_name_no_database_are_refused() -> None:
    for url in ("nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ConfigInvalid, match=r"banks\.url"):
            BankStore(url)


def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "banks.db"
    path.write_bytes(b"not a database at all, just text that is long enough" * 50)
    store = BankStore(f"sqlite:///{path}")
    with pytest.raises(DataCorrupt, match="not a database"):
        store.head()
    store.close()


def test_a_store_works_again_after_postgresql_was_away(postgres: PostgresServer) -> None:
    store = BankStore(postgres.create_database())
    store.create_bank("b")
    postgres.stop()
    try:
        with pytest.raises(Unavailable, match="did not answer"):
            store.head()
    finally:
        postgres.start()
    assert store.head().revision == 1
    store.close()


def test_a_store_works_again_after_its_file_was_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "banks.db"
    store = BankStore(f"sqlite:///{path}")
    store.create_bank("b")
    store.close()  # writes everything into the one file
    store = BankStore(f"sqlite:///{path}")
    assert store.head().revision == 1
    path.rename(tmp_path / "moved.db")
    for _ in range(2):
        with pytest.raises(Unavailable, match="gone or was replaced"):
            store.create_bank("lost")
        with pytest.raises(Unavailable):
            store.head()
    assert not path.exists()
    (tmp_path / "moved.db").rename(path)
    store.create_bank("kept")
    assert store.head().revision == 2
    store.close()


def test_a_replaced_file_is_opened_by_the_next_call(tmp_path: Path) -> None:
    path, copy = tmp_path / "banks.db", tmp_path / "copy.db"
    store = BankStore(f"sqlite:///{path}")
    store.create_bank("b")
    store.close()
    shutil.copy(path, copy)
    store.create_bank("later")
    store.close()
    assert store.head().revision == 2
    copy.rename(path)
    with pytest.raises(Unavailable, match="replaced"):
        store.head()
    assert store.head().revision == 1
    store.close()
