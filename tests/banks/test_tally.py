"""Match counts are written to the store, and kept while it is away."""

from pathlib import Path

import pytest

from featsvc.banks.records import BankMode
from featsvc.banks.results import MatchKey
from featsvc.banks.store import BankStore
from featsvc.banks.tally import MatchTally
from featsvc.errors import Unavailable
from tests.banks.databases import PostgresServer
from tests.banks.lists import hex_list, list_file, live
from tests.patience import until


def counted(store: BankStore) -> int:
    return sum(store.match_counts("b", days=1).total.values())


def test_counts_are_written_in_the_background_and_at_the_end(tmp_path: Path) -> None:
    store = BankStore(f"sqlite:///{tmp_path / 'banks.db'}")
    store.create_bank("b")
    store.import_entries("b", list_file(hex_list([1])))
    ((_, entry),) = live(store)
    key = MatchKey("b", entry, BankMode.SHADOW)
    tally = MatchTally(store, interval_s=0.01)
    tally.start()
    tally.add([key, key])
    until(lambda: counted(store) == 2)
    tally.add([key])
    tally.stop()
    assert counted(store) == 3
    store.close()


def test_counts_are_kept_while_the_store_is_away(postgres: PostgresServer) -> None:
    store = BankStore(postgres.create_database())
    store.create_bank("b")
    tally = MatchTally(store)
    tally.add([MatchKey("b", 1, BankMode.ENFORCE)])
    postgres.stop()
    try:
        with pytest.raises(Unavailable):
            tally.flush()
    finally:
        postgres.start()
    tally.add([MatchKey("b", 1, BankMode.ENFORCE)])
    tally.flush()
    assert counted(store) == 2
    store.close()
