"""Values on both sides of a bound: revisions, page sizes, keys of the tally."""

import pytest

from featsvc.banks import tally
from featsvc.banks.records import BankMode
from featsvc.banks.results import MatchKey
from featsvc.banks.sql.pages import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, check_page_size
from featsvc.banks.store import BankStore
from featsvc.errors import InvalidInput
from tests.banks.lists import hex_list, ids, list_file, live


@pytest.fixture
def bank(bank: BankStore) -> BankStore:
    bank.import_entries("b", list_file(hex_list(range(1, 4))))
    return bank


def test_a_diff_begins_after_the_older_revision_and_ends_with_the_newer(bank: BankStore) -> None:
    first, second, third = ids(bank)
    withdrawals = [bank.withdraw_entries("b", [entry]).revision for entry in (first, second, third)]
    changes = bank.diff_revisions("b", withdrawals[0], withdrawals[1]).changes
    assert [change.entry.id for change in changes] == [second]


@pytest.mark.parametrize("release", [False, True])
def test_rollback_restores_a_quarantine(bank: BankStore, release: bool) -> None:
    first = ids(bank)[0]
    if release:
        bank.quarantine_entries("b", [first])
    revision = bank.head().revision
    bank.quarantine_entries("b", [first], release=release)
    bank.rollback_bank("b", revision)
    assert live(bank)["b", first].quarantined is release
    assert bank.diff_revisions("b", revision).total_changes == 0


def test_page_sizes() -> None:
    assert check_page_size(0) == DEFAULT_PAGE_SIZE
    assert check_page_size(MAX_PAGE_SIZE) == MAX_PAGE_SIZE
    for size in (-1, MAX_PAGE_SIZE + 1):
        with pytest.raises(InvalidInput, match="page_size"):
            check_page_size(size)


def test_a_full_tally_still_counts_its_keys(
    bank: BankStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "MAX_KEYS", 2)
    keys = [MatchKey("b", entry, BankMode.ENFORCE) for entry in ids(bank)]
    match_tally = tally.MatchTally(bank)
    match_tally.add(keys + keys)
    match_tally.flush()
    counts = bank.match_counts("b", days=1)
    assert (counts.matched_entries, sum(counts.total.values())) == (2, 4)
