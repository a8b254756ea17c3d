"""An import that is killed leaves all of its list or nothing, and can be run again.

A few moments here; for a hundred of them in lists of 200,000 rows:

    FEATSVC_KILLS=100 FEATSVC_KILL_ROWS=200000 pytest tests/banks/test_kill.py --timeout 3600
"""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from featsvc.banks.list_file import ListFile
from featsvc.banks.schema import entries, entry_signals
from featsvc.banks.store import BankStore

KILLS = int(os.environ.get("FEATSVC_KILLS", "5"))
ROWS = int(os.environ.get("FEATSVC_KILL_ROWS", "20000"))


def chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(2**18):
            yield chunk


def import_list(url: str, bank: str, path: Path) -> None:
    store = BankStore(url)
    store.import_entries(bank, ListFile(chunks(path), name=path.name))
    store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = random.Random(11)
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{rng.randbytes(32).hex()}\n" for _ in range(ROWS)))
    return path


def test_a_killed_import_leaves_all_or_nothing(store_url: str, path: Path) -> None:
    rng = random.Random(12)
    store = BankStore(store_url)
    store.create_bank("timed")
    started = time.monotonic()
    import_list(store_url, "timed", path)
    duration = time.monotonic() - started
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.banks.test_kill"])
    landed = 0
    for number in range(KILLS):
        bank = f"b{number}"
        store.create_bank(bank)
        process = context.Process(target=import_list, args=(store_url, bank, path))
        process.start()
        time.sleep(rng.uniform(0, duration * 1.1))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        landed += check(store, bank)
        result = store.import_entries(bank, ListFile(chunks(path), name=path.name))
        assert result.summary.new_entries in (0, ROWS)
        assert check(store, bank)
    print(f"{KILLS} kills, {landed} after the commit")  # noqa: T201 (pytest -s shows it)
    revisions = []
    token = ""
    while True:
        page = store.list_revisions(page_size=1000, page_token=token)
        revisions += [line.revision for line in page.revisions]
        token = page.next_page_token
        if not token:
            break
    assert revisions == list(range(store.head().revision, 0, -1))
    store.close()


def check(store: BankStore, bank: str) -> bool:
    """Whether all is there; that the log and the entries themselves agree."""
    with store.view() as view:
        found = view.bank(bank)
        logged = view.revision_page(bank, before=2**62, limit=10)
        of_bank = entries.c.bank_key == view.bank_key(bank)
        counted = select(func.count()).select_from(entries).where(of_bank)
        live = view.connection.scalar(counted.where(entries.c.removed_revision.is_(None)))
        signals = view.connection.scalar(counted.join(entry_signals))
    assert found.entry_count in (0, ROWS)
    assert live == signals == found.entry_count
    imports = [line for line in logged if line.action == "import"]
    assert [line.added_entries for line in imports] == ([ROWS] if found.entry_count else [])
    assert store.list_entries(bank, page_size=1).total_entries == found.entry_count
    return found.entry_count == ROWS
