"""Counts of banks that are wrong are found and mended; right ones are left alone."""

import json
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.banks.records import EntryEdit
from featsvc.banks.sql.schema import banks
from featsvc.banks.store import BankStore
from featsvc.errors import NotFound, Unavailable
from featsvc.matching.follower import Follower
from tests.banks.record_store import write

wrong_counts = st.tuples(
    st.integers(0, 9),
    st.dictionaries(st.sampled_from(["pdq", "md5", "phash-16", "unknown"]), st.integers(1, 9)),
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(wrong=st.dictionaries(st.sampled_from(["a", "b"]), wrong_counts))
def test_wrong_counts_are_mended(
    store: BankStore, wrong: dict[str, tuple[int, dict[str, int]]]
) -> None:
    """The store's own counts, kept by every change, are the oracle."""
    if not store.list_banks().banks:
        write(store)
        first, second = store.list_entries("a").entries[:2]
        store.edit_entries("a", [first.id], EntryEdit(withdrawn=True))
        store.quarantine_entries("a", [second.id])
    before = store.list_banks().banks
    assert store.recount() == ()
    right = {bank.id: (bank.entry_count, dict(bank.signal_counts)) for bank in before}
    with store._database.write() as connection:
        for bank, (entries, signals) in wrong.items():
            connection.execute(
                sa.update(banks)
                .where(banks.c.id == bank)
                .values(entry_count=entries, signal_counts=json.dumps(signals))
            )
    differing = sorted(bank for bank, counts in wrong.items() if counts != right[bank])
    found = store.recount(dry_run=True)
    assert [bank.bank_id for bank in found] == differing
    assert {b.bank_id: (b.entries_before, b.signals_before) for b in found} == {
        bank: wrong[bank] for bank in differing
    }
    assert (store.list_banks().banks == before) == (not differing)
    assert store.recount() == found
    assert store.list_banks().banks == before
    assert store.recount() == ()


def test_a_store_is_served_again_once_it_is_counted(store: BankStore) -> None:
    write(store)
    with store._database.write() as connection:
        connection.execute(sa.update(banks).values(entry_count=banks.c.entry_count + 1))
    follower = Follower(store)
    with pytest.raises(Unavailable, match="featsvc bank recount"):
        follower.start()
    store.recount()
    follower.start()
    try:
        assert follower.snapshot.revision == store.head().revision
    finally:
        follower.stop()


def test_half_restored_stores_are_not_counted(store_url: str) -> None:
    with closing(BankStore(store_url)) as store:
        write(store)
        before = store.list_banks().banks
        with store._database.write() as connection:
            connection.execute(sa.text("DELETE FROM entry_signals"))
        with pytest.raises(Unavailable, match="half restored"):
            store.recount()
        assert store.list_banks().banks == before


def test_no_store_is_begun_to_be_counted(store_url: str) -> None:
    for _ in range(2):
        with closing(BankStore(store_url, creates=False)) as store:
            with pytest.raises(NotFound, match="check the URL"):
                store.recount()
            with pytest.raises(NotFound):
                store.head()
    path = sa.make_url(store_url).database
    assert store_url.startswith("postgresql") or not Path(str(path)).exists()
    with closing(BankStore(store_url)) as store:
        store.create_bank("b")
    with closing(BankStore(store_url, creates=False)) as store:
        assert store.recount() == ()
