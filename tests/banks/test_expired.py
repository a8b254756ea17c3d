"""Expired entries are marked, filtered and counted; an export and import does not revive them."""

from datetime import UTC, datetime

import pytest

from featsvc.banks.lists.formats import FORMATS
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import EntrySignal
from featsvc.banks.results import EntryFilter, ImportOptions
from featsvc.banks.store import BankStore
from tests.banks.lists import exported, list_file, live

PAST, FUTURE = datetime(2020, 1, 1, 1, 2, 3, 4, UTC), datetime(2990, 1, 1, tzinfo=UTC)
EXPIRY = {"never": None, "past": PAST, "future": FUTURE}
WRITTEN = [known.name for known in FORMATS.values() if known.write]


@pytest.fixture
def bank(bank: BankStore) -> BankStore:
    rows = [
        ImportRow(0, (EntrySignal("pdq", number.to_bytes(32, "big")),), name, expire_time=moment)
        for number, (name, moment) in enumerate(EXPIRY.items(), 1)
    ]
    bank.add_entries("b", rows)
    return bank


def test_a_filter_selects_the_expired_or_the_others(bank: BankStore) -> None:
    def names(**conditions: object) -> set[str]:
        page = bank.list_entries("b", EntryFilter(**conditions))  # type: ignore[arg-type]
        assert page.total_entries == len(page.entries)
        return {entry.external_id for entry in page.entries}

    assert names() == {*EXPIRY}
    assert names(expired=True) == {"past"}
    assert names(expired=False) == {"never", "future"}
    near = EntrySignal("pdq", bytes(32))
    assert names(expired=True, near=near, max_distance=256) == {"past"}
    bank.withdraw_entries("b", (), ["past"])
    assert names(expired=True) == set()
    assert names(expired=True, show_withdrawn=True) == names(expired=True, revision=2) == {"past"}


def test_live_expired_entries_are_counted(bank: BankStore) -> None:
    bank.create_bank("other")
    assert bank.get_bank("b").expired_entries == 1
    assert [each.expired_entries for each in bank.list_banks().banks] == [1, 0]
    assert bank.update_bank("b", {"description": "d"}).expired_entries == 1
    bank.withdraw_entries("b", (), ["past"])
    assert bank.get_bank("b").expired_entries == 0
    bank.rollback_bank("b", 2)
    assert bank.get_bank("b").expired_entries == 1


@pytest.mark.parametrize("format_name", WRITTEN)
def test_an_export_and_import_revives_nothing(bank: BankStore, format_name: str) -> None:
    content, dropped = exported(bank, "b", format_name), bank.export_entries("b", format_name)
    carries = "expire_time" not in FORMATS[format_name].drops
    assert ("expired entries" in dropped.dropped_fields) != carries
    bank.create_bank("copy")
    summary = bank.import_entries("copy", list_file(content)).summary
    assert (summary.new_entries, summary.expired_entries) == ((3, 1) if carries else (2, 0))
    copied = [entry for (bank_id, _), entry in live(bank).items() if bank_id == "copy"]
    assert bank.get_bank("copy").expired_entries == summary.expired_entries
    if carries:
        assert {entry.external_id: entry.expire_time for entry in copied} == EXPIRY
        again = bank.import_entries("b", list_file(content)).summary
        assert (again.unchanged_entries, again.expired_entries) == (3, 1)


def test_formats_without_times_name_what_is_left(bank: BankStore) -> None:
    assert {"expired entries", "expire_time"} <= {*bank.export_entries("b", "tx").dropped_fields}
    bank.withdraw_entries("b", (), ["future"])
    dropped = {*bank.export_entries("b", "tx").dropped_fields}
    assert dropped & {"expired entries", "expire_time"} == {"expired entries"}
    bank.withdraw_entries("b", (), ["past"])
    assert "expired entries" not in bank.export_entries("b", "tx").dropped_fields
    assert b"\n" in exported(bank, "b", "tx")


def test_joined_rows_of_a_file_are_one_expired_entry(bank: BankStore) -> None:
    header = "algorithm,signal,external_id,expire_time\n"
    row = f"pdq,{9:064x},joined,2020-01-01\nmd5,{9:032x},joined,2020-01-01\n"
    file = list_file(header + row + f"pdq,{8:064x},,2020-01-01\n")
    summary = bank.import_entries("b", file, ImportOptions(dry_run=True)).summary
    assert (summary.new_entries, summary.expired_entries) == (2, 2)
