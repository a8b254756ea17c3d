"""The indexer and followers of its segments, also when they are killed at random moments."""

import gc
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace as replaced
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.banks.results import ImportOptions
from featsvc.banks.store import BankStore
from featsvc.errors import Conflict, Unavailable
from featsvc.matching import follower as follower_module
from featsvc.matching import indexer as indexer_module
from featsvc.matching.building import build_part
from featsvc.matching.follower import Follower
from featsvc.matching.indexer import Indexer, has_indexer
from featsvc.matching.segments import collect, newest_segment, published, write_segment
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from tests.banks.lists import list_file
from tests.banks.restoring import Loader, rows_of_store
from tests.matching.rows import EXACTLY, MODEL, head_at, held, list_of, list_of_both, row, vector
from tests.patience import PATIENCE_S, until

KILLS = int(os.environ.get("TEST_INDEXER_KILLS", "40"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "segments"


@pytest.fixture
def bank(store: BankStore) -> BankStore:
    store.create_bank("b")
    return store


def load(store: BankStore, numbers: range, *, replace: bool = False) -> int:
    file = list_file(list_of(numbers), chunk_bytes=1 << 16)
    return store.import_entries(
        "b", file, ImportOptions(replace=replace, allow_withdrawn=10**9)
    ).revision


def follow(store: BankStore, folder: Path) -> Follower:
    follower = Follower(store, poll_interval_ms=20, segments=folder)
    follower.start()
    return follower


@contextmanager
def working(indexer: Indexer) -> Iterator[None]:
    """Run the indexer on a thread; it has locked its folder when the block begins."""
    stopping = threading.Event()
    thread = threading.Thread(target=indexer.run, args=(stopping,))
    thread.start()
    try:
        until(lambda: has_indexer(indexer.folder))
        yield
    finally:
        stopping.set()
        thread.join()


def test_a_segment_is_built_when_the_newest_is_outdated(bank: BankStore, folder: Path) -> None:
    indexer = Indexer(bank, folder, compact_entries=10)
    assert indexer.build_if_outdated() is None
    load(bank, range(9))
    assert indexer.build_if_outdated() is None
    load(bank, range(9, 12))
    assert indexer.build_if_outdated() is not None
    assert indexer.build_if_outdated() is None
    load(bank, range(12, 20))
    assert indexer.build_if_outdated() is None
    load(bank, range(2), replace=True)
    assert indexer.build_if_outdated() is not None


def test_a_restart_maps_the_segment_and_reads_what_is_newer(bank: BankStore, folder: Path) -> None:
    load(bank, range(20))
    Indexer(bank, folder).build()
    load(bank, range(5, 25), replace=True)
    follower = follow(bank, folder)
    try:
        assert held(follower.snapshot, range(30)) == set(range(5, 25))
        (status,) = follower.status().algorithms
        assert (status.segment_revision, status.delta_signals) == (2, 5)
        assert (status.withdrawn_signals, status.signals) == (5, 20)
        assert status.bytes_mapped >= 20 * 32
    finally:
        follower.stop()


def test_a_new_segment_takes_the_place_of_base_and_delta(bank: BankStore, folder: Path) -> None:
    load(bank, range(5))
    follower = follow(bank, folder)
    try:
        load(bank, range(3, 9), replace=True)
        follower.wait_for(3, PATIENCE_S)
        Indexer(bank, folder).build()
        until(lambda: follower.status().algorithms[0].segment_revision == 3)
        assert follower.status().algorithms[0].delta_signals == 0
        assert held(follower.snapshot, range(10)) == set(range(3, 9))
        load(bank, range(3, 12))
        assert held(follower.wait_for(4, PATIENCE_S), range(15)) == set(range(3, 12))
    finally:
        follower.stop()


def test_a_segment_of_another_history_is_not_served(bank: BankStore, folder: Path) -> None:
    revision = load(bank, range(5))
    write_segment(folder, build_part([row(1, 77)]), head_at(revision, 12345))
    follower = follow(bank, folder)
    try:
        assert held(follower.snapshot, range(80)) == set(range(5))
        assert follower.status().algorithms[0].segment_revision == 0
    finally:
        follower.stop()


@pytest.mark.parametrize("store_id", ["", "0" * 32], ids=["older build", "another store"])
def test_a_segment_without_the_identity_of_the_store_is_built_again(
    bank: BankStore, folder: Path, store_id: str
) -> None:
    load(bank, range(20))
    ours = bank.head()
    part = build_part([row(1, 77)])
    theirs = write_segment(folder, part, replaced(ours, store_id=store_id))
    indexer = Indexer(bank, folder, compact_entries=10)
    follower = follow(bank, folder)
    try:
        assert held(follower.snapshot, range(80)) == set(range(20))
        (built,) = [p for _ in range(4) if (p := indexer.build_if_outdated())]
        assert built != theirs
        until(lambda: follower.status().algorithms[0].segment_revision == ours.revision)
        assert held(follower.snapshot, range(80)) == set(range(20))
        collect(folder)
        assert published(folder) == [built]
    finally:
        follower.stop()


def test_a_segment_that_lacks_entries_is_not_served(
    bank: BankStore, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as one that an older build made of a half-restored store."""
    load(bank, range(5))
    bad = write_segment(folder, build_part([row(1, 0)]), bank.head())
    follower = follow(bank, folder)
    try:
        assert held(follower.snapshot, range(9)) == set(range(5))
        assert follower.status().algorithms[0].segment_revision == 0
        assert f"segment {bad.name} is not what the banks count" in caplog.text
    finally:
        follower.stop()


@pytest.mark.parametrize("missing", ["vector_models", "counts"])
def test_a_segment_is_kept_while_the_store_is_half_restored(
    bank: BankStore, store_url: str, folder: Path, missing: str
) -> None:
    """What is missing is the store's fault: afterwards the segment is served."""
    load(bank, range(5))
    bank.import_entries("b", list_file(list_of_both([7]), name="b.jsonl"))
    whole = rows_of_store(store_url)
    Indexer(bank, folder).build()
    follower = Follower(bank, segments=folder)
    with closing(Loader(store_url)) as loader:
        if missing == "counts":
            damaged = {"banks": [row | {"entry_count": 99} for row in whole["banks"]]}
            loader.load(damaged, ["banks"])
        else:
            loader.load({}, [missing])
        for _ in range(2):
            with pytest.raises(Unavailable, match="half restored"):
                follower._poll()
        loader.load(whole, ["banks", "vector_models"])
    follower._poll()
    assert all(a.segment_revision == 3 for a in follower.status().algorithms)


@pytest.mark.parametrize("same_number", [False, True], ids=["older", "same revision"])
def test_a_restored_backup_is_indexed_once(tmp_path: Path, folder: Path, same_number: bool) -> None:
    """A restored backup has fewer revisions, or other changes under the same number."""
    path, backup = tmp_path / "banks.db", tmp_path / "backup.db"
    store = BankStore(f"sqlite:///{path}")
    store.create_bank("b")
    load(store, range(20))
    store.close()
    shutil.copy(path, backup)
    if same_number:
        other = BankStore(f"sqlite:///{backup}")
        load(other, range(50, 60))
        other.close()
    load(store, range(20, 40))
    indexer = Indexer(store, folder, compact_entries=10)
    assert indexer.build_if_outdated() is not None
    follower = follow(store, folder)
    try:
        until(lambda: follower.status().algorithms[0].segment_revision == 3)
        store.close()
        backup.rename(path)
        restored = {*range(20), *(range(50, 60) if same_number else ())}
        until(lambda: held(follower.snapshot, range(60)) == restored)
        until(lambda: not follower.status().failure)
        (built,) = [p for _ in range(4) if (p := indexer.build_if_outdated())]
        until(lambda: follower.status().algorithms[0].segment_revision == 2 + same_number)
        assert held(follower.snapshot, range(60)) == restored
        gc.collect()
        collect(folder)
        assert published(folder) == [built]
        revision = load(store, range(70, 75))
        assert held(follower.wait_for(revision, PATIENCE_S), range(80)) == {
            *restored,
            *range(70, 75),
        }
        assert follower.status().algorithms[0].segment_revision == 2 + same_number
        again = follow(store, folder)
        again.stop()
        assert again.status().algorithms[0].segment_revision == 2 + same_number
    finally:
        follower.stop()
        store.close()


def test_a_build_that_keeps_failing_is_logged_once(
    bank: BankStore, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(bank, range(20))
    stopping = threading.Event()
    tries = []

    class Failing(Indexer):
        def build_if_outdated(self) -> Path | None:
            tries.append(1)
            if len(tries) == 6:
                stopping.set()
            if len(tries) < 4:
                raise OSError("the disk is full")
            return super().build_if_outdated()

    Failing(bank, folder, compact_entries=10).run(stopping, poll_s=0.01)
    messages = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert messages == ["no segment was built: the disk is full"]
    assert len(published(folder)) == 1


def test_many_changes_are_left_to_the_indexer(
    bank: BankStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "LEAVE_TO_INDEXER_ENTRIES", 50)
    load(bank, range(5))
    follower = follow(bank, folder)
    try:
        # Only the lock: a running indexer would collect the segment that is built below.
        with indexer_module._locked_folder(folder):
            revision = load(bank, range(5, 100))
            until(lambda: follower.status().committed_revision == revision)
            until(lambda: follower.status().staleness_ms >= 200)
            assert follower.status().served_revision == 2
            Indexer(bank, folder).build()
            follower.wait_for(revision, PATIENCE_S)
        assert held(follower.wait_for(revision, PATIENCE_S), range(100)) == set(range(100))
        assert follower.status().staleness_ms == 0
    finally:
        follower.stop()


def test_one_indexer_a_folder(bank: BankStore, folder: Path) -> None:
    with working(Indexer(bank, folder)), pytest.raises(Conflict, match="another one"):
        Indexer(bank, folder).run(threading.Event())
    assert not has_indexer(folder)


def test_many_changes_are_read_without_an_indexer(
    bank: BankStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "LEAVE_TO_INDEXER_ENTRIES", 50)
    follower = follow(bank, folder)
    try:
        revision = load(bank, range(100))
        assert held(follower.wait_for(revision, PATIENCE_S), range(100)) == set(range(100))
    finally:
        follower.stop()


@pytest.mark.slow
@settings(
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 12), st.booleans(), st.booleans()),
        max_size=8,
    )
)
def test_added_withdrawn_and_compacted_in_any_order(
    store: BankStore, tmp_path: Path, changes: list[tuple[int, int, bool, bool]]
) -> None:
    """Each change is an import, which may replace the bank; a segment may be built after it."""
    name = f"b{store.head().revision}"
    folder = tmp_path / name
    store.create_bank(name)
    follower = follow(store, folder)
    expected: set[int] = set()
    try:
        for first, many, replace, compact in changes:
            numbers = range(first, first + many)
            file = list_file(list_of_both(numbers), name="b.jsonl")
            store.import_entries(name, file, ImportOptions(replace=replace, allow_withdrawn=10**9))
            expected = set(numbers) | (set() if replace else expected)
            if compact:
                Indexer(store, folder).build()
                collect(folder)
            served = follower.wait_for(store.head().revision, PATIENCE_S)
            in_bank = replaced(EXACTLY, banks=(name,))
            assert held(served, range(60), in_bank) == expected
            for number in expected:
                assert served.match([Signal(get_algorithm(MODEL), vector(number))], in_bank).matches
    finally:
        follower.stop()


@pytest.mark.slow
def test_the_process_builds_and_ends_on_sigterm(tmp_path: Path, folder: Path) -> None:
    url = f"sqlite:///{tmp_path / 'banks.db'}"
    store = BankStore(url)
    store.create_bank("b")
    load(store, range(30))
    compact = ["--compact-entries", "10"]
    process = subprocess.Popen(
        [sys.executable, "-m", indexer_module.__name__, f"--segments={folder}", *compact],
        env=os.environ | {"FEATSVC_BANKS_URL": url},
    )
    try:
        until(lambda: published(folder))
    finally:
        process.terminate()
        code = process.wait(PATIENCE_S)
    assert code == 0
    newest = newest_segment(published(folder))
    assert newest is not None
    assert newest.revision == 2
    store.close()


@pytest.mark.slow
def test_killed_at_any_moment_the_served_set_equals_the_store(tmp_path: Path) -> None:
    """SIGKILL ends indexers and followers during builds, swaps and collections."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.matching.killed", str(tmp_path), str(KILLS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[:2] == ["kills", str(KILLS)]
