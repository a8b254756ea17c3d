"""A killed import, rollback or replacement leaves all of its change or nothing, and runs again.

By default each is killed a few times; for a hundred kills, of imports of 200,000 rows, run:

    TEST_KILLS=100 TEST_KILL_ROWS=200000 pytest tests/banks/test_kill.py --timeout 3600
"""

import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from sqlalchemy import func, select

from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.results import ImportOptions
from featsvc.banks.sql import large_changes
from featsvc.banks.sql.schema import entries, entry_signals, live_entries, pending_change
from featsvc.banks.store import BankStore
from tests.banks.databases import DATABASES, PostgresServer
from tests.banks.lists import hex_list, list_file, log_since
from tests.patience import PATIENCE_S

KILLS = int(os.environ.get("TEST_KILLS", "4"))
ROWS = int(os.environ.get("TEST_KILL_ROWS", "20000"))


def chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(2**18):
            yield chunk


def import_list(url: str, path: Path) -> None:
    store = BankStore(url)
    store.import_entries("b", ListFile(chunks(path), name=path.name, format="pdq-text"))
    store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = random.Random(11)
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{rng.randbytes(32).hex()}\n" for _ in range(ROWS)))
    return path


@pytest.fixture(params=DATABASES)
def new_store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[], AbstractContextManager[tuple[str, BankStore]]]:
    """Return a factory of empty stores: a growing store would make the test slow."""

    @contextmanager
    def make() -> Iterator[tuple[str, BankStore]]:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path / 'banks.db'}"
        else:
            server: PostgresServer = request.getfixturevalue("postgres")
            url = server.create_database()
        store = BankStore(url)
        store.create_bank("b")
        yield url, store
        store.close()
        if request.param == "sqlite":
            for file in tmp_path.glob("banks.db*"):
                file.unlink()
        else:
            server.drop_database(url)

    return make


@pytest.mark.slow
def test_a_killed_import_leaves_all_or_nothing(
    new_store: Callable[[], AbstractContextManager[tuple[str, BankStore]]], path: Path
) -> None:
    rng = random.Random(12)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.banks.test_kill"])

    def started(url: str) -> BaseProcess:
        process = context.Process(target=import_list, args=(url, path))
        process.start()
        return process

    with new_store() as (url, _):
        begun = time.monotonic()
        started(url).join()
        duration = time.monotonic() - begun
    landed = 0
    for _ in range(KILLS):
        with new_store() as (url, store):
            process = started(url)
            time.sleep(rng.uniform(0, duration * 1.05))
            process.kill()  # SIGKILL; does nothing if the process has ended
            process.join()
            landed += check(store)
            result = store.import_entries(
                "b", ListFile(chunks(path), name=path.name, format="pdq-text")
            )
            assert result.summary.new_entries in (0, ROWS)
            assert check(store)
            log = store.list_revisions().revisions
            assert [line.revision for line in log] == [2, 1]
    print(f"{KILLS} kills of {ROWS} rows, {landed} after the commit")  # noqa: T201 (for pytest -s)


def check(store: BankStore) -> bool:
    """Return whether the list is there; the log, the entries and their counts must agree."""
    with store.view() as view:
        bank = view.bank("b")
        logged = view.revision_page("b", before=2**62, limit=10)
        of_bank = live_entries(view.bank_key("b"))
        counted = select(func.count()).select_from(entries).where(of_bank)
        live = view.connection.scalar(counted)
        signals = view.connection.scalar(counted.join(entry_signals))
    assert bank.entry_count in (0, ROWS)
    assert live == signals == bank.entry_count
    imports = [line for line in logged if line.action == "import"]
    assert [line.added_entries for line in imports] == ([ROWS] if bank.entry_count else [])
    assert store.list_entries("b", page_size=1).total_entries == bank.entry_count
    return bank.entry_count == ROWS


ENTRIES = 2_000
ALL = ImportOptions(replace=True, allow_withdrawn=ENTRIES)
LISTS = (range(ENTRIES), range(ENTRIES // 2, ENTRIES + ENTRIES // 2))


def change_all(
    url: str, action: str, target: int, revisions: tuple[int, int], begun: Event
) -> None:
    """Make the bank hold one of the two lists, in small pieces; say when it begins."""
    large_changes.LARGE_VERSIONS = 0
    large_changes.PIECE_VERSIONS = large_changes.PIECE_REMOVALS = 100
    store = BankStore(url)
    store.head()
    begun.set()
    if action == "rollback":
        store.rollback_bank("b", revisions[target])
    else:
        content = list_file(hex_list(LISTS[target]), chunk_bytes=1 << 16)
        store.import_entries("b", content, ALL)
    store.close()


class Others:
    """Adds an entry at a time to another bank; on SQLite that lets a large change pause."""

    def __init__(self, store: BankStore, added: int) -> None:
        self._store = store
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.added = added

    def __enter__(self) -> "Others":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._store.import_entries("others", list_file(hex_list([self.added])))
            self.added += 1
            self._stopped.wait(0.01)


def held(store: BankStore) -> set[int]:
    """Return the numbers of the live hashes of the bank; each is live once, and all are counted."""
    with store.view() as view:
        bank = view.bank("b")
        of_bank = live_entries(view.bank_key("b"))
        values = select(entry_signals.c.value).join(entries).where(of_bank)
        numbers = [int.from_bytes(value, "big") for value in view.connection.scalars(values)]
    assert len(numbers) == len({*numbers}) == bank.entry_count == bank.signal_counts["pdq"]
    return {*numbers}


@pytest.mark.slow
@pytest.mark.parametrize("action", ["rollback", "replace"])
def test_a_killed_large_change_is_made_whole_or_not_at_all(store_url: str, action: str) -> None:
    rng = random.Random(13)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.banks.test_kill"])
    store = BankStore(store_url)
    for bank in ("b", "others"):
        store.create_bank(bank)
    for numbers in LISTS:
        store.import_entries("b", list_file(hex_list(numbers)), ALL)
    revisions, added = (3, 4), 0
    current, landed, pieces, duration = 1, 0, 0, 0.0
    for number in range(KILLS + 1):
        target, begun = 1 - current, context.Event()
        process = context.Process(
            target=change_all, args=(store_url, action, target, revisions, begun)
        )
        with Others(store, added) as others:
            process.start()
            assert begun.wait(PATIENCE_S)
            started = time.monotonic()
            if number:
                time.sleep(rng.uniform(0, duration))
                process.kill()
            process.join()
            duration = duration or time.monotonic() - started
        now = held(store)
        assert now in ({*LISTS[0]}, {*LISTS[1]})
        landed += now == {*LISTS[target]}
        current = target if now == {*LISTS[target]} else current
        added = others.added
        assert store.get_bank("others").entry_count == added
        with store.view() as view:
            pieces += view.connection.execute(select(pending_change)).first() is not None
    print(  # noqa: T201 (for pytest -s)
        f"{KILLS} kills of a {action}: {pieces} left pieces, {landed - 1} came after the commit"
    )
    begun = context.Event()  # kept: a child opens it by name
    last = context.Process(
        target=change_all, args=(store_url, action, 1 - current, revisions, begun)
    )
    last.start()
    last.join()
    assert last.exitcode == 0
    assert held(store) == {*LISTS[1 - current]}
    with store.view() as view:
        assert view.connection.execute(select(pending_change)).first() is None
        log = [line.revision for line in log_since(view, 0)]
        written = view.connection.scalars(select(entries.c.added_change).distinct())
        changes = {*written}
    assert log == [*range(1, len(log) + 1)]
    assert len(changes) <= len(log)
    store.close()
