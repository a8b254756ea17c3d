"""Values on both sides of a bound: revisions, page sizes, keys of the tally, odd texts."""

import base64
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from featsvc.banks import tally
from featsvc.banks.records import BankMode, ChangeContext, EntryEdit
from featsvc.banks.results import EntryFilter, MatchKey
from featsvc.banks.sql.pages import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, check_page_size
from featsvc.banks.store import BankStore
from featsvc.errors import FeatsvcError, InvalidInput
from tests.banks.databases import PostgresServer
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


def _token(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


TEXTS: dict[str, Callable[[BankStore, str], object]] = {
    "create_bank": lambda store, text: store.create_bank(text),
    "get_bank": lambda store, text: store.get_bank(text),
    "update_bank": lambda store, text: store.update_bank(text, {"display_name": "x"}),
    "display_name": lambda store, text: store.update_bank("b", {"display_name": text}),
    "delete_bank": lambda store, text: store.delete_bank(text),
    "get_entry": lambda store, text: store.get_entry(text, 1),
    "list_entries": lambda store, text: store.list_entries(text),
    "export": lambda store, text: store.export_entries(text, "csv"),
    "overlap": lambda store, text: store.overlap("b", text),
    "import": lambda store, text: store.import_entries(text, list_file(hex_list([7]))),
    "add": lambda store, text: store.add_entries(text, []),
    "withdraw": lambda store, text: store.withdraw_entries("b", (), [text]),
    "source": lambda store, text: store.withdraw_entries("b", [1], source=text),
    "restore": lambda store, text: store.restore_entries(text, [1]),
    "edit": lambda store, text: store.edit_entries(text, [1], EntryEdit(quarantined=True)),
    "note": lambda store, text: store.edit_entries("b", [1], EntryEdit(note=text)),
    "log": lambda store, text: store.list_revisions(text),
    "diff": lambda store, text: store.diff_revisions(text, 1),
    "rollback": lambda store, text: store.rollback_bank(text, 1),
    "counts": lambda store, text: store.match_counts(text, days=1),
    "find external id": lambda store, text: _find(store, external_id=text),
    "find source": lambda store, text: _find(store, source=text),
    "find label": lambda store, text: _find(store, labels=(text,)),
    "actor": lambda store, text: store.create_bank("c", None, ChangeContext(actor=text)),
    "request id": lambda store, text: store.create_bank("c", None, ChangeContext("", "", text)),
    "page of banks": lambda store, text: store.list_banks(page_token=_token(text)),
    "page of a diff": lambda store, text: store.diff_revisions("b", 1, page_token=_token(text)),
    "page of entries": lambda store, text: store.list_entries("b", page_token=_token(text)),
    "page of the log": lambda store, text: store.list_revisions("b", page_token=_token(text)),
    "page of an overlap": lambda store, text: store.overlap("b", "b", page_token=_token(text)),
    "page of counts": lambda store, text: store.match_count_page(
        "b", days=1, page_token=_token(text)
    ),
}


def _find(store: BankStore, **conditions: Any) -> object:
    return store.list_entries("b", EntryFilter(**conditions))


def test_a_nul_in_any_text_is_refused(bank: BankStore) -> None:
    """PostgreSQL stores none: what no database holds is not looked for in any."""
    revision = bank.head().revision
    for name, call in TEXTS.items():
        for text in ("\0", "b\0", "\0b", "a\0b", "3 x\0"):
            assert _outcome(call, bank, text).startswith("InvalidInput"), f"{name} {text!r}"
    assert bank.head().revision == revision


ODD_TEXTS = [
    "\\",
    "'",
    '"',
    "%",
    "_",
    "\u2028",
    "\U0010ffff",
    "\x01",
    "\x1f",
    "\x1e",
    "-",
    "${x}",
    "%s",
    "?",
]


def test_odd_texts_are_taken_alike(postgres: PostgresServer, tmp_path: Path) -> None:
    with (
        closing(BankStore(f"sqlite:///{tmp_path / 'banks.db'}")) as sqlite,
        closing(BankStore(postgres.create_database())) as postgresql,
    ):
        for store in (sqlite, postgresql):
            store.create_bank("b")
            store.import_entries("b", list_file(hex_list([1, 2])))
        for name, call in TEXTS.items():
            for text in ODD_TEXTS:
                outcomes = [_outcome(call, store, text) for store in (sqlite, postgresql)]
                assert outcomes[0] == outcomes[1], f"{name} {text!r}"
        assert live(sqlite).keys() == live(postgresql).keys()


def _outcome(call: Callable[[BankStore, str], object], store: BankStore, text: str) -> str:
    """Return the error of a call, or the kind of its result."""
    try:
        return type(call(store, text)).__name__
    except FeatsvcError as exc:
        return f"{type(exc).__name__}: {exc}"
