"""Changes by curators and their reversal: add, withdraw, quarantine, update, diff, rollback."""

from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

import pytest

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import BankMode, BankSettings, ChangeContext, Entry, EntrySignal
from featsvc.banks.results import (
    BankMatches,
    ChangeKind,
    EntryFilter,
    EntryPage,
    ImportOptions,
    MatchKey,
    Overlap,
)
from featsvc.banks.sql import sqlite
from featsvc.banks.sql.schema import entries
from featsvc.banks.store import BankStore
from featsvc.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from tests.banks.lists import exported, hex_list, ids, list_file, live


def pdq(number: int) -> EntrySignal:
    return EntrySignal("pdq", number.to_bytes(32, "big"))


def row(number: int, external_id: str = "", **fields: object) -> ImportRow:
    return ImportRow(0, (pdq(number),), external_id)._replace(**fields)  # type: ignore[arg-type]


@pytest.fixture
def bank(bank: BankStore) -> BankStore:
    bank.import_entries("b", list_file(hex_list(range(1, 6))))
    return bank


def test_adding_an_external_id_again_changes_its_entry(bank: BankStore) -> None:
    added = bank.add_entries("b", [row(100, "a", labels=("x",)), row(101)])
    assert [e.external_id for e in added.entries] == ["a", ""]
    assert (added.revision, bank.get_bank("b").entry_count) == (3, 7)
    again = bank.add_entries("b", [row(100, "a", labels=("x",))])
    assert again.revision == 0
    assert again.entries == added.entries[:1]
    changed = bank.add_entries("b", [row(102, "a")], allow_replaced=True)
    assert changed.entries[0].id == added.entries[0].id
    assert bank.get_bank("b").entry_count == 7


def test_wrong_entries_are_named(bank: BankStore) -> None:
    with pytest.raises(InvalidInput, match=r"entries\[0\]\.signals"):
        bank.add_entries("b", [ImportRow(0, ())])
    variants = [EntrySignal("pdq", n.to_bytes(32, "big"), f"v{n}") for n in range(257)]
    with pytest.raises(InvalidInput, match="at most 256 with variants, not 257"):
        bank.add_entries("b", [ImportRow(0, tuple(variants))])
    assert bank.add_entries("b", [ImportRow(0, tuple(variants[:256]))]).revision
    with pytest.raises(InvalidInput, match="1 to 1000"):
        bank.add_entries("b", [])
    with pytest.raises(NotFound):
        bank.add_entries("zz", [row(1)])


def test_withdrawing_is_all_or_nothing(bank: BankStore) -> None:
    bank.add_entries("b", [row(100, "a")])
    first, second, *_ = ids(bank)
    preview = bank.withdraw_entries("b", [first, second], ["a"], dry_run=True)
    assert (preview.entries, preview.signals, preview.revision) == (3, 3, 0)
    assert len(ids(bank)) == 6
    with pytest.raises(NotFound, match="999"):
        bank.withdraw_entries("b", [first, 999])
    with pytest.raises(NotFound, match="'zz'"):
        bank.withdraw_entries("b", [first], ["zz"])
    assert len(ids(bank)) == 6
    result = bank.withdraw_entries("b", [first, second], ["a"], ChangeContext("ann", "why"))
    assert (result.entries, result.revision) == (3, bank.head().revision)
    assert bank.get_bank("b").signal_counts == {"pdq": 3}
    assert bank.get_entry("b", first).removed_revision == result.revision
    with pytest.raises(NotFound):
        bank.withdraw_entries("b", [first])


def test_a_withdrawal_by_external_id_checks_the_source(bank: BankStore) -> None:
    bank.add_entries("b", [row(100, "a", source="s")])
    with pytest.raises(NotFound, match="'a'"):
        bank.withdraw_entries("b", external_ids=["a"], source="t")
    with pytest.raises(NotFound, match="''"):
        bank.withdraw_entries("b", external_ids=["a", ""])
    assert bank.withdraw_entries("b", external_ids=["a"], source="s").entries == 1


def test_a_quarantine_reaches_a_follower_and_is_released(bank: BankStore) -> None:
    first = ids(bank)[0]
    before = bank.head().revision
    result = bank.quarantine_entries("b", [first])
    assert (result.entries, result.revision) == (1, before + 1)
    assert live(bank)["b", first].quarantined
    with bank.view() as view:
        (removed,) = view.versions_removed_since(before)
        (added,) = view.signals_added_since(before)
        (old,) = view.entries_where(entries.c.version == removed)
    assert (old.id, old.removed_revision, old.quarantined) == (first, before + 1, False)
    assert (added.id, bool(added.quarantined)) == (first, True)
    assert bank.quarantine_entries("b", [first]).revision == 0
    assert bank.quarantine_entries("b", [first], release=True).entries == 1
    assert not live(bank)["b", first].quarantined
    assert bank.get_bank("b").entry_count == 5
    actions = [line.action for line in bank.list_revisions("b").revisions]
    assert actions == ["release", "quarantine", "import", "create"]


def test_an_update_changes_the_named_settings_only(store: BankStore) -> None:
    created = store.create_bank("b", BankSettings(description="d", thresholds={"pdq": 20}))
    changed = store.update_bank("b", {"mode": BankMode.SHADOW})
    assert (changed.mode, changed.description) == (BankMode.SHADOW, "d")
    assert changed.thresholds == {"pdq": 20}
    with pytest.raises(Conflict, match="changed since"):
        store.update_bank("b", {"safe": True}, etag=created.etag)
    assert store.update_bank("b", {"safe": True}, etag=changed.etag).safe
    with pytest.raises(InvalidInput, match="0 to 256"):
        store.update_bank("b", {"thresholds": {"pdq": 300}})
    revision = store.head().revision
    store.update_bank("b", {"safe": True})
    assert store.head().revision == revision


def test_new_entries_invalidate_an_etag_for_rollback_but_not_for_settings(bank: BankStore) -> None:
    etag = bank.get_bank("b").etag
    bank.add_entries("b", [row(100)])
    bank.update_bank("b", {"description": "x"}, etag=etag)
    with pytest.raises(Conflict):
        bank.rollback_bank("b", 1, etag=etag)
    with pytest.raises(Conflict):
        bank.delete_bank("b", etag=etag, force=True)


def test_a_deleted_bank_keeps_its_history_and_frees_its_id(bank: BankStore) -> None:
    with pytest.raises(InvalidInput, match="5 entries"):
        bank.delete_bank("b")
    result = bank.delete_bank("b", force=True)
    assert (result.entries, result.signals) == (5, 5)
    assert live(bank) == {}
    with pytest.raises(NotFound):
        bank.get_bank("b")
    assert bank.list_banks().banks == ()
    assert bank.list_revisions("b").revisions[0].action == "delete"
    with bank.view() as view:
        assert len(view.versions_removed_since(2)) == 5
    bank.create_bank("b")
    assert bank.get_bank("b").entry_count == 0
    with pytest.raises(AlreadyExists):
        bank.create_bank("b")


def test_rollback_restores_the_exact_set_as_a_new_revision(bank: BankStore) -> None:
    bank.add_entries("b", [row(100, "a", labels=("x",)), row(101)])
    before, revision = exported(bank, "b", "jsonl"), bank.head().revision
    entries_before = {e.id: e.signals for e in live(bank).values()}
    replacement = list_file("algorithm,signal,external_id\npdq," + "ab" * 32 + ",a\n")
    bank.import_entries("b", replacement, ImportOptions(replace=True, allow_replaced=True))
    bank.add_entries("b", [row(3)])
    bank.quarantine_entries("b", ids(bank)[:1])
    assert exported(bank, "b", "jsonl") != before
    preview = bank.rollback_bank("b", revision, dry_run=True)
    assert preview.revision == 0
    result = bank.rollback_bank("b", revision, ChangeContext("ann", "oops"))
    assert result.restored_entries == preview.restored_entries
    assert exported(bank, "b", "jsonl") == before == exported(bank, "b", "jsonl", revision)
    assert {e.id: e.signals for e in live(bank).values()} == entries_before
    assert bank.get_bank("b").entry_count == 7
    assert bank.get_bank("b").signal_counts == {"pdq": 7}
    assert bank.diff_revisions("b", revision).total_changes == 0
    log = bank.list_revisions("b").revisions
    assert [line.revision for line in log] == list(range(result.revision, 0, -1))
    assert (log[0].action, log[0].actor, log[0].reason) == ("rollback", "ann", "oops")
    assert bank.rollback_bank("b", revision).revision == 0
    with pytest.raises(InvalidInput, match="no revision 999 yet"):
        bank.rollback_bank("b", 999)


def test_a_diff_compares_content(bank: BankStore) -> None:
    revision = bank.head().revision
    bank.add_entries("b", [row(100, "a")])
    bank.add_entries("b", [row(1, labels=("x",))])
    bank.withdraw_entries("b", [next(e.id for e in live(bank).values() if _is(e, 2))])
    bank.withdraw_entries("b", [next(e.id for e in live(bank).values() if _is(e, 3))])
    bank.add_entries("b", [row(3)])
    page = bank.diff_revisions("b", revision)
    changes = {(c.kind, int.from_bytes(c.entry.signals[0].value)) for c in page.changes}
    assert changes == {
        (ChangeKind.ADDED, 100),
        (ChangeKind.CHANGED, 1),
        (ChangeKind.WITHDRAWN, 2),
    }
    first = bank.diff_revisions("b", revision, page_size=2)
    rest = bank.diff_revisions("b", revision, page_size=2, page_token=first.next_page_token)
    assert first.changes + rest.changes == page.changes
    assert (first.total_changes, rest.next_page_token) == (3, "")
    assert bank.diff_revisions("b", 0).total_changes == 5


def _is(entry: Entry, number: int) -> bool:
    return entry.signals == (pdq(number)._replace(version=1),)


def test_filters_find_entries(bank: BankStore) -> None:
    bank.add_entries("b", [row(0b111 << 8, "a", labels=("x", "y"), source="s")])

    def numbers(entry_filter: EntryFilter) -> list[int]:
        page = bank.list_entries("b", entry_filter)
        assert page.total_entries == len(page.entries)
        values = [int.from_bytes(e.signals[0].value) for e in page.entries]
        if entry_filter.near:
            near = int.from_bytes(entry_filter.near.value)
            assert page.distances == tuple((near ^ value).bit_count() for value in values)
        return values

    assert numbers(EntryFilter(external_id="a")) == [0b111 << 8]
    assert numbers(EntryFilter(labels=("y", "x"))) == [0b111 << 8]
    assert numbers(EntryFilter(labels=("X",))) == []
    assert numbers(EntryFilter(source="s")) == [0b111 << 8]
    assert numbers(EntryFilter(near=pdq(0), max_distance=1)) == [1, 2, 4]
    assert numbers(EntryFilter(near=pdq(5))) == [5]
    assert numbers(EntryFilter(near=pdq(5), max_distance=2, source="s")) == []
    assert numbers(EntryFilter(revision=2)) == [1, 2, 3, 4, 5]
    bank.withdraw_entries("b", external_ids=["a"])
    assert numbers(EntryFilter(external_id="a")) == []
    assert numbers(EntryFilter(external_id="a", show_withdrawn=True)) == [0b111 << 8]
    assert numbers(EntryFilter(external_id="a", revision=3)) == [0b111 << 8]
    with pytest.raises(InvalidInput, match="no revision 99 yet"):
        numbers(EntryFilter(revision=99))


def test_overlap_of_two_banks(bank: BankStore) -> None:
    bank.create_bank("other")
    bank.import_entries("other", list_file(hex_list([4, 5, 6])))
    overlap = bank.overlap("b", "other")
    assert (overlap.entries, overlap.shared, overlap.other_entries) == (5, 2, 3)
    assert [(a.bank_id, b.bank_id) for a, b in overlap.pairs] == [("b", "other")] * 2
    assert all(a.signals == b.signals for a, b in overlap.pairs)


CHANGES: dict[str, Callable[[BankStore, ChangeContext], object]] = {
    "create": lambda s, c: s.create_bank("new", BankSettings(thresholds={"pdq": 3}), c),
    "update": lambda s, c: s.update_bank("b", {"description": "new"}, c),
    "import": lambda s, c: s.import_entries("b", list_file(hex_list([9])), context=c),
    "add": lambda s, c: s.add_entries("b", [row(50, "n")], c),
    "withdraw": lambda s, c: s.withdraw_entries("b", [], ["a"], c),
    "quarantine": lambda s, c: s.quarantine_entries("b", [1], c),
    "rollback": lambda s, c: s.rollback_bank("b", 1, c),
    "delete": lambda s, c: s.delete_bank("b", c, force=True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_retry_gets_the_answer_of_the_first_call(store: BankStore, name: str) -> None:
    store.create_bank("b")
    store.import_entries("b", list_file(hex_list([1, 2])))
    store.add_entries("b", [row(100, "a")])
    entry = min(ids(store))
    change = CHANGES[name]
    if name == "quarantine":
        change = lambda s, c: s.quarantine_entries("b", [entry], c)  # noqa: E731
    context = ChangeContext("ann", "why", "request-1")
    first = change(store, context)
    revision = store.head().revision
    assert change(store, context) == first
    assert store.head().revision == revision == 4
    with pytest.raises(InvalidInput, match="used for another call"):
        store.create_bank("other", context=context)


def test_matches_are_counted_per_mode_and_day(bank: BankStore) -> None:
    first, second, *_ = ids(bank)
    shadow = MatchKey("b", first, BankMode.SHADOW)
    bank.add_match_counts({shadow: 5, MatchKey("b", second, BankMode.ENFORCE): 1})
    bank.add_match_counts({shadow: 2, MatchKey("gone", 1, BankMode.ENFORCE): 9})
    counts = bank.match_counts("b", days=1)
    assert counts.total == {BankMode.SHADOW: 7, BankMode.ENFORCE: 1}
    assert [(c.entry.id, c.total) for c in counts.entries] == [(first, 7), (second, 1)]
    assert (counts.matched_entries, counts.median) == (2, 4.0)
    assert [c.entry.id for c in bank.match_counts("b", days=1, max_entries=1).entries] == [first]
    with pytest.raises(InvalidInput, match="days"):
        bank.match_counts("b", days=0)
    with pytest.raises(InvalidInput, match="max_entries: must be 0 to 1000"):
        bank.match_counts("b", days=1, max_entries=1001)


def test_withdrawn_entries_take_no_place_among_those_with_most_matches(bank: BankStore) -> None:
    entries = ids(bank)
    bank.add_match_counts({MatchKey("b", e, BankMode.ENFORCE): 9 - e for e in entries})
    bank.withdraw_entries("b", entries[:3])
    counts = bank.match_counts("b", days=1, max_entries=2)
    assert [count.entry.id for count in counts.entries] == entries[3:]
    assert (counts.matched_entries, counts.median) == (5, 9 - entries[2])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 1000])
def test_pages_together_are_the_whole(bank: BankStore, size: int) -> None:
    bank.create_bank("other")
    bank.import_entries("other", list_file(hex_list([5, 3, 1, 2, 4])))
    same = "".join(f"md5,{'0f' * 16},e{n}\n" for n in range(5))
    bank.create_bank("same")
    bank.import_entries("same", list_file(f"algorithm,signal,external_id\n{same}"))
    mine = sorted(entry for bank_id, entry in live(bank) if bank_id == "b")
    bank.add_match_counts({MatchKey("b", e, BankMode.ENFORCE): 9 - e for e in mine})
    # A changed entry gets a newer version, which must not move it.
    bank.quarantine_entries("b", mine[:1])

    def counts(token: str) -> BankMatches:
        return bank.match_count_page("b", days=1, page_size=size, page_token=token)

    def pairs(token: str) -> Overlap:
        return bank.overlap("b", "other", max_pairs=size, page_token=token)

    def equal(token: str) -> EntryPage:
        near = EntrySignal("md5", b"\x0f" * 16)
        return bank.list_entries("same", EntryFilter(near=near), page_size=size, page_token=token)

    whole = read(counts)
    assert [count.entry.id for page in whole for count in page.entries] == mine
    assert [page.matched_entries for page in whole] == [5] + [0] * (len(whole) - 1)
    pages = read(pairs)
    assert [entry.id for page in pages for entry, _ in page.pairs] == mine
    assert [page.shared for page in pages] == [5] + [0] * (len(pages) - 1)
    found = read(equal)
    assert len({entry.id for page in found for entry in page.entries}) == 5
    assert {page.total_entries for page in found} == {5}
    assert {distance for page in found for distance in page.distances} == {0.0}
    for listed in (whole, pages, found):
        assert len(listed) == -(-5 // size)


P = TypeVar("P", BankMatches, Overlap, EntryPage)


def read(page_at: Callable[[str], P]) -> list[P]:
    """Read every page of a list."""
    pages = [page_at("")]
    while pages[-1].next_page_token:
        pages.append(page_at(pages[-1].next_page_token))
    return pages


def test_dry_runs_take_no_lock(
    bank: BankStore, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 100)
    revision = bank.head().revision
    first, *others = ids(bank)
    bank.withdraw_entries("b", [first])
    with closing(BankStore(store_url)) as writer, writer._database.write():
        assert bank.withdraw_entries("b", others, dry_run=True).signals == len(others)
        assert bank.rollback_bank("b", revision, dry_run=True).restored_entries == 1
        for replace in (False, True):
            options = ImportOptions(dry_run=True, replace=replace)
            summary = bank.import_entries("b", list_file(hex_list([5, 9])), options).summary
            withdrawn = len(others) - 1 if replace else 0
            assert (summary.new_entries, summary.withdrawn_entries) == (1, withdrawn)
    assert bank.head().revision == revision + 1
    assert ids(bank) == others
