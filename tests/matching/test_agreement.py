"""What parts hold is counted as banks count it, whatever is done to their entries."""

import json
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import EntryEdit, EntrySignal, Opinion
from featsvc.banks.sql import large_changes
from featsvc.banks.store import BankStore
from featsvc.errors import FeatsvcError, Unavailable
from featsvc.matching.agreement import BankCounts, check_counts
from featsvc.matching.follower import Follower
from featsvc.matching.indexer import Indexer
from featsvc.matching.layers import Layers
from tests.banks.restoring import rows_of_store
from tests.matching.rows import MODEL, row, value, vector

BANKS = ("a", "b")
KINDS = (
    *("add", "relabel", "withdraw", "restore", "quarantine", "release", "edit", "expire"),
    *("replace", "rollback", "delete"),
)


def signals_of(number: int) -> tuple[EntrySignal, ...]:
    signals = [EntrySignal("pdq", value(number)), EntrySignal("md5", value(number)[:16])]
    if number % 2:
        signals.append(EntrySignal(MODEL, vector(number)))
    if number % 3 == 0:
        signals.append(EntrySignal("colorhash", bytes([number]) * 6))
    # Some have only a signal that is never matched.
    return tuple(signals) if number % 7 else (EntrySignal("colorhash", bytes([number]) * 6),)


def rows(numbers: list[int], **fields: Any) -> list[ImportRow]:
    return [ImportRow(n, signals_of(n), f"x{n}", **fields) for n in numbers]


def change(store: BankStore, kind: str, bank: str, numbers: list[int]) -> None:
    """Make one change; what is refused changes nothing."""
    entries = [entry for entry in store.list_entries(bank).entries if entry.id % 5 in numbers]
    ids = [entry.id for entry in entries] or [1]
    past = datetime.now(UTC) - timedelta(days=1)
    revisions = [line.revision for line in store.list_revisions(bank).revisions]

    def add(**fields: Any) -> None:
        store.add_entries(bank, rows(numbers, **fields), allow_replaced=True)

    def withdraw() -> None:
        store.withdraw_entries(bank, ids)

    changes: dict[str, tuple[Callable[[], object], ...]] = {
        "add": (add,),
        "relabel": (partial(add, labels=("moved",)),),
        "expire": (partial(add, expire_time=past),),
        "withdraw": (withdraw,),
        "replace": (withdraw, add),
        "restore": (partial(store.restore_entries, bank, numbers),),
        "quarantine": (partial(store.quarantine_entries, bank, ids),),
        "release": (partial(store.quarantine_entries, bank, ids, release=True),),
        "edit": (partial(store.edit_entries, bank, ids, EntryEdit(opinion=Opinion.NEGATIVE)),),
        "rollback": (partial(store.rollback_bank, bank, revisions[len(revisions) // 2]),),
        "delete": (partial(store.delete_bank, bank, force=True), partial(store.create_bank, bank)),
    }
    for step in changes[kind]:
        step()


def counted(store_url: str) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Count the rows of live entries in the plainest way."""
    stored = rows_of_store(store_url)
    (head,) = stored["head"]
    names = {bank["key"]: bank["id"] for bank in stored["banks"]}
    live = {
        entry["version"]: names[entry["bank_key"]]
        for entry in stored["entries"]
        if entry["added_change"] <= head["change"]
        and (entry["removed_change"] is None or entry["removed_change"] > head["change"])
        and not entry["withheld"]
    }
    signals = Counter(
        (live[signal["version"]], signal["algorithm"])
        for signal in stored["entry_signals"]
        if signal["version"] in live
    )
    return Counter(live.values()), signals


@pytest.mark.slow
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS),
            st.sampled_from(BANKS),
            st.lists(st.integers(0, 14), min_size=1, max_size=6, unique=True),
        ),
        min_size=2,
        max_size=10,
    ),
    st.booleans(),
)
def test_banks_count_what_is_live(
    store: BankStore,
    store_url: str,
    tmp_path: Path,
    changes: list[tuple[str, str, list[int]]],
    large: bool,
) -> None:
    """Changes small and in pieces: rows, banks, layers that advance, and segments all agree."""
    for bank in store.list_banks().banks:
        store.delete_bank(bank.id, force=True)
    for name in BANKS:
        store.create_bank(name)
    folder = tmp_path / f"segments-{uuid.uuid4().hex}"
    follower = Follower(store, segments=folder)
    follower._poll()
    with pytest.MonkeyPatch.context() as patch:
        if large:
            patch.setattr(large_changes, "LARGE_VERSIONS", 0)
            patch.setattr(large_changes, "PIECE_VERSIONS", 2)
        for step, (kind, name, numbers) in enumerate(changes):
            try:
                change(store, kind, name, numbers)
            except FeatsvcError:
                continue
            entries, signals = counted(store_url)
            with store.view() as view:
                banks, dimensions = view.banks(), view.vector_dimensions()
                layers = Layers.on_rows(view.live_signals(), dimensions)
            assert {b.id: b.entry_count for b in banks} == {n: entries[n] for n in BANKS}
            assert {(b.id, a): n for b in banks for a, n in b.signal_counts.items()} == signals
            assert +layers.counts().entries == entries
            matched = {k: n for k, n in signals.items() if k[1] != "colorhash"}
            assert +layers.counts().signals == matched
            check_counts(layers.counts(), banks)
            follower._poll()
            assert follower._disagreement == ""
            assert +follower._layers.counts().entries == entries  # type: ignore[union-attr]
            assert +follower._layers.counts().signals == matched  # type: ignore[union-attr]
            if step % 3 == 1:
                Indexer(store, folder).build()


@pytest.mark.parametrize("missing", ["entry", "signal", "bank", "model", "count"])
def test_a_difference_is_named(store: BankStore, missing: str) -> None:
    store.create_bank("b")
    store.add_entries("b", rows([1, 3, 5]))
    statement = {
        "entry": "DELETE FROM entry_signals WHERE version = 2",
        "signal": "DELETE FROM entry_signals WHERE version = 2 AND algorithm = 'md5'",
        "bank": "UPDATE banks SET removed_revision = 1",
        "model": "DELETE FROM vector_models",
        "count": 'UPDATE banks SET signal_counts = \'{"pdq": 4, "md5": 3, "sscd@3": 3}\'',
    }[missing]
    named = {
        "entry": "bank 'b' counts 3 entries, 2 are there",
        "signal": "bank 'b' counts 9 signals, 8 are there",
        "bank": "3 entries are of bank 'b', which banks lacks",
        "model": f"banks count vectors of {MODEL}, vector_models lacks it",
        "count": "bank 'b' counts 10 signals, 9 are there",
    }[missing]
    with store._database.write() as connection:
        connection.execute(sa.text(statement.replace(":", r"\:")))
    follower = Follower(store)
    with pytest.raises(Unavailable, match=named) as caught:
        follower.start()
    assert caught.value.reason == "BANK_STORE_UNAVAILABLE"


def test_layers_that_lack_entries_are_read_anew(
    store: BankStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever made them so: the next change of the store heals it, and the log has it."""
    store.create_bank("b")
    store.add_entries("b", rows([1, 2]))
    follower = Follower(store)
    follower._poll()
    follower._layers = Layers.on_rows([row(1, 1)])
    store.add_entries("b", rows([3]))
    follower._poll()
    assert follower._layers.counts().entries == {"b": 3}
    assert "what is served is not what the banks count; reading all" in caplog.text


def test_withdrawn_rows_are_counted_once() -> None:
    layers = Layers.on_rows([row(n, bank="ab"[n % 2]) for n in range(1, 9)])
    layers = layers.advance([row(9, bank="a")], [1, 2, 2, 77]).advance([], [2, 3])
    assert layers.counts().entries == {"a": 4, "b": 2}
    assert layers.counts().signals == {("a", "pdq"): 4, ("b", "pdq"): 2}
    total = BankCounts.total([layers.counts(), layers.counts()])
    assert total.without(layers.counts()) == layers.counts()


def test_damaged_rows_of_stored_signals_count(tmp_path: Path) -> None:
    """SQLite holds any type in any column, also of entries that are never matched."""
    store = BankStore(f"sqlite:///{tmp_path / 'banks.db'}")
    store.create_bank("b")
    store.add_entries("b", rows([7, 1]))
    with store._database.write() as connection:
        connection.execute(sa.text("UPDATE entries SET source = x'00'"))
        (stored,) = connection.execute(sa.text("SELECT signal_counts FROM banks")).scalars()
    assert json.loads(stored)["colorhash"] == 1
    follower = Follower(store)
    follower.start()
    follower.stop()
    assert {cause.reason for cause in follower.status().set_aside} == {"DAMAGED_ROW"}
    store.close()
