"""A store that is copied into another database is the same store, and goes on as the source does.

More examples, and a hundred kills in each direction:

    TEST_HISTORY_EXAMPLES=200 TEST_KILLS=100 pytest tests/banks/test_moving.py --timeout 3600
"""

import copy
import itertools
import multiprocessing
import os
import random
import threading
import time
from contextlib import closing
from multiprocessing.synchronize import Event
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.moving import rows as moving_rows
from featsvc.banks.moving import target as moving_target
from featsvc.banks.moving.store_copy import CopyProgress, copy_store
from featsvc.banks.records import BankMode, BankSettings, ChangeContext, EntryEdit, EntrySignal
from featsvc.banks.results import ImportOptions, ImportResult, MatchKey
from featsvc.banks.sql import large_changes, schema
from featsvc.banks.store import BankStore
from featsvc.errors import Unavailable
from tests.banks.lists import exported, hex_list, list_file, live
from tests.banks.moves import Ends, rows, seen, structure, tables
from tests.banks.record_store import write
from tests.banks.test_history import Model, bank_settings, steps
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("TEST_HISTORY_EXAMPLES", "3"))
KILLS = int(os.environ.get("TEST_KILLS", "2"))
RETRIED = ChangeContext("ann", "once", "request-1")


def first_import(store: BankStore) -> ImportResult:
    """Import as one call that may be repeated."""
    return store.import_entries("a", list_file(hex_list([7, 8, 9])), context=RETRIED)


def write_all(store: BankStore) -> ImportResult:
    """Fill every table: vectors, variants, decisions, answers, match counts, a deleted bank."""
    write(store)
    result = first_import(store)
    ids = [entry.id for entry in store.list_entries("a").entries]
    store.edit_entries("a", ids[:2], EntryEdit(note="ünïcode \n\t\\N", add_labels=("l",)))
    store.withdraw_entries("a", ids[2:3])
    store.add_match_counts({MatchKey("a", ids[0], BankMode.SHADOW): 3})
    store.create_bank("gone")
    store.add_entries("gone", [ImportRow(0, (EntrySignal("md5", b"\x00\xff" * 8),))])
    store.delete_bank("gone", force=True)
    return result


def copied(source: str, target: str, **options: Any) -> BankStore:
    """Copy, and return the store of the copy."""
    done = copy_store(source, target, **options)
    assert done.differences == []
    return BankStore(target)


def test_a_copy_has_and_goes_on_as_its_source(ends: Ends) -> None:
    @settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
    @given(
        made=bank_settings,
        before=st.lists(steps, max_size=10),
        after=st.lists(steps, max_size=5),
    )
    def law(made: BankSettings, before: list[Any], after: list[Any]) -> None:
        url, target = ends.source(), ends.target()
        store = BankStore(url)
        store.create_bank("other")
        model = Model(store, made)
        for step in before:
            model.step(*step)
        with closing(store), closing(copied(url, target)) as moved:
            assert rows(target) == rows(url)
            assert seen(moved) == seen(store)
            theirs = copy.copy(model)
            theirs.store, theirs.states = moved, list(model.states)
            for step in after:
                for each in (model, theirs):
                    each.step(*step)
            assert rows(target, times=False) == rows(url, times=False)
            assert seen(moved, times=False) == seen(store, times=False)

    law()


def test_a_copy_has_everything_and_its_next_changes_are_those_of_the_source(ends: Ends) -> None:
    url, target = ends.source(), ends.target()
    store = BankStore(url)
    first = write_all(store)
    held = rows(url)
    assert [name for name, found in held.items() if not found] == ["pending_change"]
    with closing(store), closing(copied(url, target)) as moved:
        assert rows(target) == held
        assert seen(moved) == seen(store)
        assert moved.head().store_id not in ("", store.head().store_id)
        for each in (store, moved):
            assert first_import(each) == first, "a retry gets the first answer"
        assert rows(target) == held
        for each in (store, moved):
            each.create_bank("new")
            each.add_entries("new", [ImportRow(0, (EntrySignal("md5", b"\x02" * 16),))])
            for revision in range(each.head().revision, 0, -3):
                each.rollback_bank("a", revision)
            each.import_entries("a", list_file(hex_list(range(20))), ImportOptions(replace=True))
        assert rows(target, times=False) == rows(url, times=False)
        assert seen(moved, times=False) == seen(store, times=False)


def test_a_store_of_nothing_is_copied(ends: Ends) -> None:
    url, target = ends.source(), ends.target()
    with closing(BankStore(url)) as store:
        store.head()
        with closing(copied(url, target)) as moved:
            moved.create_bank("b")
            assert moved.head().revision == 1


def test_a_copy_has_the_indexes_and_references_of_a_store_that_was_made_by_itself(
    ends: Ends,
) -> None:
    url, target, plain = ends.source(), ends.target(), ends.target()
    with closing(BankStore(url)) as store:
        write_all(store)
    copied(url, target).close()
    with closing(BankStore(plain)) as store:
        store.head()
    assert tables(target) == tables(plain)
    assert structure(target) == structure(plain)


def test_every_table_is_copied() -> None:
    names = {table.name for table in moving_rows.TABLES}
    by_hand = {"head", "pending_change"}
    assert names | by_hand == {table.name for table in schema.metadata.sorted_tables}
    assert not names & by_hand


def test_rows_of_a_large_change_that_was_killed_are_left_out(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, target = ends.source(), ends.target()
    store = BankStore(url)
    database, discard = store._database, large_changes._discard_pending
    store.create_bank("b")
    store.import_entries("b", list_file(hex_list(range(30))))
    begin, calls, waits = database._begin_write, itertools.count(), itertools.cycle([True, False])

    def killed(*arguments: Any) -> Any:
        if next(calls) == 5:
            raise InterruptedError
        return begin(*arguments)

    with monkeypatch.context() as patch:
        for name in ("LARGE_VERSIONS", "PIECE_VERSIONS", "PIECE_REMOVALS"):
            patch.setattr(large_changes, name, 4 * name.startswith("PIECE"))
        patch.setattr(database, "_begin_write", killed)
        patch.setattr(database, "_writers_wait", lambda: next(waits))
        patch.setattr(large_changes, "_discard_pending", lambda *_: None)
        with pytest.raises(InterruptedError):
            store.import_entries(
                "b",
                list_file(hex_list(range(20, 60))),
                ImportOptions(replace=True, allow_withdrawn=30),
            )
    with closing(store), closing(copied(url, target)) as moved:
        assert rows(url)["pending_change"], "nothing was left of the large change"
        assert rows(target)["pending_change"] == []
        assert len(live(moved)) == 30
        with database.session() as connection:
            discard(database, connection)
        assert rows(target) == rows(url)


def test_what_is_written_to_the_source_meanwhile_does_not_matter(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving_rows, "CHUNK_ROWS", 100)
    url, target = ends.source(), ends.target()
    store = BankStore(url)
    store.create_bank("b")
    store.import_entries("b", list_file(hex_list(range(1000))))
    stopped, written = threading.Event(), threading.Event()

    def add() -> None:
        for number in itertools.count(10_000):
            if stopped.is_set():
                return
            store.import_entries("b", list_file(hex_list([number])))
            written.set()

    def wait(_: CopyProgress) -> None:
        written.clear()
        assert written.wait(PATIENCE_S)

    writer = threading.Thread(target=add)
    writer.start()
    try:
        moved = copied(url, target, on_progress=wait)
    finally:
        stopped.set()
        writer.join()
    with closing(store), closing(moved):
        revision = moved.head().revision
        assert store.head().revision > revision
        assert exported(moved, "b", "jsonl") == exported(store, "b", "jsonl", revision)
        log = store.list_revisions(page_size=1000).revisions
        assert moved.list_revisions(page_size=1000).revisions == log[-revision:]


def copy_in_small_pieces(source: str, target: str, begun: Event) -> None:
    moving_rows.CHUNK_ROWS, moving_target.PIECE_CHUNKS = 40, 1
    begun.set()
    copy_store(source, target)


def test_a_killed_copy_goes_on(ends: Ends) -> None:
    rng = random.Random(17)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.banks.test_moving"])
    url = ends.source()
    with closing(BankStore(url)) as store:
        write_all(store)
        store.create_bank("many")
        for numbers in (range(3000), range(1500, 4500)):
            options = ImportOptions(replace=True, allow_withdrawn=3000)
            store.import_entries("many", list_file(hex_list(numbers), chunk_bytes=1 << 16), options)
    held, duration, unfinished = rows(url), 0.0, 0
    for number in range(KILLS + 1):
        target, begun = ends.target(), context.Event()
        process = context.Process(target=copy_in_small_pieces, args=(url, target, begun))
        process.start()
        assert begun.wait(PATIENCE_S)
        started = time.monotonic()
        if number:
            time.sleep(rng.uniform(0, duration))
            process.kill()
        process.join()
        duration = duration or time.monotonic() - started
        if number == 0 or ("head" in tables(target) and rows(target)["head"]):
            assert rows(target) == held  # it was finished
            continue
        if "unfinished_copy" in tables(target):
            unfinished += 1
            with closing(BankStore(target)) as store, pytest.raises(Unavailable, match="unfinish"):
                store.head()
        done = copy_store(url, target)
        assert done.differences == []
        assert rows(target) == held
    print(f"{KILLS} kills, {unfinished} left an unfinished copy")  # noqa: T201 (for pytest -s)
