"""Stores that are being restored: nothing is served that was never the store's content."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import EntrySignal
from featsvc.banks.store import BankStore
from featsvc.errors import Unavailable
from featsvc.matching.follower import Follower
from featsvc.matching.indexer import Indexer
from featsvc.matching.layers import Layers
from featsvc.matching.matches import MatchOptions
from featsvc.matching.segments import open_segment
from featsvc.matching.snapshot import Snapshot
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from tests.banks.restoring import (
    READ,
    TABLES,
    Loader,
    Rows,
    head_of,
    live_signals,
    rows_of_store,
    subsets,
)
from tests.matching.rows import MODEL, value, vector

EXACT = MatchOptions(thresholds={"pdq": 0, MODEL: 1e-6}, max_results=1000, match_low_quality=True)
NUMBERS = range(40)
QUERIES = [Signal(get_algorithm("pdq"), value(n)) for n in NUMBERS] + [
    Signal(get_algorithm(MODEL), vector(n)) for n in NUMBERS
]
Answer = frozenset[tuple[str, bytes, str, str, tuple[str, ...]]]
DAMAGEABLE = (*READ, "vector_models")
REST = tuple(name for name in TABLES if name not in DAMAGEABLE)


def add(store: BankStore, bank: str, *numbers: int, label: str = "") -> None:
    """Add entries with a hash, and for each third with a vector; every fifth is never matched."""
    rows = []
    for n in numbers:
        signals = [EntrySignal("pdq", value(n))]
        if n % 3 == 0:
            signals.append(EntrySignal(MODEL, vector(n)))
        if n % 5 == 0:
            signals.append(EntrySignal("colorhash", bytes([n]) * 6))
        rows.append(ImportRow(n, tuple(signals), f"x{n}", (label,) if label else ()))
    store.add_entries(bank, rows, allow_replaced=True)


def answers(snapshot: Snapshot) -> Answer:
    """Return who matches each query."""
    return frozenset(
        (q.algorithm.name, q.value, match.bank, match.external_id, match.labels)
        for q in QUERIES
        for match in snapshot.match([q], EXACT).matches
    )


def expected(rows: Rows) -> Answer:
    queries = {(q.algorithm.name, q.value) for q in QUERIES}
    return frozenset(
        (
            live.algorithm,
            live.value,
            live.bank,
            live.external_id,
            (live.labels,) if live.labels else (),
        )
        for live in live_signals(rows)
        if not live.quarantined and (live.algorithm, live.value) in queries
    )


def head(snapshot: Snapshot) -> tuple[str, int, Any]:
    return snapshot.head.store_id, snapshot.revision, snapshot.commit_time


class Histories(NamedTuple):
    """A store as it is served, and the stores that are restored in its place, by name."""

    served: Rows
    others: dict[str, Rows]


def grow(store: BankStore) -> Iterator[str]:
    """Change a store, one revision at a time; neighbours often count the same."""
    store.create_bank("a")
    store.create_bank("b")
    add(store, "a", *range(10))
    add(store, "b", 20, 21)
    yield "older"
    store.quarantine_entries("a", [store.list_entries("a").entries[1].id])
    store.withdraw_entries("a", [store.list_entries("a").entries[2].id])
    yield "served"
    add(store, "a", 0, label="moved")
    yield "same counts"
    store.withdraw_entries("b", external_ids=["x20"])
    add(store, "b", 30)
    yield "newer"
    store.delete_bank("a", force=True)
    store.withdraw_entries("b", external_ids=["x30", "x21"])
    yield "without entries"


def fork(store: BankStore) -> Iterator[str]:
    """Change an older store otherwise, with the same numbers of revisions and entries."""
    store.quarantine_entries("a", [store.list_entries("a").entries[3].id])
    store.withdraw_entries("a", [store.list_entries("a").entries[4].id])
    yield "diverged"
    add(store, "b", 31)
    store.withdraw_entries("b", external_ids=["x20"])
    add(store, "b", 32)
    yield "diverged and newer"


def histories(new_url: Callable[[], str]) -> Histories:
    def states(url: str, change: Callable[[BankStore], Iterator[str]]) -> dict[str, Rows]:
        with closing(BankStore(url)) as store:
            return {name: rows_of_store(url) for name in change(store)}

    stores = states(new_url(), grow)
    url = new_url()
    with closing(BankStore(url)) as store:
        store.head()
    with closing(Loader(url)) as loader:
        loader.load(stores["older"], TABLES)
    stores |= states(url, fork)
    another = states(new_url(), grow)
    stores["another store"] = another["served"]
    assert head_of(another["newer"])[1] == head_of(stores["newer"])[1]
    return Histories(stores["served"], stores)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def new_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], str]:
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path_factory.mktemp('store') / 'banks.db'}"
    server = request.getfixturevalue("postgres")
    return lambda: str(server.create_database())


@pytest.fixture(scope="module")
def known(new_url: Callable[[], str]) -> Histories:
    return histories(new_url)


RESTORED = (
    *("older", "served", "same counts", "newer", "without entries"),
    *("diverged", "diverged and newer", "another store"),
)


@pytest.mark.slow
@pytest.mark.parametrize("segments", [False, True], ids=["rows", "segment"])
@pytest.mark.parametrize("name", RESTORED)
def test_any_tables_that_are_loaded(
    new_url: Callable[[], str], known: Histories, tmp_path: Path, name: str, segments: bool
) -> None:
    """A running follower, a first start and an indexer, at every subset of the tables."""
    url, restored = new_url(), known.others[name]
    store = BankStore(url)
    store.head()
    loader = Loader(url)
    loader.clear()
    loader.load(known.served, TABLES)
    folder = tmp_path / "segments"
    if segments:
        Indexer(store, folder).build()
    follower = Follower(store, segments=folder)
    follower._poll()
    contents = {head_of(rows): expected(rows) for rows in (known.served, restored)}
    assert answers(follower.snapshot) == contents[head_of(known.served)]
    loader.clear()
    loader.load(restored, REST)
    needed = {name for name in DAMAGEABLE if restored[name]}
    if name == "served" or not any(row["signal_counts"] != "{}" for row in restored["banks"]):
        needed -= {"vector_models"}
    if name == "without entries":
        needed -= {"entries", "entry_signals"}
    loaded: frozenset[str] = frozenset()
    for subset in subsets(DAMAGEABLE):
        loader.load({}, loaded - subset)
        loader.load(restored, subset - loaded)
        loaded = subset
        check_served(follower, contents, whole=needed <= subset)
        if not segments:
            check_first_start(url, tmp_path / "none", contents)
            check_build(store, tmp_path / "built", contents)
    assert answers(follower.snapshot) == contents[head_of(restored)]
    assert head(follower.snapshot) == head_of(restored)
    assert (follower.status().failure, follower.status().staleness_ms) == ("", 0)
    loader.close()
    store.close()


def check_served(follower: Follower, contents: dict[Any, Answer], *, whole: bool) -> None:
    follower._try_poll()
    status = follower.status()
    assert answers(follower.snapshot) == contents[head(follower.snapshot)]
    assert (status.failure == "") is whole
    assert (status.committed_revision is None) is not whole


def check_first_start(url: str, folder: Path, contents: dict[Any, Answer]) -> None:
    with closing(BankStore(url)) as store:
        first = Follower(store, segments=folder)
        try:
            first._poll()
        except Unavailable:
            return
        assert answers(first.snapshot) == contents[head(first.snapshot)]


def check_build(store: BankStore, folder: Path, contents: dict[Any, Answer]) -> None:
    try:
        path = Indexer(store, folder).build()
    except Unavailable:
        return
    segment = open_segment(path)
    with store.view() as view:
        banks = view.banks()
    built = Snapshot(segment.head, banks, Layers.on_segment(segment).views(banks))
    assert answers(built) == contents[head(built)]
