"""The bank store on both databases."""

from pathlib import Path

import pytest

from featsvc.banks.records import (
    BankMode,
    BankSettings,
    ChangeContext,
)
from featsvc.banks.results import DEFAULT_IMPORT, ImportOptions, ImportResult
from featsvc.banks.sql.schema import entries
from featsvc.banks.store import BankStore
from featsvc.errors import (
    AlreadyExists,
    InvalidInput,
    NotFound,
    UnknownAlgorithm,
)
from tests.banks.lists import hex_list, list_file, live, log_since, sample

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
        (logged,) = log_since(view, 0)
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
        logged = log_since(view, 1)[0]
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
    options = ImportOptions(allow_replaced=True)
    result = import_text(bank, CSV + f"pdq,{'22' * 32},img,b,\n", options)
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
