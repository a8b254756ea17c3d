"""A killed import leaves all of its list or nothing, and can be run again.

By default it is killed a few times; for a hundred kills in lists of 200,000 rows run:

    TEST_KILLS=100 TEST_KILL_ROWS=200000 pytest tests/banks/test_kill.py --timeout 3600
"""

import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from sqlalchemy import func, select

from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.sql.schema import entries, entry_signals
from featsvc.banks.store import BankStore
from tests.banks.databases import DATABASES, PostgresServer

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
        of_bank = entries.c.bank_key == view.bank_key("b")
        counted = select(func.count()).select_from(entries).where(of_bank)
        live = view.connection.scalar(counted.where(entries.c.removed_change.is_(None)))
        signals = view.connection.scalar(counted.join(entry_signals))
    assert bank.entry_count in (0, ROWS)
    assert live == signals == bank.entry_count
    imports = [line for line in logged if line.action == "import"]
    assert [line.added_entries for line in imports] == ([ROWS] if bank.entry_count else [])
    assert store.list_entries("b", page_size=1).total_entries == bank.entry_count
    return bank.entry_count == ROWS
