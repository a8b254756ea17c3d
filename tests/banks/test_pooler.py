"""Behind a real pgbouncer: all works in session mode, everything is refused in the other modes."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from featsvc.banks.store import BankStore
from featsvc.errors import Unavailable
from tests.banks.lists import hex_list, list_file, live
from tests.banks.pooler import PoolMode, pooler, requires_pgbouncer
from tests.banks.record_store import read, write

pytestmark = requires_pgbouncer

WRITERS = 6


def add_many(store: BankStore, writer: int) -> set[bytes]:
    """Import lists into a bank of the writer, one after the other; return what they hold."""
    bank = f"bank-{writer}"
    store.create_bank(bank)
    numbers = range(writer * 1000, writer * 1000 + 60)
    for start in numbers[::10]:
        store.import_entries(bank, list_file(hex_list(range(start, start + 10))))
    return {number.to_bytes(32) for number in numbers}


@pytest.mark.parametrize("settings", [{}, {"server_round_robin": 1}])
def test_in_session_mode_every_change_is_in_its_own_bank(
    url: str, settings: dict[str, object]
) -> None:
    with pooler(url, "session", settings) as pooled, closing(BankStore(pooled)) as store:
        with ThreadPoolExecutor(WRITERS) as threads:
            added = list(threads.map(lambda writer: add_many(store, writer), range(WRITERS)))
        held: dict[str, set[bytes]] = {}
        for (bank, _), entry in live(store).items():
            held.setdefault(bank, set()).add(entry.signals[0].value)
    assert held == {f"bank-{writer}": values for writer, values in enumerate(added)}


@pytest.mark.parametrize("settings", [{}, {"server_round_robin": 1}, {"default_pool_size": 1}])
@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_other_modes_are_refused_at_the_start(
    url: str, mode: PoolMode, settings: dict[str, object]
) -> None:
    with closing(BankStore(url)) as direct:
        write(direct)
        before = read(direct)
        with pooler(url, mode, settings) as pooled, closing(BankStore(pooled)) as store:
            for call in (
                store.head,
                lambda: store.create_bank("c"),
                lambda: store.import_entries("a", list_file(hex_list([9]))),
                store.check_writable,
            ):
                with pytest.raises(Unavailable, match=r"pooler|transaction blocks not allowed"):
                    call()
        assert read(direct) == before


def test_a_pooler_that_changes_its_mode_is_noticed(url: str) -> None:
    """Its connections are made again, to sessions that go to others between transactions."""
    with closing(BankStore(url)) as direct:
        write(direct)
        with pooler(url, "session") as pooled, closing(BankStore(pooled)) as store:
            before = live(store)
            assert store.create_bank("c")
        with pooler(url, "transaction") as pooled, closing(BankStore(pooled)) as again:
            # As a store that has looked at its server already.
            again._database._ready = again._database._was_ready = True
            refused = 0
            with ThreadPoolExecutor(WRITERS) as threads:
                for error in threads.map(lambda number: _error(again, number), range(60)):
                    refused += error is not None
            assert refused
        after = live(direct)
        assert {key: after[key] for key in before} == before
        banks = {bank.id: bank.entry_count for bank in direct.list_banks().banks}
        for number in range(60):
            found = [e.signals[0].value for (b, _), e in after.items() if b == f"t{number}"]
            assert found in ([], [number.to_bytes(32)])
            assert banks.get(f"t{number}", 0) == len(found)


def _error(store: BankStore, number: int) -> Exception | None:
    try:
        store.create_bank(f"t{number}")
        store.import_entries(f"t{number}", list_file(hex_list([number])))
    except Unavailable as exc:
        return exc
    return None
