"""`pg_dump` and `pg_restore` under running followers and indexers, which look without a pause."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from featsvc.banks.sql.view import StoreView
from featsvc.banks.store import BankStore
from featsvc.errors import FeatsvcError
from featsvc.matching.follower import Follower
from featsvc.matching.indexer import Indexer, has_indexer
from featsvc.matching.segments import published, revision_of
from featsvc.matching.snapshot import Snapshot
from tests.banks.databases import PostgresServer
from tests.banks.lists import list_file
from tests.banks.restoring import (
    TABLES,
    Loader,
    Rows,
    dump,
    empty_schema,
    head_of,
    live_signals,
    restore,
    rows_of_store,
)
from tests.matching.rows import list_of
from tests.matching.test_restoring import Answer, add, answers, expected, head
from tests.patience import until

MANY = range(100, 3_100)
"""Enough rows that the tables are not loaded at once."""


class Service:
    """A follower and an indexer with a folder of their own, and all that they did."""

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        self.store = stack.enter_context(closing(BankStore(url)))
        indexer = _Counting(stack.enter_context(closing(BankStore(url))), folder)
        self.builds = indexer.builds
        self.folder = folder
        stack.enter_context(_running(lambda stop: indexer.run(stop, poll_s=0.001)))
        until(lambda: has_indexer(folder))
        self.follower = Follower(self.store, poll_interval_ms=1, segments=folder)
        self.follower.start()
        stack.callback(self.follower.stop)
        self.served: list[Snapshot] = [self.follower.snapshot]
        stack.enter_context(_running(self._watch))

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(0.0005):
            snapshot = self.follower.snapshot
            if snapshot is not self.served[-1]:
                self.served.append(snapshot)

    def has_settled(self, at: Any) -> bool:
        """Return whether the store at this head is served, from the only segment there is."""
        status, segments = self.follower.status(), published(self.folder)
        return (
            head(self.follower.snapshot) == at
            and (status.failure, status.staleness_ms) == ("", 0)
            and len(segments) == 1
            and status.algorithms[0].segment_revision == revision_of(segments[0])
        )

    def is_stale(self) -> bool:
        """Return whether a failure is reported, and for how long it has lasted."""
        status = self.follower.status()
        return bool(status.failure) and status.staleness_ms > 300


class _Counting(Indexer):
    def __init__(self, store: BankStore, folder: Path) -> None:
        super().__init__(store, folder, compact_entries=1)
        self.builds: list[int] = []

    def _build(self, view: StoreView) -> Path:
        path = super()._build(view)
        self.builds.append(view.head.revision)
        return path


@contextmanager
def _running(run: Any) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def content(rows: Rows) -> tuple[Answer, int]:
    """Return the answers, and the number of live signals."""
    return expected(rows), len(live_signals(rows))


def signals(snapshot: Snapshot) -> int:
    return sum(status.signals for status in snapshot.status)


def load(store: BankStore, numbers: range) -> None:
    store.import_entries("b", list_file(list_of(numbers), chunk_bytes=1 << 16))


def grown(url: str) -> BankStore:
    store = BankStore(url)
    store.create_bank("a")
    add(store, "a", *range(10))
    store.create_bank("b")
    load(store, MANY)
    return store


WAYS = {
    "clean, 1 job": ("--jobs=1", "--clean", "--if-exists"),
    "clean, 4 jobs": ("--jobs=4", "--clean", "--if-exists"),
    "emptied, 1 job": ("--jobs=1",),
    "emptied, 4 jobs": ("--jobs=4",),
    "one transaction": ("--clean", "--if-exists", "--single-transaction"),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_restored_under_running_services(
    postgres: PostgresServer, tmp_path: Path, way: str
) -> None:
    """To an older revision, then to a newer one of a history that is no longer there."""
    url = postgres.create_database()
    contents: dict[Any, tuple[Answer, int]] = {}

    def state() -> Any:
        rows = rows_of_store(url)
        contents[head_of(rows)] = content(rows)
        return head_of(rows)

    with ExitStack() as stack:
        store = stack.enter_context(closing(grown(url)))
        older, older_dump = state(), dump(url, tmp_path / "older")
        add(store, "a", 0, 3, label="moved")
        store.withdraw_entries("a", external_ids=["x2"])
        state()
        add(store, "a", 30)
        newer, newer_dump = state(), dump(url, tmp_path / "newer")
        services = [Service(url, tmp_path / f"segments-{n}", stack) for n in range(2)]
        settle(services, newer)
        for target, path in ((older, older_dump), (newer, newer_dump), (older, older_dump)):
            builds = [len(service.builds) for service in services]
            if way.startswith("emptied"):
                empty_schema(url)
            restore_whole(url, path, WAYS[way], target)
            settle(services, target)
            for service, before in zip(services, builds, strict=True):
                assert len(service.builds) - before <= 1, service.builds
        # The restored store takes changes.
        add(store, "a", 39)
        last = state()
        settle(services, last)
    for service in services:
        for snapshot in service.served:
            assert (answers(snapshot), signals(snapshot)) == contents[head(snapshot)]


def has_built(service: Service) -> bool:
    """Whether the first segment of a service is published."""
    return bool(service.builds and published(service.folder))


def settle(services: list[Service], at: Any) -> None:
    for service in services:
        until(partial(service.has_settled, at), f"{service.folder.name} did not settle")


def restore_whole(url: str, path: Path, options: tuple[str, ...], target: Any) -> None:
    """Restore until it succeeds: readers may make `pg_restore --clean` fail by a deadlock."""
    for _ in range(20):
        complaints = restore(url, path, *options)
        if "error" not in complaints:
            break
        options = tuple(o for o in options if not o.startswith("--clean") and o != "--if-exists")
        empty_schema(url)
    assert head_of(rows_of_store(url)) == target, complaints


@pytest.mark.slow
@pytest.mark.parametrize("old", ["head", "revisions"])
def test_a_failed_restore_builds_nothing(store_url: str, tmp_path: Path, old: str) -> None:
    """Only one of `head` and `revisions` is restored, as after a deadlock of `pg_restore`."""
    with ExitStack() as stack:
        store = stack.enter_context(closing(grown(store_url)))
        older = rows_of_store(store_url)
        add(store, "a", 30, 31)
        add(store, "a", 32)
        newer = rows_of_store(store_url)
        services = [Service(store_url, tmp_path / f"segments-{n}", stack) for n in range(2)]
        settle(services, head_of(newer))
        for service in services:
            until(partial(has_built, service))
        loader = stack.enter_context(closing(Loader(store_url)))
        builds = [list(service.builds) for service in services]
        loader.load(older, [name for name in TABLES if name != old])
        for service in services:
            until(service.is_stale)
            assert head(service.follower.snapshot) == head_of(newer)
        assert [service.builds for service in services] == builds
        assert all(len(published(service.folder)) == 1 for service in services)
        with pytest.raises(FeatsvcError, match="half restored"):
            store.create_bank("lost")
        loader.load(older, [old])
        settle(services, head_of(older))
        assert [len(s.builds) - len(b) for s, b in zip(services, builds, strict=True)] == [1, 1]
