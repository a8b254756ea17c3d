"""The served snapshot follows the store, on both databases."""

import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.banks.results import ImportOptions
from featsvc.banks.store import BankStore
from featsvc.errors import TimedOut, Unavailable
from featsvc.matching.follower import Follower
from featsvc.matching.matches import MatchOptions
from featsvc.matching.snapshot import Snapshot
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from tests.banks.databases import PostgresServer
from tests.banks.lists import hex_list, list_file, live
from tests.patience import PATIENCE_MS, PATIENCE_S, until

PDQ = get_algorithm("pdq")


def value(number: int) -> bytes:
    return number.to_bytes(32, "big")


def served(snapshot: Snapshot, numbers: range) -> set[int]:
    """Return the numbers that the snapshot has."""
    exactly = MatchOptions(thresholds={"pdq": 0}, match_low_quality=True)
    return {n for n in numbers if snapshot.match([Signal(PDQ, value(n))], exactly).matches}


@pytest.fixture
def follower(store: BankStore) -> Iterator[Follower]:
    follower = Follower(store, poll_interval_ms=20)
    follower.start()
    yield follower
    follower.stop()


def test_starts_with_an_empty_store(follower: Follower) -> None:
    status = follower.status()
    assert (status.served_revision, status.committed_revision, status.staleness_ms) == (0, 0, 0)
    assert status.algorithms == ()
    assert follower.snapshot.match([Signal(PDQ, value(1))]).matches == ()


def test_nothing_is_served_before_the_start(store: BankStore) -> None:
    with pytest.raises(Unavailable, match="not loaded"):
        _ = Follower(store).snapshot


def test_a_stop_waits_for_no_writer(store: BankStore) -> None:
    """A writer that waits for its revision must not delay the end of the process."""
    follower = Follower(store, poll_interval_ms=20)
    follower.start()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(follower.wait_for, 1, 3600)
        follower.stop()
        with pytest.raises(Unavailable, match="stopping"):
            waiting.result()


def test_a_writer_sees_its_own_write(store: BankStore, follower: Follower) -> None:
    store.create_bank("b")
    before = follower.wait_for(1, PATIENCE_S)
    revision = store.import_entries("b", list_file(hex_list([1, 2]))).revision
    after = follower.wait_for(revision, PATIENCE_S)
    assert served(after, range(4)) == {1, 2}
    assert served(before, range(4)) == set()
    assert (after.revision, after.commit_time) == (2, store.head().commit_time)
    assert follower.status().algorithms[0].signals == 2
    with pytest.raises(TimedOut, match="revision 99"):
        follower.wait_for(99, 0.05)


@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 30), min_size=1, max_size=10), st.booleans()),
        min_size=1,
        max_size=4,
    )
)
def test_a_snapshot_equals_the_store_at_its_revision(
    store: BankStore, follower: Follower, imports: list[tuple[list[int], bool]]
) -> None:
    bank = f"b{store.head().revision}"
    store.create_bank(bank)
    for numbers, replace in imports:
        store.import_entries(
            bank,
            list_file(hex_list(numbers)),
            ImportOptions(replace=replace, allow_withdrawn=10**9),
        )
        head = store.head()
        snapshot = follower.wait_for(head.revision, PATIENCE_S)
        assert (snapshot.revision, snapshot.commit_time) == (head.revision, head.commit_time)
        held = {int.from_bytes(e.signals[0].value, "big") for e in live(store).values()}
        assert served(snapshot, range(31)) == held


def test_the_last_snapshot_is_served_while_the_store_is_away(postgres: PostgresServer) -> None:
    store = BankStore(postgres.create_database())
    store.create_bank("b")
    store.import_entries("b", list_file(hex_list([1])))
    follower = Follower(store, poll_interval_ms=20)
    follower.start()
    postgres.stop()
    try:
        until(lambda: follower.status().committed_revision is None)
        assert served(follower.snapshot, range(3)) == {1}
        before = follower.status()
        until(lambda: follower.status().staleness_ms > before.staleness_ms)
        assert follower.status().last_contact == before.last_contact
    finally:
        postgres.start()
    until(lambda: follower.status().committed_revision == 2)
    assert follower.status().staleness_ms == 0
    revision = store.import_entries("b", list_file(hex_list([2]))).revision
    assert served(follower.wait_for(revision, PATIENCE_S), range(3)) == {1, 2}
    follower.stop()
    store.close()


def test_a_store_that_cannot_be_read_is_stale_by_its_data(tmp_path: Path) -> None:
    """The head moves, but its changes cannot be loaded: staleness counts from the commit."""
    path = tmp_path / "banks.db"
    store = BankStore(f"sqlite:///{path}")
    store.create_bank("b")
    follower = Follower(store, poll_interval_ms=20)
    follower.start()
    with sqlite3.connect(path) as raw:
        raw.execute("ALTER TABLE entry_signals RENAME TO away")
        raw.execute("UPDATE head SET revision = 2, change = 2, commit_time = commit_time + 1")
        raw.execute(
            "INSERT INTO revisions SELECT 2, commit_time, '', '', '', '', '', '', '', 0, 0, 0, 1, 2"
            " FROM head"
        )
    raw.close()
    until(lambda: follower.status().committed_revision is None)
    until(lambda: follower.status().staleness_ms > 100)
    assert follower.snapshot.revision == 1
    with sqlite3.connect(path) as raw:
        raw.execute("ALTER TABLE away RENAME TO entry_signals")
    raw.close()
    assert follower.wait_for(2, PATIENCE_S).revision == 2
    follower.stop()
    store.close()


def test_starting_without_a_store_fails_clearly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = BankStore(f"sqlite:///{tmp_path / 'file' / 'banks.db'}")
    with pytest.raises(Unavailable, match="bank store"):
        Follower(store).start()


def test_a_restored_backup_is_served_as_it_is(tmp_path: Path) -> None:
    path, backup = tmp_path / "banks.db", tmp_path / "backup.db"
    store = BankStore(f"sqlite:///{path}")
    store.create_bank("b")
    store.import_entries("b", list_file(hex_list(range(1, 6))))
    store.close()
    shutil.copy(path, backup)
    store.import_entries("b", list_file(hex_list(range(6, 9))))
    store.close()
    follower = Follower(store, poll_interval_ms=20)
    follower.start()
    assert served(follower.snapshot, range(20)) == set(range(1, 9))
    path.rename(tmp_path / "away.db")
    until(lambda: follower.status().staleness_ms > 50)
    assert served(follower.snapshot, range(20)) == set(range(1, 9))
    with pytest.raises(Unavailable, match="gone"):
        store.create_bank("lost")
    backup.rename(path)
    until(lambda: served(follower.snapshot, range(20)) == set(range(1, 6)))
    # A revision with the number of one in the other history.
    assert store.import_entries("b", list_file(hex_list([15]))).revision == 3
    until(lambda: served(follower.snapshot, range(20)) == {*range(1, 6), 15})
    until(lambda: follower.status().staleness_ms == 0)
    follower.stop()
    store.close()


def test_a_writer_to_a_restored_store_sees_its_own_write(tmp_path: Path) -> None:
    """Also where the lost history, which is served still, has that revision."""
    path, backup = tmp_path / "banks.db", tmp_path / "backup.db"
    store = BankStore(f"sqlite:///{path}")
    store.create_bank("b")
    store.close()
    shutil.copy(path, backup)
    for number in range(1, 6):
        store.import_entries("b", list_file(hex_list([number])))
    # It looks at the store only when a writer waits.
    follower = Follower(store, poll_interval_ms=PATIENCE_MS)
    follower.start()
    assert served(follower.snapshot, range(20)) == set(range(1, 6))
    store.close()
    backup.rename(path)
    with pytest.raises(Unavailable):
        store.head()  # it opens the other file
    revision = store.import_entries("b", list_file(hex_list([9]))).revision
    assert revision < follower.snapshot.revision
    assert served(follower.wait_for(revision, PATIENCE_S), range(20)) == {9}
    follower.stop()
    store.close()


def test_a_restored_backup_of_the_same_revision_is_served(tmp_path: Path) -> None:
    """The commit time tells it from the history that was served before."""
    path, other = tmp_path / "banks.db", tmp_path / "other.db"
    store = BankStore(f"sqlite:///{path}")
    store.create_bank("b")
    store.close()
    shutil.copy(path, other)
    assert store.import_entries("b", list_file(hex_list([1, 2]))).revision == 2
    another = BankStore(f"sqlite:///{other}")
    assert another.import_entries("b", list_file(hex_list([2, 3]))).revision == 2
    another.close()
    follower = Follower(store, poll_interval_ms=20)
    follower.start()
    assert served(follower.snapshot, range(5)) == {1, 2}
    store.close()
    other.rename(path)
    until(lambda: served(follower.snapshot, range(5)) == {2, 3})
    assert follower.snapshot.commit_time == store.head().commit_time
    follower.stop()
    store.close()
